// Answers requests with what another component says, through the contract <<contract>>: `GET <<base>>/NAME`.

import { greet } from "<<contract>>";

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const name = new URL(request.url).pathname.split("/").pop();
  try {
    return new Response(`${greet(name)}\n`);
  } catch (error) {
    // A contract's error is thrown with its case in `payload`.
    const { tag, val } = error.payload ?? {};
    if (tag === "invalid") return new Response(`${val}\n`, { status: 400 });
    if (tag === "unavailable") return new Response(`${val}\n`, { status: 503 });
    // The text of an error with a `payload` does not show it.
    throw error.payload ? new Error(JSON.stringify(error.payload)) : error;
  }
}
