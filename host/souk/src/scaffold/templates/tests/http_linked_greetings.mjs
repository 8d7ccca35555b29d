// The component `<<component>>`, linked to `<<callee>>`.

import assert from "node:assert/strict";
import test from "node:test";
import { request } from "./souk.mjs";

test("the linked component greets by name", async () => {
  assert.equal(await (await request("<<base>>/Ann")).text(), "Hello, Ann!\n");
  assert.equal((await request("<<base>>/")).status, 400);
});
