// `PUT <<base>>/ID` hands the request's body over by the durable link <<contract>>.
// `GET <<base>>/ID` reads it once it was delivered.

import { deliver } from "<<contract>>";
import { read } from "<<kept>>";

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const id = new URL(request.url).pathname.slice("<<base>>/".length);
  const body = request.method === "PUT" ? await request.text() : undefined;
  try {
    if (body !== undefined) {
      // Without an error, the message is on disk. It is delivered until the other component has it.
      deliver(id, body);
      return new Response("stored, and delivered soon\n", { status: 202 });
    }
    const text = read(id);
    if (text === undefined) return new Response("there is no such message yet\n", { status: 404 });
    return new Response(`${text}\n`);
  } catch (error) {
    // A contract's error is thrown with its case in `payload`.
    const { tag, val } = error.payload ?? {};
    if (["retry", "reject", "unavailable"].includes(tag)) return new Response(`${val}\n`, { status: 503 });
    // The text of an error with a `payload` does not show it.
    throw error.payload ? new Error(JSON.stringify(error.payload)) : error;
  }
}
