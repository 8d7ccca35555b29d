// The component `<<component>>`.

import assert from "node:assert/strict";
import test from "node:test";
import { request } from "./souk.mjs";

test("lines are kept in their order", async () => {
  const add = (body) => request("<<base>>/", { method: "POST", body });
  for (const line of ["milk", "bread"]) assert.equal((await add(line)).status, 201);
  assert.equal((await add("")).status, 400);
  assert.equal(await (await request("<<base>>/")).text(), "milk\nbread\n");
});
