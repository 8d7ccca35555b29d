// Signs in to the console of the store (CONSOLE), looks at its map, and asks its HTTP API by the explorer: a product, and
// what needs an account.

import { browse, inspect } from "./browser.mjs";

const VIEWS = [["light", 1280], ["dark", 1280], ["phone-light", 360], ["phone-dark", 360]];

await browse(async (page) => {
  const faults = [];
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.goto(process.env.CONSOLE);
  await page.getByText(/Rates and p99 are those/).waitFor();
  faults.push(...(await inspect(page, "console-store-map", VIEWS)));

  await page.getByRole("link", { name: "Explorer" }).click();
  const http = page.locator("div", { has: page.getByLabel("Operation") }).last().locator("xpath=..");
  const operation = page.getByLabel("Operation");
  await operation.waitFor();
  const ask = async (name, fill) => {
    await operation.selectOption(name);
    await fill?.();
    await http.getByRole("button", { name: "Run" }).click();
    await http.locator(".result .badge").waitFor();
    return http.locator(".result .badge").textContent();
  };
  await ask("GET /api/products/{id}", () => http.getByLabel(/^id /).fill("1"));
  const product = JSON.parse(await http.getByLabel("JSON").textContent());
  const refused = await ask("POST /api/orders");
  faults.push(...(await inspect(page, "console-store-explorer", VIEWS)));
  return { faults, product, refused };
});
