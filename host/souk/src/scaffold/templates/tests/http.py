"""The component `<<component>>`."""

import unittest

from application import request


class Test<<python_component>>(unittest.TestCase):
    def test_every_request_is_answered(self):
        self.assertEqual(request("<<base>>/world"), (200, "Hello from <<base>>/world\n"))
