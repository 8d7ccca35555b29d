// A component as users of Spin's tools for JavaScript build it: a router, a bundle, and then a component of WASI 0.2.

import { AutoRouter } from "itty-router";
import { get as product } from "store:products/catalog@1.0.0";
import { get as variable } from "fermyon:spin/variables@2.0.0";

const router = AutoRouter({ base: "/javascript" });
const text = (body) => new Response(body, { headers: { "content-type": "text/plain" } });

router
  .post("/echo", async (request) => text(await request.text()))
  .get("/variable", () => text(variable("greeting")))
  .get("/product/:id", ({ id }) => text(product(BigInt(id)).name))
  .get("/fetch", async (request) => text(await (await fetch(new URL(request.url).searchParams.get("url"))).text()))
  .get("/throw", () => { throw new Error("swordfish"); })
  .get("*", (request) => text(`Hello from ${new URL(request.url).pathname}`));

addEventListener("fetch", (event) => event.respondWith(router.fetch(event.request)));
