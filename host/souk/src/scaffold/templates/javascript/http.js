// Answers every request.

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname } = new URL(request.url);
  return new Response(`Hello from ${pathname}\n`);
}
