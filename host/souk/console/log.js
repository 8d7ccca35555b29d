// The log's last lines, as they come.

import { get } from "./api.js";
import { labelled, make } from "./dom.js";

export const title = "Log";

const MAX_LINES = 2000;
let parts = {};
let lines = [];
let next = 0;

export function open(place) {
  const filter = make("input", { type: "search", autocomplete: "off", oninput: write });
  const follow = make("input", { type: "checkbox", checked: true });
  parts = { filter, follow, text: make("pre", { id: "log", class: "log", tabindex: "0", "aria-label": "The last lines of the log" }) };
  place.append(make("div", { class: "bar" }, labelled("Filter", filter), labelled("Follow", follow, { class: "field check" })), parts.text);
  write();
}

export async function refresh() {
  const log = await get(`/v1/log?after=${next}&lines=500`);
  // A host that was started again counts from zero: its lines are asked for from the first one.
  if (log.next < next) {
    [lines, next] = [[], 0];
    write();
    return refresh();
  }
  next = log.next;
  if (!log.lines.length) return;
  lines = [...lines, ...log.lines].slice(-MAX_LINES);
  write();
}

function write() {
  const wanted = parts.filter.value.toLowerCase();
  parts.text.textContent = lines.filter((line) => line.toLowerCase().includes(wanted)).join("\n");
  if (parts.follow.checked) parts.text.scrollTop = parts.text.scrollHeight;
}
