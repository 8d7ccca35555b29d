"""The component `<<component>>`."""

import unittest
import uuid

from application import request


class Test<<python_component>>(unittest.TestCase):
    def test_a_value_is_kept_under_its_key(self):
        # The tests of an application share it, so each has a key of its own.
        path = f"<<base>>/{uuid.uuid4()}"
        self.assertEqual(request(path)[0], 404)
        self.assertEqual(request(path, "PUT", "red")[0], 204)
        self.assertEqual(request(path), (200, "red"))
