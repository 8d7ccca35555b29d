"""The component `<<component>>`."""

import unittest
import uuid

from application import call


class Test<<python_component>>(unittest.TestCase):
    def test_a_message_that_comes_twice_is_kept_once(self):
        # The tests of an application share it, so each has an id of its own.
        message = str(uuid.uuid4())
        for _ in range(2):
            self.assertIsNone(call("<<component>>", "<<contract>>#deliver", id=message, text="milk"))
        self.assertEqual(call("<<component>>", "<<kept>>#read", id=message), "milk")
