// Messages of durable links: those that wait, are being delivered, are dead or stranded, with their arguments.

import { api, get } from "./api.js";
import { button, count, json, labelled, make, show, since } from "./dom.js";

export const title = "Messages";

const STATES = ["all", "pending", "delivering", "dead", "stranded"];
const MAX_SHOWN = 200;
// The host selects dead letters; the other states are looked for in so many messages.
const MAX_SEARCHED = 1000;
const opened = new Map();
let parts = {};

export function open(place) {
  const select = make("select", { onchange: refresh }, STATES.map((state) => make("option", {}, state)));
  parts = { select, list: make("ul", { class: "cards" }), total: make("p") };
  place.append(make("div", { class: "bar" }, labelled("State", select),
    button("Retry all dead letters", null, () => change("POST", "/v1/dead-letters/retry")),
    button("Drop all dead letters", null, () =>
      confirm("Drop all dead letters? Their calls are lost.") && change("DELETE", "/v1/dead-letters"))),
    parts.total, parts.list);
}

async function change(method, path) {
  await api(method, path);
  await refresh();
}

export async function refresh() {
  const state = parts.select.value;
  const selected = state === "all" || state === "dead";
  const { events, total } = await get(`/v1/messages?dead=${state === "dead"}&limit=${selected ? MAX_SHOWN : MAX_SEARCHED}`);
  const seen = events.filter((event) => state === "all" || event.state === state);
  const shown = seen.slice(0, MAX_SHOWN);
  const all = selected ? total : seen.length;
  const text = shown.length < all ? `the oldest ${shown.length} of ${all}` : `${shown.length} shown`;
  const among = !selected && events.length < total ? `, in the oldest ${events.length} messages of ${total}` : "";
  parts.total.textContent = total || state === "dead" ? `${text}${among}` : "No message waits.";
  show(parts.list, shown.map((event) => [event, opened.get(event.id) ?? null]), (all) => all.map(([event, arguments_]) => card(event, arguments_)));
}

function card(event, known) {
  const path = `/v1/messages/${encodeURIComponent(event.id)}`;
  const name = `message ${event.id}`;
  const toggle = async () => {
    if (opened.has(event.id)) opened.delete(event.id);
    else opened.set(event.id, (await get(path)).arguments ?? "hidden: the session may not read arguments");
    await refresh();
  };
  return make("li", { class: "card" },
    make("p", {}, make("span", { class: `badge ${event.state}` }, event.state), " ",
      make("strong", {}, `${event.component}: ${event.interface}#${event.function}`)),
    make("p", {}, `from ${event.caller}, stored `, since(event.storedAt), `, ${count(event.attempts, "delivery", "deliveries")}, ${count(event.bytes, "byte")}, trace `,
      make("code", {}, event.trace)),
    event.reason ? make("p", {}, `Reason: ${event.reason}`) : null,
    make("p", { class: "bar" },
      button(known === null ? "Show arguments" : "Hide arguments", `${known === null ? "Show" : "Hide"} arguments of ${name}`, toggle),
      button("Retry", `Retry ${name}`, () => change("POST", `${path}/retry`)),
      button("Drop", `Drop ${name}`, () => change("DELETE", path))),
    known === null ? null : json(known));
}
