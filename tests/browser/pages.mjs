// Looks at every page that people see, in light and dark and on a phone: the one on which an order is paid (CHECKOUT), as
// it is before and after, another that has ended (ENDING), a receipt, and the API's description (DOCS).

import { browse, inspect } from "./browser.mjs";

const { CHECKOUT, DOCS, ENDING } = process.env;

await browse(async (page) => {
  const faults = [];
  await page.goto(CHECKOUT);
  faults.push(...(await inspect(page, "checkout")));
  await page.getByText("For testers").click();
  faults.push(...(await inspect(page, "checkout-testers")));

  await page.getByLabel("twice").check();
  await page.getByRole("button", { name: /^Pay / }).click();
  await page.waitForURL((url) => url.pathname === "/payments/success");
  await page.goto(CHECKOUT);
  faults.push(...(await inspect(page, "paid")));
  await page.getByText("For testers").click();
  await page.getByRole("button", { name: /^Refund / }).click();
  await page.getByRole("heading", { name: "Receipt" }).waitFor();
  faults.push(...(await inspect(page, "receipt")));

  await page.goto(ENDING);
  await page.getByText("For testers").click();
  await page.getByRole("button", { name: "Let this page expire" }).click();
  await page.getByRole("heading", { name: "This payment page has ended" }).waitFor();
  faults.push(...(await inspect(page, "ended")));

  await page.goto(DOCS);
  const docs = { title: await page.title(), operations: await page.locator("article h3").allInnerTexts() };
  faults.push(...(await inspect(page, "docs")));
  // An operation is tried on the page itself.
  const operation = page.locator("article", { has: page.locator("#listProducts") });
  await operation.getByText("Try it").click();
  await operation.getByLabel("limit (query)").fill("1");
  await operation.getByRole("button", { name: "Send" }).click();
  await operation.getByText(/^200 /).waitFor();
  docs.tried = await operation.locator("pre[role=status]").innerText();
  docs.curl = await operation.locator("pre.curl").innerText();
  return { docs, faults };
});
