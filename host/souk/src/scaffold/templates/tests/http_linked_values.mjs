// The component `<<component>>`, linked to `<<callee>>`.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";
import { request } from "./souk.mjs";

test("the linked component keeps a value", async () => {
  // The tests of an application share it, so each has a key of its own.
  const path = `<<base>>/${randomUUID()}`;
  assert.equal((await request(path)).status, 404);
  assert.equal((await request(path, { method: "PUT", body: "red" })).status, 204);
  assert.equal(await (await request(path)).text(), "red");
});
