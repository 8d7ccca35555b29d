// The component `<<component>>`.

import assert from "node:assert/strict";
import test from "node:test";
import { request } from "./souk.mjs";

test("every request is answered", async () => {
  const response = await request("<<base>>/world");
  assert.equal(response.status, 200);
  assert.equal(await response.text(), "Hello from <<base>>/world\n");
});
