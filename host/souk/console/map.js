// The map: what calls what. Boxes stand in ranks, those who call above those that are called; lines show the calls of the
// last seconds, and the table below has the numbers.

import { get } from "./api.js";
import { make, show, table } from "./dom.js";
import { rates } from "./rates.js";

export const title = "Map";

const SVG = "http://www.w3.org/2000/svg";
let parts = {};
let observer = null;

export function open(place) {
  parts = {
    lines: document.createElementNS(SVG, "svg"),
    ranks: make("div", { class: "ranks" }),
    messages: make("div"),
    hosts: make("div"),
    edges: make("div"),
    window: make("p", { class: "none" }),
  };
  parts.lines.setAttribute("aria-hidden", "true");
  place.append(make("div", { class: "map" }, parts.lines, parts.ranks), parts.messages, parts.hosts,
    make("h3", {}, "Calls"), parts.window, parts.edges);
  hostsIn = 0;
  // Boxes move when the window does.
  observer?.disconnect();
  observer = new ResizeObserver(() => draw());
  observer.observe(parts.ranks);
}

let edges = [];
let hostsIn = 0;
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
  // It waits for the answers of hosts, so it is asked seldom.
  if (hostsIn > 0) hostsIn -= 1;
  else {
    hostsIn = 5;
    show(parts.hosts, await get("/v1/hosts"), (hosts) => hosts.length < 2 ? [] : [make("h3", {}, "Hosts"),
      table("Hosts", ["Host", "Version", "Runs"], hosts.map((host) => [host.id, host.version, host.runs.join(", ")]), "")]);
  }
}

const number = (value) => (value >= 9.95 ? value.toFixed(0) : value.toFixed(1));
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
  // In each rank from left to right as their callers stand, so that fewer lines cross.
  const place = new Map();
  const byCallers = (names) => {
    const mean = (name) => {
      const callers = map.edges.filter((edge) => edge.to === name && place.has(edge.from)).map((edge) => place.get(edge.from));
      return callers.length ? callers.reduce((sum, one) => sum + one, 0) / callers.length : 0.5;
    };
    const sorted = names.map((name) => [mean(name), name]).sort(([a], [b]) => a - b).map(([, name]) => name);
    sorted.forEach((name, index) => place.set(name, (index + 0.5) / sorted.length));
    return sorted;
  };
  const components = new Map(map.components.map((one) => [one.name, one]));
  const ranks = levels.map((level) => ({
    name: "Components",
    boxes: byCallers([...depth.keys()].filter((name) => depth.get(name) === level))
      .map((name) => component(components.get(name), map, measured)),
  }));
  if (map.edges.some((edge) => edge.from === "clients")) {
    ranks.unshift({ name: "Clients", boxes: [{ name: "clients", kind: "outer", lines: [] }] });
  }
  if (map.resources.length) {
    ranks.push({
      name: "Resources",
      boxes: byCallers(map.resources.map((one) => one.name)).map((name) => {
        const one = map.resources.find((resource) => resource.name === name);
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
    if (map.version) lines.push(`version ${map.version}`);
    lines.push(`${busy + idle} of ${limit} instances`);
    const live = measured.components.get(one.name);
    if (live?.rate) lines.push(`${number(live.rate)} calls/s`, `p99 ${milliseconds(live.p99)}`);
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
    const left = rect.left - frame.left;
    const at = { x: left + rect.width / 2, left, right: left + rect.width, top: rect.top - frame.top, bottom: rect.bottom - frame.top };
    return [one.dataset.node, at];
  }));
  const drawn = edges.flatMap((edge, index) => {
    const [from, to] = [places.get(edge.from), places.get(edge.to)];
    return from && to && from !== to ? line(edge, from, to, index, frame.width >= 700, [...places.values()]) : [];
  });
  // Texts above all lines.
  drawn.sort((a, b) => (a.tagName === "text") - (b.tagName === "text"));
  parts.lines.replaceChildren(...drawn);
}

function line(edge, from, to, index, wide, all) {
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
  // Not all at one height, so that those of one rank can be told apart; and on no box, where there is such a place.
  const length = path.getTotalLength();
  const points = [0, 1, 2, 3, 4, 5].map((step) => path.getPointAtLength(length * (0.15 + 0.14 * ((step + index) % 6))));
  const free = ({ x, y }) => all.every((box) => x + 45 < box.left || x - 45 > box.right || y + 6 < box.top || y - 8 > box.bottom);
  const { x, y } = points.find(free) ?? points[2];
  text.setAttribute("x", x);
  text.setAttribute("y", y + 4);
  text.setAttribute("class", kind);
  text.textContent = `${number(edge.rate)}/s${edge.errorRate > 0 ? `, ${number(edge.errorRate)} errors/s` : ""}, p99 ${milliseconds(edge.p99)}`;
  return [path, text];
}
