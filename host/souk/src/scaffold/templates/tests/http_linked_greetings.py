"""The component `<<component>>`, linked to `<<callee>>`."""

import unittest

from application import request


class Test<<python_component>>(unittest.TestCase):
    def test_the_linked_component_greets_by_name(self):
        self.assertEqual(request("<<base>>/Ann"), (200, "Hello, Ann!\n"))
        self.assertEqual(request("<<base>>/")[0], 400)
