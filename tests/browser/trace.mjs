// Signs in to the console of the store (CONSOLE), sends requests while it looks at the map, and opens the trace of a
// product down to the statement, and to the arguments and the result of the call.

import { browse, inspect } from "./browser.mjs";

const VIEWS = [["light", 1280], ["dark", 1280], ["phone-light", 360], ["phone-dark", 360]];

await browse(async (page) => {
  const faults = [];
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.goto(process.env.CONSOLE);
  await page.getByText(/Rates and p99 are those/).waitFor();
  await page.evaluate(() => {
    const ask = (path) => fetch("/v1/request", { method: "POST", body: JSON.stringify({ method: "GET", path, headers: {}, body: "" }) });
    globalThis.load = setInterval(() => ask("/api/products/1"), 100);
  });
  await page.locator(".map text.busy").first().waitFor();
  faults.push(...(await inspect(page, "console-store-busy-map", VIEWS)));
  await page.evaluate(() => clearInterval(globalThis.load));

  await page.getByRole("link", { name: "Traces", exact: true }).first().click();
  await page.getByRole("button", { name: "GET /api/products/1" }).first().click();
  const waterfall = page.locator(".waterfall");
  await waterfall.locator("summary", { hasText: "SELECT" }).first().click();
  const statement = await waterfall.getByLabel("Statement").first().textContent();
  await waterfall.locator("summary", { hasText: "store:products/catalog" }).last().click();
  const called = JSON.parse(await waterfall.getByLabel("Arguments").textContent());
  const result = JSON.parse(await waterfall.getByLabel("Result").textContent());
  faults.push(...(await inspect(page, "console-store-trace", VIEWS)));

  // No bar leaves that of the span above it, by more than what a bar has at least.
  const bars = await waterfall.locator("details").evaluateAll((all) => all.map((one) => ({
    depth: Number.parseFloat(one.querySelector(".span-name").style.paddingLeft),
    left: Number.parseFloat(one.querySelector(".bar-of").style.left),
    right: Number.parseFloat(one.querySelector(".bar-of").style.left) + Number.parseFloat(one.querySelector(".bar-of").style.width),
  })));
  bars.forEach((bar, place) => {
    const above = bars.slice(0, place).findLast((one) => one.depth < bar.depth);
    if (above && (bar.left < above.left - 0.6 || bar.right > above.right + 0.6)) faults.push(`bar ${place} leaves its parent: ${JSON.stringify(bars)}`);
  });

  // The trace of the order, as long as it is.
  await page.getByRole("button", { name: "POST /api/..." }).first().click();
  await waterfall.locator("summary", { hasText: "store:orders" }).first().waitFor();
  faults.push(...(await inspect(page, "console-store-order", VIEWS)));
  // A trace as a component could make it: two spans with each id, each below two with the id before.
  const span = (n) => ({
    spanId: `${n}`, parentId: `${n - 1}`, name: `span ${n}`, kind: "internal", component: "products",
    start: "2026-07-31T12:00:00.000000Z", durationMs: 1, status: "ok", attributes: {},
  });
  const spans = Array.from({ length: 12 }, (_, n) => [span(n), span(n)]).flat();
  let body = JSON.stringify({ traceId: "0", spans });
  await page.route("**/v1/traces/*", (route) => route.fulfill({ contentType: "application/json", body }));
  await page.getByRole("button", { name: "GET /api/products/1" }).first().click();
  await waterfall.getByText("span 11").first().waitFor();
  const rows = await waterfall.locator("details").count();
  if (rows !== spans.length) faults.push(`${rows} rows of ${spans.length} spans`);
  // What cannot be shown is reported.
  body = "null";
  await page.getByRole("button", { name: "GET /api/products/1" }).first().click();
  await page.getByRole("alert").getByText("null").waitFor();
  return { faults, statement, called, result };
});
