// `PUT <<base>>/KEY` keeps the request's body under a key, `GET <<base>>/KEY` reads it. Another component keeps it,
// through the contract <<contract>>.

import { get, set } from "<<contract>>";

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const key = new URL(request.url).pathname.slice("<<base>>/".length);
  const body = request.method === "PUT" ? await request.text() : undefined;
  try {
    if (body !== undefined) {
      set(key, body);
      return new Response(null, { status: 204 });
    }
    const value = get(key);
    return value === undefined ? new Response(null, { status: 404 }) : new Response(value);
  } catch (error) {
    // A contract's error is thrown with its case in `payload`.
    const { tag, val } = error.payload ?? {};
    if (tag === "invalid") return new Response(`${val}\n`, { status: 400 });
    if (tag === "unavailable") return new Response(`${val}\n`, { status: 503 });
    // The text of an error with a `payload` does not show it.
    throw error.payload ? new Error(JSON.stringify(error.payload)) : error;
  }
}
