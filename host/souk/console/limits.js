// Every limit, with its live use where that is counted.

import { get } from "./api.js";
import { labelled, make, show, table } from "./dom.js";

export const title = "Limits";

let parts = {};
let last = null;

export function open(place) {
  const filter = make("input", { type: "search", autocomplete: "off", oninput: () => last && write(last) });
  parts = { filter, budgets: make("div"), limits: make("div"), fixed: make("div") };
  place.append(make("h3", {}, "In use"), parts.budgets, labelled("Filter", filter), parts.limits, parts.fixed);
}

export async function refresh() {
  last = await get("/v1/limits");
  write(last);
}

// Like the limit: bytes where that has bytes.
function used(one) {
  if (one.used === undefined) return "";
  if (!/ [KMG]?i?B$/.test(one.value)) return `${one.used}`;
  const unit = one.used < 2 ** 20 ? [2 ** 10, "KiB"] : one.used < 2 ** 30 ? [2 ** 20, "MiB"] : [2 ** 30, "GiB"];
  return `${Number((one.used / unit[0]).toPrecision(3))} ${unit[1]}`;
}

function write(limits) {
  const wanted = parts.filter.value.trim().toLowerCase();
  const matches = (...texts) => texts.some((text) => text.toLowerCase().includes(wanted));
  show(parts.budgets, limits.budgets, (all) => make("ul", { class: "meters" }, all.map((one) => make("li", {},
    make("span", {}, one.name),
    make("meter", { min: "0", max: `${one.most}`, high: `${one.most * 0.8}`, value: `${one.taken}`, "aria-label": one.name }),
    make("span", {}, one.text)))));
  const rows = [...limits.application.map((one) => ["application", one]),
    ...limits.components.flatMap(({ component, limits: all }) => all.map((one) => [component, one]))]
    .filter(([owner, one]) => matches(owner, one.key, one.reason))
    .map(([owner, one]) => [one.key, owner, one.value, one.value === one.default ? "" : one.default, used(one), one.reason]);
  show(parts.limits, rows, () => [make("h3", {}, "In the manifest"),
    table("Limits", ["Limit", "Of", "Value", "Default", "Used", "Why"], rows, "None is named so.")]);
  const fixed = limits.fixed.filter((one) => matches(one.module, one.name, one.comment))
    .map((one) => [one.name, one.module, one.value, one.comment]);
  show(parts.fixed, fixed, () => [make("h3", {}, "Fixed"),
    table("Fixed limits", ["Limit", "In", "Value", "What it bounds"], fixed, "None is named so.")]);
}
