"""The component `<<component>>`."""

import unittest

from application import request


class Test<<python_component>>(unittest.TestCase):
    def test_lines_are_kept_in_their_order(self):
        for line in ["milk", "bread"]:
            self.assertEqual(request("<<base>>/", "POST", line)[0], 201)
        self.assertEqual(request("<<base>>/", "POST", "")[0], 400)
        self.assertEqual(request("<<base>>/"), (200, "milk\nbread\n"))
