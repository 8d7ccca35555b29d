// The map: what calls what. Boxes stand in ranks, those who call above those that are called; lines show the calls of the
// last seconds, and the table below has the numbers.

import { get } from "./api.js";
import { make, show, table } from "./dom.js";
import { rates } from "./rates.js";

export const title = "Map";

const SVG = "http://www.w3.org/2000/svg";
let parts = {};

export function open(place) {
  parts = {
    lines: document.createElementNS(SVG, "svg"),
    ranks: make("div", { class: "ranks" }),
    messages: make("div"),
    edges: make("div"),
    window: make("p", { class: "none" }),
  };
  parts.lines.setAttribute("aria-hidden", "true");
  place.append(make("div", { class: "map" }, parts.lines, parts.ranks), parts.messages,
    make("h3", {}, "Calls"), parts.window, parts.edges);
  parts.observer?.disconnect();
  parts.observer = new ResizeObserver(() => draw());
  parts.observer.observe(parts.ranks);
}

let edges = [];
export async function refresh() {
  const map = await get("/v1/map");
  const measured = rates(map);
  edges = measured.edges;
  parts.window.textContent = measured.seconds
    ? `Rates and p99 are those of the last ${Math.round(measured.seconds)} seconds.` : "Rates appear in a moment.";
  show(parts.ranks, boxes(map, measured), (ranks) => ranks.map((rank) =>
    make("ul", { class: "rank", "aria-label": rank.name }, rank.boxes.map(box))));
  show(parts.messages, map.messages ?? null, (messages) => messages ? [
    make("h3", {}, "Durable queues"),
    make("p", {}, `${messages.waiting} waiting, ${messages.dead} dead, ${messages.stranded} stranded. `,
      make("a", { href: "#messages" }, "Messages"))] : []);
  show(parts.edges, edges.map(row), (rows) =>
    table("Calls", ["From", "To", "Kind", "Calls/s", "Errors/s", "p99", "Calls", "Errors"], rows, "Nothing calls anything."));
  draw();
}

const number = (value) => (value >= 10 ? value.toFixed(0) : value.toFixed(1));
const rate = (value) => (value === null ? "–" : number(value));
export const milliseconds = (seconds) =>
  seconds === null ? "–" : seconds === Infinity ? "over 10 s" : seconds < 0.001 ? `≤ ${Math.round(seconds * 1e6)} µs` : `≤ ${Number((seconds * 1000).toPrecision(2))} ms`;
const row = (edge) => [edge.from, edge.to, edge.kind, rate(edge.rate), rate(edge.errorRate), milliseconds(edge.p99),
  `${edge.calls}`, `${edge.errors}`];

// The ranks: clients, components by the longest way that leads to them, and what components reach beyond.
function boxes(map, measured) {
  const depth = new Map(map.components.map((one) => [one.name, 0]));
  // No way without a circle is longer than there are components.
  for (const _ of map.components) {
    for (const { from, to } of map.edges) {
      if (depth.has(from) && depth.has(to) && depth.get(to) <= depth.get(from)) {
        depth.set(to, Math.min(depth.get(from) + 1, map.components.length - 1));
      }
    }
  }
  const levels = [...new Set(depth.values())].sort((a, b) => a - b);
  const ranks = levels.map((level) => ({
    name: "Components",
    boxes: map.components.filter((one) => depth.get(one.name) === level).map((one) => component(one, map, measured)),
  }));
  if (map.edges.some((edge) => edge.from === "clients")) {
    ranks.unshift({ name: "Clients", boxes: [{ name: "clients", kind: "outer", lines: [] }] });
  }
  if (map.resources.length) {
    ranks.push({
      name: "Resources",
      boxes: map.resources.map((one) => {
        const live = measured.resources.get(one.name);
        const used = one.kind === "key-value" && live?.rate ? [`${number(live.rate)}/s, p99 ${milliseconds(live.p99)}`] : [];
        return { name: one.name, kind: "outer", lines: used };
      }),
    });
  }
  return ranks;
}

function component(one, map, measured) {
  const lines = [];
  if (one.place !== "here") lines.push(one.place.replaceAll("-", " "));
  else {
    const { busy, idle, limit, waiting } = one.instances;
    lines.push(`${map.version ? `version ${map.version}, ` : ""}${busy + idle} of ${limit} instances`);
    const live = measured.components.get(one.name);
    if (live?.rate) lines.push(`${number(live.rate)} calls/s, p99 ${milliseconds(live.p99)}`);
    if (waiting) lines.push(`${waiting} waiting`);
  }
  return { name: one.name, kind: one.place === "here" ? "here" : "away", lines };
}

const box = (one) => make("li", { class: `box ${one.kind}`, "data-node": one.name },
  make("strong", {}, one.name), one.lines.map((line) => make("span", {}, line)));

// Lines from box to box, behind the boxes; drawn again when the boxes move.
function draw() {
  const frame = parts.ranks.getBoundingClientRect();
  parts.lines.setAttribute("width", frame.width);
  parts.lines.setAttribute("height", frame.height);
  const places = new Map([...parts.ranks.querySelectorAll(".box")].map((one) => {
    const rect = one.getBoundingClientRect();
    const at = { x: rect.left - frame.left + rect.width / 2, top: rect.top - frame.top, bottom: rect.bottom - frame.top };
    return [one.dataset.node, at];
  }));
  parts.lines.replaceChildren(...edges.flatMap((edge, index) => {
    const [from, to] = [places.get(edge.from), places.get(edge.to)];
    return from && to && from !== to ? line(edge, from, to, index, frame.width >= 700) : [];
  }));
}

function line(edge, from, to, index, wide) {
  const down = to.top >= from.bottom;
  const up = to.bottom <= from.top;
  const [y1, y2] = down ? [from.bottom, to.top] : up ? [from.top, to.bottom] : [from.top, to.top];
  const bend = down || up ? (y2 - y1) / 2 : -30;
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", `M${from.x},${y1} C${from.x},${y1 + bend} ${to.x},${y2 - (down || up ? bend : 30)} ${to.x},${y2}`);
  const kind = edge.errorRate > 0 ? "failing" : edge.rate > 0 ? "busy" : "idle";
  path.setAttribute("class", `edge ${edge.kind} ${kind}`);
  if (!wide || !edge.rate) return [path];
  const text = document.createElementNS(SVG, "text");
  // Not all at one height, so that those of one rank can be told apart.
  const part = 0.35 + 0.15 * (index % 3);
  text.setAttribute("x", from.x + (to.x - from.x) * part);
  text.setAttribute("y", y1 + (y2 - y1) * part + 4);
  text.setAttribute("class", kind);
  text.textContent = `${number(edge.rate)}/s${edge.errorRate > 0 ? `, ${number(edge.errorRate)} errors/s` : ""}, p99 ${milliseconds(edge.p99)}`;
  return [path, text];
}
