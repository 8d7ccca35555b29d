// The component `<<component>>`, linked to `<<callee>>`. `souk test` starts the application and says where it answers.

import assert from "node:assert/strict";
import test from "node:test";

test("the linked component greets by name", async () => {
  const response = await fetch(`${process.env.SOUK_URL}<<base>>/Ann`);
  assert.equal(await response.text(), "Hello, Ann!\n");
  assert.equal((await fetch(`${process.env.SOUK_URL}<<base>>/`)).status, 400);
});
