// A component as users of Spin's tools for JavaScript build it: a router, a bundle, and then a component of WASI 0.2.

import { AutoRouter } from "itty-router";
import { get as product } from "store:products/catalog@1.0.0";
import { Store } from "fermyon:spin/key-value@2.0.0";
import { Connection } from "fermyon:spin/sqlite@2.0.0";
import { get as variable } from "fermyon:spin/variables@2.0.0";

const router = AutoRouter({ base: "/javascript" });
const text = (body) => new Response(body, { headers: { "content-type": "text/plain" } });

router
  .post("/echo", async (request) => text(await request.text()))
  .get("/key-value", () => text(keep("javascript", "kept")))
  .get("/sqlite", () => text(select("SELECT ? || '!'", "javascript")))
  .get("/variable", () => text(variable("greeting")))
  .get("/product/:id", ({ id }) => text(product(BigInt(id)).name))
  .get("/fetch", async (request) => text(await (await fetch(new URL(request.url).searchParams.get("url"))).text()))
  .get("/throw", () => { throw new Error("swordfish"); })
  .get("*", (request) => text(`Hello from ${new URL(request.url).pathname}`));

function keep(key, value) {
  const store = Store.open("default");
  store.set(key, new TextEncoder().encode(value));
  return new TextDecoder().decode(store.get(key));
}

function select(statement, parameter) {
  const { rows } = Connection.open("default").execute(statement, [{ tag: "text", val: parameter }]);
  return rows[0].values[0].val;
}

addEventListener("fetch", (event) => event.respondWith(router.fetch(event.request)));
