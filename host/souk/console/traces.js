// Traces: the last requests with what each of them led to, and one of them as a waterfall.

import { get } from "./api.js";
import { count, guarded, json, labelled, make, show } from "./dom.js";

export const title = "Traces";

const MAX_SHOWN = 200;
let parts = {};
let list = [];
let opened = null;

export function open(place) {
  const filter = make("input", { type: "search", autocomplete: "off", oninput: write });
  const least = make("input", { type: "number", min: "0", value: "0", oninput: write });
  const failed = make("input", { type: "checkbox", oninput: write });
  parts = { filter, least, failed, one: make("div"), list: make("ul", { class: "cards" }) };
  opened = null;
  place.append(make("div", { class: "bar" }, labelled("Name, component or id", filter), labelled("At least (ms)", least),
    labelled("Failed only", failed, { class: "field check" })), parts.one, parts.list);
  write();
}

export async function refresh() {
  list = await get(`/v1/traces?limit=${MAX_SHOWN}`);
  write();
}

// Milliseconds since 1970, exact to the microsecond: a `Date` has milliseconds alone.
const instant = (text) => Date.parse(text) + Number(text.slice(23, 26)) / 1000;

const duration = (ms) => (ms < 1 ? `${Math.round(ms * 1000)} µs` : `${Number(ms.toPrecision(3))} ms`);

function write() {
  const wanted = parts.filter.value.trim().toLowerCase();
  const least = Number(parts.least.value) || 0;
  const seen = list.filter((one) => one.durationMs >= least && (!parts.failed.checked || one.status === "error") &&
    [one.name, one.component, one.traceId].some((text) => text.toLowerCase().includes(wanted)));
  show(parts.list, seen, (all) => all.length ? all.map(item) : [make("li", { class: "none" }, "No trace matches.")]);
}

const item = (one) => make("li", { class: "card" },
  make("button", { type: "button", class: "link", onclick: () => guarded(() => select(one.traceId)) }, one.name), " ",
  one.status === "error" ? make("span", { class: "badge dead" }, one.error ?? "error") : null,
  make("p", {}, [one.component, time(one.start), duration(one.durationMs), count(one.spans, "span"), ""].filter((text, place) => text || place).join(", "),
    make("code", {}, one.traceId)));

// Traces are kept for as long as there is room, so one may be of another day.
const time = (start) => {
  const at = new Date(start);
  return at.toDateString() === new Date().toDateString() ? at.toLocaleTimeString() : at.toLocaleString();
};

async function select(id) {
  opened = id;
  const trace = await get(`/v1/traces/${encodeURIComponent(id)}`);
  if (opened !== id) return;
  const heading = make("h3", { tabindex: "-1" }, `Trace ${id}`);
  const lost = trace.lost ? make("p", { class: "none" }, `${trace.lost} more spans were not kept.`) : "";
  parts.one.replaceChildren(heading, waterfall(trace.spans), lost);
  heading.focus();
}

// Spans under the one that they belong to, each with a bar for its time within the whole.
function waterfall(spans) {
  const begin = Math.min(...spans.map((one) => instant(one.start)));
  const whole = Math.max(0.001, ...spans.map((one) => instant(one.start) - begin + one.durationMs));
  const known = new Set(spans.map((one) => one.spanId));
  const children = Map.groupBy(spans, (one) => (known.has(one.parentId) ? one.parentId : ""));
  const rows = [];
  // Components choose the ids of their own spans: several can have the same id, or be each other's ancestors. So the
  // children of an id are taken once, and each span is shown once.
  const add = (parent, depth) => {
    const below = children.get(parent) ?? [];
    children.delete(parent);
    for (const one of below.sort((a, b) => a.start.localeCompare(b.start))) {
      rows.push(row(one, depth, (instant(one.start) - begin) / whole, one.durationMs / whole));
      add(one.spanId, depth + 1);
    }
  };
  add("", 0);
  while (children.size) add(children.keys().next().value, 0);
  return make("div", { class: "waterfall" }, rows);
}

function row(one, depth, from, length) {
  const bar = make("span", { class: `bar-of ${one.status === "error" ? "failing" : ""}` });
  bar.style.left = `${from * 100}%`;
  bar.style.width = `${Math.max(0.5, length * 100)}%`;
  const name = make("span", { class: "span-name" }, make("strong", {}, one.name), ` ${one.component} `,
    make("span", { class: "none" }, `${one.kind}, ${duration(one.durationMs)}`));
  name.style.paddingLeft = `${Math.min(depth, 12) * 0.75}rem`;
  return make("details", {}, make("summary", {}, name, make("span", { class: "track" }, bar)),
    one.error ? make("p", {}, `Error: ${one.detail ?? one.error}`) : null, about(one));
}

const STATEMENT = "db.query.text";
const VALUES = [["Arguments", "souk.arguments"], ["Result", "souk.result"]];

// What is known of a span: its statement as text, the values of a call as JSON, and the rest by its name.
function about(one) {
  const known = one.attributes ?? {};
  const parts = [];
  if (known[STATEMENT] !== undefined) parts.push(make("h4", {}, "Statement"), make("pre", { tabindex: "0", "aria-label": "Statement" }, known[STATEMENT]));
  for (const [title, name] of VALUES) {
    if (known[name] !== undefined) parts.push(make("h4", {}, title), value(title, known[name]));
  }
  const shown = [STATEMENT, ...VALUES.map(([, name]) => name)];
  const rest = Object.entries(known).filter(([name]) => !shown.includes(name));
  if (rest.length) parts.push(make("dl", { class: "facts" }, rest.flatMap(([name, is]) => [make("dt", {}, name), make("dd", {}, `${is}`)])));
  const isCall = one.kind === "internal" && one.name.includes("#");
  if (isCall && known["souk.arguments"] === undefined && one.component) {
    parts.push(make("p", { class: "none" }, "To see arguments and results, put ", make("code", {}, "trace_arguments = true"), " into ",
      make("code", {}, `[component.${one.component}.tool.souk]`), "."));
  }
  return parts.length ? parts : make("p", { class: "none" }, "Nothing more is recorded.");
}

// The values of a call are JSON, unless they were too long and were cut.
function value(title, text) {
  try {
    return json(JSON.parse(text), title);
  } catch {
    return make("pre", { tabindex: "0", "aria-label": title }, text);
  }
}
