// Receives the messages of <<contract>> and stores them in a key-value store. A message's id is its key, so a message
// that is delivered twice is stored once.

import { Store } from "fermyon:spin/key-value@2.0.0";

// The label in `key_value_stores`.
const STORE = "<<component>>";
// Closes a handle now, and not when the engine finds that it is no longer used.
const CLOSE = Symbol.dispose ?? Symbol.for("dispose");

const inbox = {
  deliver(id, text) {
    // A contract's error is thrown as the case that it is.
    if (text === "") throw { tag: "reject", val: "the text is empty" };
    inStore("retry", (store) => store.set(id, new TextEncoder().encode(text)));
  },
};

const kept = {
  read(id) {
    const text = inStore("unavailable", (store) => store.get(id));
    return text && new TextDecoder().decode(text);
  },
};

function inStore(tag, ask) {
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
    throw { tag, val: "the store does not answer" };
  }
}

export { inbox as "<<contract>>", kept as "<<kept>>" };
