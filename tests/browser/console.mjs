// Signs in to the console by the address with a code (CONSOLE), and by another one (SECOND_CODE) while the page is open. Looks
// at every view: the map must show calls from `front` to `rogue`; the one dead letter is looked into, retried and dropped;
// a function is called.

import { browse, inspect } from "./browser.mjs";

const VIEWS = [["light", 1280], ["dark", 1280], ["phone-light", 360], ["phone-dark", 360], ["narrow", 320]];

await browse(async (page) => {
  const faults = [];
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.goto(process.env.CONSOLE);
  const calls = page.getByRole("row", { name: /^front rogue link/ });
  await calls.waitFor();
  // Only what follows the `#` is another, so the browser does not load the page again.
  const again = page.waitForResponse((response) => response.url().endsWith("/v1/session"));
  await page.evaluate((hash) => (location.hash = hash), new URL(process.env.SECOND_CODE).hash);
  await again;
  await calls.waitFor();
  const address = page.url();
  const components = await page.locator(".box.here strong").allTextContents();
  const call = await calls.getByRole("cell").allTextContents();
  await page.getByText(/Rates and p99 are those/).waitFor();
  // Calls go on while the pictures are taken: the lines show them.
  await page.evaluate(() => {
    const ask = (path) => fetch("/v1/request", { method: "POST", body: JSON.stringify({ method: "GET", path, headers: {}, body: "" }) });
    globalThis.load = setInterval(() => ask(Math.random() < 0.2 ? "/rogue/boom" : "/rogue/answer/7"), 100);
  });
  await page.locator(".map text.failing").first().waitFor();
  const busy = await page.locator(".map text").allTextContents();
  faults.push(...(await inspect(page, "console-map", VIEWS)));
  await page.evaluate(() => clearInterval(globalThis.load));
  // A version that ends takes its counts along.
  const rate = await page.evaluate(async () => {
    const { rates } = await import("/console/rates.js?alone");
    const map = (uptime, calls) => ({ uptime, edges: [], resources: [], components: [{ name: "a", calls, errors: 0, buckets: [[1, calls]] }] });
    rates(map(1, 100));
    return rates(map(2, 40)).components.get("a").rate;
  });
  if (rate !== 0) faults.push(`a rate is ${rate} after a version has ended`);

  await page.getByRole("link", { name: "Messages", exact: true }).first().click();
  await page.getByRole("button", { name: /^Show arguments/ }).click();
  const parameters = JSON.parse(await page.getByLabel("JSON").textContent());
  faults.push(...(await inspect(page, "console-messages", VIEWS)));
  // The age goes on while the message stays as it is.
  await page.locator(".card time").evaluate((age) => (age.textContent = "old"));
  await page.locator(".card time", { hasText: /ago$/ }).waitFor();
  const retried = page.waitForResponse((response) => response.url().endsWith("/retry"));
  await page.getByRole("button", { name: /^Retry message/ }).click();
  await retried;
  // It is delivered, and rejected again.
  await page.waitForFunction(async () => (await (await fetch("/v1/messages")).json()).events[0].state === "dead");
  await page.getByRole("button", { name: /^Drop message/ }).click();
  await page.getByText("No message waits.").waitFor();

  await page.getByRole("link", { name: "Explorer" }).click();
  await page.getByLabel("Function").selectOption("souk-test:rogue/deeds@1.0.0#answer");
  await page.getByLabel("n (u32)").fill("42");
  await page.getByRole("button", { name: "Run" }).click();
  await page.locator(".result .badge").waitFor();
  const result = JSON.parse(await page.getByLabel("JSON").textContent());
  faults.push(...(await inspect(page, "console-explorer", VIEWS)));
  // A record in a list, an option and a choice: forms of every kind are accessible.
  const forms = [];
  for (const name of await page.locator("#view select").first().locator("option").allTextContents()) {
    await page.getByLabel("Function").selectOption(name);
    forms.push(name);
  }

  await page.getByRole("link", { name: "Traces", exact: true }).first().click();
  await page.getByRole("button", { name: "GET /rogue/..." }).first().click();
  await page.locator(".waterfall summary", { hasText: "souk-test:rogue/deeds" }).last().click();
  const called = JSON.parse(await page.locator(".waterfall").getByLabel("Arguments").textContent());
  const spans = await page.locator(".waterfall details").count();
  faults.push(...(await inspect(page, "console-traces", VIEWS)));

  for (const view of ["Limits", "Readiness", "Versions", "Log"]) {
    await page.getByRole("link", { name: view }).click();
    await page.locator(view === "Log" ? "#log:not(:empty)" : "#view table").first().waitFor();
    faults.push(...(await inspect(page, `console-${view.toLowerCase()}`, VIEWS)));
  }
  const log = await page.locator("#log").textContent();
  return { address, faults, components, call, busy, called, parameters, result, forms, spans, log };
});
