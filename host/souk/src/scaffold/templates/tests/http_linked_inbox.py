"""The component `<<component>>`, linked to `<<callee>>` by a durable link."""

import unittest
import uuid

from application import request, wait_for_deliveries


class Test<<python_component>>(unittest.TestCase):
    def test_a_message_is_delivered_after_it_was_stored(self):
        # The tests of an application share it, so each has an id of its own.
        path = f"<<base>>/{uuid.uuid4()}"
        self.assertEqual(request(path, "PUT", "milk")[0], 202)
        wait_for_deliveries()
        self.assertEqual(request(path), (200, "milk\n"))
