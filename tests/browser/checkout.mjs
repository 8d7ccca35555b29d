// Goes the way of a customer: from the page on which an order is paid (CHECKOUT) to the shop, and on to the receipt. HOW
// says by what: "mouse" or "keyboard".

import { browse, picture } from "./browser.mjs";

const { CHECKOUT, HOW } = process.env;

await browse(async (page) => {
  await page.goto(CHECKOUT);
  const checkout = { title: await page.title(), heading: await page.locator("h1").innerText() };
  let cancelled = null;
  if (HOW === "mouse") {
    // Somebody who goes back can come again.
    await page.getByRole("button", { name: "Cancel and go back" }).click();
    cancelled = await landed(page, "/payments/cancel");
    await page.goto(CHECKOUT);
    await page.getByRole("button", { name: /^Pay / }).click();
  } else {
    await press(page, "button", /^Pay /);
  }
  const success = await landed(page, "/payments/success");
  await picture(page, `success-${HOW}`);

  // The same address shows a paid order now, and leads to its receipt.
  await page.goto(CHECKOUT);
  const paid = await page.locator("h1").innerText();
  if (HOW === "mouse") {
    await page.getByRole("link", { name: "Show the receipt" }).click();
  } else {
    await press(page, "link", /^Show the receipt$/);
  }
  await page.getByRole("heading", { name: "Receipt" }).waitFor();
  const receipt = { url: page.url(), text: await page.locator("main").innerText() };
  return { checkout, cancelled, success, paid, receipt };
});

// Waits until the browser has come to this path of the shop; returns what the page shows.
async function landed(page, path) {
  await page.waitForURL((url) => url.pathname === path);
  const text = await page.locator("main").innerText();
  return { heading: await page.locator("h1").innerText(), text };
}

// Presses what has this role and name, with Tab and Enter alone; what has the focus must show it.
async function press(page, role, name) {
  const target = page.getByRole(role, { name });
  for (let i = 0; i < 10; i++) {
    await page.keyboard.press("Tab");
    const focused = await target.evaluate((element) => element === document.activeElement);
    if (!focused) continue;
    const outline = await target.evaluate((element) => getComputedStyle(element).outlineStyle);
    if (outline === "none") throw new Error(`nothing shows that the ${role} ${name} has the focus`);
    await page.keyboard.press("Enter");
    return;
  }
  throw new Error(`Tab does not come to the ${role} ${name}`);
}
