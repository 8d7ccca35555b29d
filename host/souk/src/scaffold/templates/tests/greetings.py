"""The component `<<component>>`."""

import unittest

from application import call


class Test<<python_component>>(unittest.TestCase):
    def test_somebody_is_greeted_by_name(self):
        self.assertEqual(call("<<component>>", "<<contract>>#greet", name="Ann"), "Hello, Ann!")
        refused = call("<<component>>", "<<contract>>#greet", name="")
        self.assertEqual(refused, {"err": {"invalid": "say whom to greet"}})
