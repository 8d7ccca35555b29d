// Elements, made from data. Texts become text nodes, so nothing that a component says is read as HTML.

// An element with attributes (`onclick` and the like are listeners) and children.
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// A table that scrolls where it is too wide, by keyboard too. A cell is text or an element.
export function table(name, heads, rows, none) {
  if (!rows.length) return make("p", { class: "none" }, none);
  const line = (cells, kind) =>
    make("tr", {}, cells.map((cell, place) => {
      const isHead = kind === "th" || place === 0;
      // On a phone each row is a paragraph, and each cell says what it is.
      const label = kind === "th" || isHead ? null : heads[place];
      return make(isHead ? "th" : "td", { scope: kind === "th" ? "col" : isHead ? "row" : null, "data-label": label }, cell);
    }));
  return make("div", { class: "table", tabindex: "0", role: "region", "aria-label": `${name}: table` },
    make("table", {}, make("thead", {}, line(heads, "th")), make("tbody", {}, rows.map((cells) => line(cells, "td")))));
}

export function button(text, label, act) {
  return make("button", { type: "button", "aria-label": label ?? text, onclick: () => guarded(act) }, text);
}

// Runs what a person asked for, and says what went wrong.
export async function guarded(act) {
  const problem = document.getElementById("problem");
  problem.textContent = "";
  try {
    await act();
  } catch (error) {
    problem.textContent = error.message;
  }
}

// Writes into `place` what `build` makes of `value`, where that has changed: the focus stays where it is otherwise.
const shown = new WeakMap();
export function show(place, value, build) {
  const text = JSON.stringify(value);
  if (shown.get(place) === text) return;
  shown.set(place, text);
  place.replaceChildren(...[build(value)].flat());
}

let ids = 0;
// A field with its label.
export function labelled(text, field, attributes = {}) {
  const id = `field-${++ids}`;
  field.id = id;
  return make("div", { class: "field", ...attributes }, make("label", { for: id }, text), field);
}

export const json = (value, label = "JSON") => make("pre", { tabindex: "0", "aria-label": label }, JSON.stringify(value, null, 2));

export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

export function ago(time) {
  const seconds = Math.max(0, Math.round((Date.now() - new Date(time).getTime()) / 1000));
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`;
  return `${Math.round(seconds / 3600)} h ago`;
}

// How long ago `time` was, as an element that `renewAges` keeps right while what is around it stays as it is.
export const since = (time) => make("time", { datetime: time }, ago(time));

export function renewAges(place) {
  for (const one of place.querySelectorAll("time")) {
    const text = ago(one.dateTime);
    if (one.textContent !== text) one.textContent = text;
  }
}
