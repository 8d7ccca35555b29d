// Signs in to the administration by the address with a code (CONSOLE), looks at everything there, and drops the one message.

import { browse, inspect } from "./browser.mjs";

await browse(async (page) => {
  await page.goto(process.env.CONSOLE);
  await page.getByRole("cell", { name: "dead", exact: true }).waitFor();
  const address = page.url();
  const faults = await inspect(page, "console");
  const components = await page.locator("#components tbody tr td:first-child").allTextContents();
  const log = await page.locator("#log").textContent();
  await page.getByRole("button", { name: /^Drop message/ }).click();
  await page.getByText("No message waits.").waitFor();
  return { address, faults, components, log };
});
