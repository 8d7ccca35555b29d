// The component `<<component>>`.

import assert from "node:assert/strict";
import test from "node:test";
import { call } from "./souk.mjs";

test("somebody is greeted by name", () => {
  const greet = (name) => call("<<component>>", "<<contract>>#greet", { name });
  assert.equal(greet("Ann"), "Hello, Ann!");
  assert.deepEqual(greet(""), { err: { invalid: "say whom to greet" } });
});
