// `PUT <<base>>/KEY` keeps the request's body under a key, `GET <<base>>/KEY` reads it.

import { Store } from "fermyon:spin/key-value@2.0.0";

// The label in `key_value_stores`.
const STORE = "<<component>>";

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const key = new URL(request.url).pathname.slice("<<base>>/".length);
  const body = request.method === "PUT" ? new Uint8Array(await request.arrayBuffer()) : undefined;
  try {
    const store = Store.open(STORE);
    if (body) {
      store.set(key, body);
      return new Response(null, { status: 204 });
    }
    const value = store.get(key);
    return value ? new Response(value) : new Response(null, { status: 404 });
  } catch (error) {
    // An interface's error is thrown with its case in `payload`.
    if (!error.payload) throw error;
    console.error("the store does not answer:", JSON.stringify(error.payload));
    return new Response(null, { status: 503 });
  }
}
