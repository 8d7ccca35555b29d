// Exports the contract <<contract>>, and keeps its values in a key-value store.

import { Store } from "fermyon:spin/key-value@2.0.0";

// The label in `key_value_stores`.
const STORE = "<<component>>";
// Closes a handle now, and not when the engine finds that it is no longer used.
const CLOSE = Symbol.dispose ?? Symbol.for("dispose");

const values = {
  get(key) {
    const value = inStore((store) => store.get(key));
    return value && new TextDecoder().decode(value);
  },

  set(key, value) {
    // A contract's error is thrown as the case that it is.
    if (key === "") throw { tag: "invalid", val: "the key is empty" };
    inStore((store) => store.set(key, new TextEncoder().encode(value)));
  },
};

function inStore(ask) {
  try {
    const store = Store.open(STORE);
    try {
      return ask(store);
    } finally {
      store[CLOSE]();
    }
  } catch (error) {
    // An interface's error is thrown with its case in `payload`.
    if (!error.payload) throw error;
    console.error("the store does not answer:", JSON.stringify(error.payload));
    throw { tag: "unavailable", val: "the values cannot be read now" };
  }
}

export { values as "<<contract>>" };
