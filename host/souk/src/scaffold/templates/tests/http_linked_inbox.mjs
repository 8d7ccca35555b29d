// The component `<<component>>`, linked to `<<callee>>` by a durable link.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";
import { request, waitForDeliveries } from "./souk.mjs";

test("a message is delivered after it was stored", async () => {
  // The tests of an application share it, so each has an id of its own.
  const path = `<<base>>/${randomUUID()}`;
  assert.equal((await request(path, { method: "PUT", body: "milk" })).status, 202);
  waitForDeliveries();
  assert.equal(await (await request(path)).text(), "milk\n");
});
