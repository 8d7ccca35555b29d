// The page: lists the products of the catalogue. It reaches the catalogue and one variable, and nothing else.

import { list } from "store:products/catalog@1.0.0";
import { get as variable } from "fermyon:spin/variables@2.0.0";

addEventListener("fetch", (event) => event.respondWith(answer(new URL(event.request.url))));

async function answer(url) {
  const page = Number(url.searchParams.get("page") ?? 1);
  try {
    const { products, total } = list(page, 10);
    return html(200, variable("title"), `<ol start="${products[0]?.id ?? 1}">${products.map(item).join("")}</ol><p>${total} products</p>`);
  } catch (error) {
    // A contract's error is thrown with its case in `payload`.
    const { tag, val } = error.payload ?? {};
    if (tag === "invalid") return html(400, "Invalid", `<p>${escape(val)}</p>`);
    if (tag === "unavailable") return html(503, "Come back soon", "<p>The catalogue does not answer.</p>");
    // The text of an error with a `payload` does not show it.
    throw error.payload ? new Error(JSON.stringify(error.payload)) : error;
  }
}

function item({ name, price }) {
  // Whole cents are BigInts: no float holds money.
  const cents = String(price.cents).padStart(3, "0");
  return `<li>${escape(name)}: ${cents.slice(0, -2)}.${cents.slice(-2)}</li>`;
}

function html(status, title, body) {
  const text = `<!doctype html><title>${escape(title)}</title><h1>${escape(title)}</h1>${body}\n`;
  return new Response(text, { status, headers: { "content-type": "text/html; charset=utf-8" } });
}

function escape(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
