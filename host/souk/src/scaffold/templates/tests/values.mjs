// The component `<<component>>`.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";
import { call } from "./souk.mjs";

test("a value is kept under its key", () => {
  // The tests of an application share it, so each has a key of its own.
  const key = randomUUID();
  const get = () => call("<<component>>", "<<contract>>#get", { key });
  assert.equal(get(), null);
  for (const value of ["red", "blue"]) {
    assert.equal(call("<<component>>", "<<contract>>#set", { key, value }), null);
  }
  assert.equal(get(), "blue");
});
