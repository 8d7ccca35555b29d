// The component `<<component>>`. `souk test` starts the application and says where it answers.

import assert from "node:assert/strict";
import test from "node:test";

test("every request is answered", async () => {
  const response = await fetch(`${process.env.SOUK_URL}<<base>>/world`);
  assert.equal(response.status, 200);
  assert.equal(await response.text(), "Hello from <<base>>/world\n");
});
