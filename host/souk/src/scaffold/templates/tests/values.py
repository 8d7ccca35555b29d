"""The component `<<component>>`."""

import unittest
import uuid

from application import call


class Test<<python_component>>(unittest.TestCase):
    def test_a_value_is_kept_under_its_key(self):
        # The tests of an application share it, so each has a key of its own.
        key = str(uuid.uuid4())
        self.assertIsNone(call("<<component>>", "<<contract>>#get", key=key))
        for value in ["red", "blue"]:
            self.assertIsNone(call("<<component>>", "<<contract>>#set", key=key, value=value))
        self.assertEqual(call("<<component>>", "<<contract>>#get", key=key), "blue")
