// A browser that notes everything that a person would not notice but should not be there: errors in the console,
// requests that fail, and what axe-core finds inaccessible.

import axe from "axe-core";
import path from "node:path";
import { chromium } from "playwright-core";

// Opens Chromium, hands `visit` a page, and prints as JSON what `visit` returns beside what was noted. A step that cannot
// be done throws, so that this program ends with an error.
export async function browse(visit) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM });
  try {
    const page = await browser.newPage({ viewport: { width: 1100, height: 900 }, colorScheme: "light" });
    page.setDefaultTimeout(60_000);
    const problems = watch(page);
    const seen = await visit(page);
    console.log(JSON.stringify({ ...seen, problems }));
  } finally {
    await browser.close();
  }
}

function watch(page) {
  const problems = [];
  page.on("console", (message) => {
    const { url } = message.location();
    // Browsers ask for an icon where a page names none, and JSON (the shop's own pages, here) cannot name one.
    if (url.endsWith("/favicon.ico")) return;
    if (["error", "warning"].includes(message.type())) problems.push(`console: ${message.text()} (${url})`);
  });
  page.on("pageerror", (error) => problems.push(`script: ${error}`));
  page.on("requestfailed", (request) => problems.push(`${request.url()}: ${request.failure()?.errorText}`));
  page.on("response", (response) => {
    if (response.status() >= 400 && !response.url().endsWith("/favicon.ico")) problems.push(`${response.url()}: ${response.status()}`);
  });
  return problems;
}

// Writes a picture of the page, or of the top of a long one, into the folder SCREENSHOTS.
export async function picture(page, name) {
  const file = path.join(process.env.SCREENSHOTS, `${name}.png`);
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  const clip = { x: 0, y: 0, width: page.viewportSize().width, height: Math.min(height, 2000) };
  await page.screenshot({ path: file, fullPage: true, clip });
}

// Looks at the page as it is now in light, in dark, and on the narrowest phone (WCAG 1.4.10), or in `views`, and takes a
// picture of each. Returns what is wrong, one line a fault.
export async function inspect(page, name, views) {
  const faults = (await page.locator("link[rel=icon]").count()) === 1 ? [] : [`${name}: no icon, so browsers ask for one`];
  const { width, height } = page.viewportSize();
  const usual = [
    ["light", width],
    ["dark", width],
    ["narrow", 320],
  ];
  for (const [view, width] of views ?? usual) {
    await page.emulateMedia({ colorScheme: view.endsWith("dark") ? "dark" : "light" });
    await page.setViewportSize({ width, height });
    await picture(page, `${name}-${view}`);
    faults.push(...(await violations(page)).map((fault) => `${name}, ${view}: ${fault}`));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (wide > 0) faults.push(`${name}, ${view}: ${wide} pixels too wide`);
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width, height });
  return faults;
}

// The debugger puts axe into the page; its content security policy would let no other script in.
async function violations(page) {
  await page.evaluate(axe.source);
  const results = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  return results.violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${id} (${help}): ${node.html}: ${node.failureSummary}`),
  );
}
