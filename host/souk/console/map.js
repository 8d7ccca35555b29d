// The map: what calls what. Boxes stand in ranks, those who call above those that are called; lines show the calls of the
// last seconds, and the table below has the numbers.

import { get } from "./api.js";
import { ago, make, show, table } from "./dom.js";
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
  const queues = await depths(map);
  show(parts.messages, [map.messages ?? null, queues], ([messages, rows]) => messages ? [
    make("h3", {}, "Durable queues"),
    table("Durable queues", ["From", "To", "Waiting", "Dead", "Stranded", "Oldest"], rows, "There is none."),
    make("p", {}, `All of them: ${messages.waiting} waiting, ${messages.dead} dead, ${messages.stranded} stranded. `,
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

// How many messages there are for each durable link, of the oldest thousand.
async function depths(map) {
  const { waiting = 0, dead = 0, stranded = 0 } = map.messages ?? {};
  const { events, total } = waiting + dead + stranded ? await get("/v1/messages?limit=1000") : { events: [], total: 0 };
  const queues = new Map(map.edges.filter((edge) => edge.kind === "durable").map((edge) => [`${edge.from} ${edge.to}`, [edge.from, edge.to, 0, 0, 0, null]]));
  for (const event of events) {
    const key = `${event.caller} ${event.component}`;
    const queue = queues.get(key) ?? [event.caller, event.component, 0, 0, 0, null];
    queues.set(key, queue);
    queue[event.state === "dead" ? 3 : event.state === "stranded" ? 4 : 2] += 1;
    if (queue[5] === null || event.storedAt < queue[5]) queue[5] = event.storedAt;
  }
  const some = total > events.length ? "at least " : "";
  return [...queues.values()].map(([from, to, ...counts]) =>
    [from, to, ...counts.slice(0, 3).map((one) => (one ? `${some}${one}` : "0")), counts[3] === null ? "" : ago(counts[3])]);
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
  // Another view is open.
  if (!frame.width) return;
  parts.lines.setAttribute("width", frame.width);
  parts.lines.setAttribute("height", frame.height);
  const places = new Map([...parts.ranks.querySelectorAll(".box")].map((one) => {
    const rect = one.getBoundingClientRect();
    const left = rect.left - frame.left;
    const at = { x: left + rect.width / 2, left, right: left + rect.width, top: rect.top - frame.top, bottom: rect.bottom - frame.top };
    return [one.dataset.node, at];
  }));
  // What a text must not cover: boxes, and the texts before it.
  const taken = [...places.values()];
  const drawn = edges.flatMap((edge, index) => {
    const [from, to] = [places.get(edge.from), places.get(edge.to)];
    return from && to && from !== to ? line(edge, from, to, index, frame.width, [...places.values()], taken) : [];
  });
  // Texts above all lines.
  drawn.sort((a, b) => (a.tagName === "text") - (b.tagName === "text"));
  parts.lines.replaceChildren(...drawn);
}

// Boxes that stand beside each other, from top to bottom.
function bands(boxes) {
  const found = [];
  for (const box of boxes.toSorted((a, b) => a.top - b.top)) {
    const last = found.at(-1);
    if (last && box.top < last.bottom) {
      last.boxes.push(box);
      last.bottom = Math.max(last.bottom, box.bottom);
    } else found.push({ top: box.top, bottom: box.bottom, boxes: [box] });
  }
  return found;
}

// Where a line that wants to pass a band at `x` finds room between its boxes.
function passage(x, band, width) {
  const sides = band.boxes.toSorted((a, b) => a.left - b.left);
  const gaps = [...sides, null].map((box, place) => [place ? sides[place - 1].right : 0, box ? box.left : width]);
  const places = gaps.filter(([left, right]) => right - left >= 4).map(([left, right]) => {
    const margin = Math.min(14, (right - left) / 2);
    return Math.min(Math.max(x, left + margin), right - margin);
  });
  return places.sort((a, b) => Math.abs(a - x) - Math.abs(b - x))[0] ?? x;
}

// The way of a line: through the gaps of the boxes that stand between its ends, so that it seems to end at none of them.
function way(from, to, index, width, all) {
  const [upper, lower] = from.top <= to.top ? [from, to] : [to, from];
  if (lower.top < upper.bottom) return `M${from.x},${from.top} C${from.x},${from.top - 30} ${to.x},${to.top - 30} ${to.x},${to.top}`;
  let [x, y] = [upper.x, upper.bottom];
  let drawn = `M${x},${y}`;
  const bend = (toX, toY) => {
    const half = (toY - y) / 2;
    drawn += ` C${x},${y + half} ${toX},${toY - half} ${toX},${toY}`;
    [x, y] = [toX, toY];
  };
  for (const band of bands(all).filter((band) => band.top >= upper.bottom && band.bottom <= lower.top)) {
    const share = ((band.top + band.bottom) / 2 - upper.bottom) / (lower.top - upper.bottom);
    bend(passage(upper.x + (lower.x - upper.x) * share, band, width) + (index % 3) * 3 - 3, band.top - 3);
    y = band.bottom + 3;
    drawn += ` L${x},${y}`;
  }
  bend(lower.x, lower.top);
  return drawn;
}

function line(edge, from, to, index, width, all, taken) {
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", way(from, to, index, width, all));
  const kind = edge.errorRate > 0 ? "failing" : edge.rate > 0 ? "busy" : "idle";
  path.setAttribute("class", `edge ${edge.kind} ${kind}`);
  if (width < 700 || !edge.rate) return [path];
  const text = document.createElementNS(SVG, "text");
  text.textContent = `${number(edge.rate)}/s${edge.errorRate > 0 ? `, ${number(edge.errorRate)} errors/s` : ""}, p99 ${milliseconds(edge.p99)}`;
  text.setAttribute("class", kind);
  const half = text.textContent.length * 3.2;
  const around = ({ x, y }) => ({ left: x - half, right: x + half, top: y - 9, bottom: y + 7 });
  const length = path.getTotalLength();
  const points = [0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9].map((part) => path.getPointAtLength(length * part));
  const apart = (one, other) => one.right < other.left || one.left > other.right || one.bottom < other.top || one.top > other.bottom;
  const inside = ({ left, right }) => left >= 0 && right <= width;
  const place = points.find((point) => inside(around(point)) && taken.every((one) => apart(around(point), one))) ?? points[0];
  taken.push(around(place));
  text.setAttribute("x", place.x);
  text.setAttribute("y", place.y + 4);
  return [path, text];
}
