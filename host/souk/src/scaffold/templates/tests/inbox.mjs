// The component `<<component>>`.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";
import { call } from "./souk.mjs";

test("a message that comes twice is kept once", () => {
  // The tests of an application share it, so each has an id of its own.
  const id = randomUUID();
  for (let times = 0; times < 2; times++) {
    assert.equal(call("<<component>>", "<<contract>>#deliver", { id, text: "milk" }), null);
  }
  assert.equal(call("<<component>>", "<<kept>>#read", { id }), "milk");
});
