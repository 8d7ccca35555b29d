// A form for a value of a WIT type, as `/v1/functions` describes it. `field(type, label)` is an element and a function that
// gives the value as the codec reads it. Parts that may be absent are made when they are wanted, so that large types are
// small forms.

import { labelled, make } from "./dom.js";

const INTEGERS = new Set(["s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64"]);

export function field(type, label) {
  switch (type.kind) {
    case "bool": return bool(label);
    case "string": return text(label, make("textarea", { rows: "1" }), (value) => value);
    case "char": return text(label, make("input", { autocomplete: "off" }), (value) => value);
    case "f32":
    case "f64": return text(`${label} (${type.kind})`, make("input", { inputmode: "decimal", value: "0" }), decimal(label));
    case "enum": return choice(label, type.names.map((name) => ({ name })), (name) => name);
    case "flags": return flags(type.names, label);
    case "record": return group(label, type.fields.map((one) => [one.name, field(one.type, one.name)]),
      (values) => Object.fromEntries(values));
    case "tuple": return group(label, type.of.map((one, place) => [place, field(one, `${label} ${place + 1}`)]),
      (values) => values.map(([, value]) => value));
    case "option": return option(type, label);
    case "list": return type.of.kind === "u8" ? raw(`${label} (bytes, as a JSON array)`, "[]") : list(type, label);
    case "map": return list({ of: { kind: "tuple", of: [type.key, type.value] } }, label);
    case "variant": return choice(label, type.cases, (name, value) => (value === undefined ? name : { [name]: value }));
    case "result": return choice(label, [{ name: "ok", type: type.ok }, { name: "err", type: type.err }],
      (name, value) => ({ [name]: value ?? null }));
    default: return INTEGERS.has(type.kind)
      ? text(`${label} (${type.kind})`, make("input", { inputmode: "numeric", autocomplete: "off", value: "0" }), integer(label))
      : raw(`${label} (JSON)`, "null");
  }
}

// A function's parameters; none are `{}`.
export function form(params) {
  const fields = params.map((one) => [one.name, field(one.type, one.name)]);
  return {
    element: make("div", {}, fields.length ? fields.map(([, one]) => one.element) : make("p", { class: "none" }, "It takes no arguments.")),
    value: () => Object.fromEntries(fields.map(([name, one]) => [name, one.value()])),
  };
}

export function raw(label, start) {
  return text(label, make("textarea", { rows: "3", spellcheck: "false" }, start), (value) => {
    try {
      return JSON.parse(value);
    } catch {
      throw new Error(`${label}: this is no JSON`);
    }
  });
}

function text(label, input, read) {
  return { element: labelled(label, input), value: () => read(input.value) };
}

const integer = (label) => (value) => {
  const digits = value.trim();
  if (!/^-?\d+$/.test(digits)) throw new Error(`${label}: write a whole number`);
  // Beyond 2^53 a JSON number would be rounded.
  return Number.isSafeInteger(Number(digits)) ? Number(digits) : digits;
};

const decimal = (label) => (value) => {
  if (value.trim() === "" || !Number.isFinite(Number(value))) throw new Error(`${label}: write a number`);
  return Number(value);
};

function bool(label) {
  const input = make("input", { type: "checkbox" });
  return { element: labelled(label, input, { class: "field check" }), value: () => input.checked };
}

function flags(names, label) {
  const all = names.map((name) => [name, bool(name)]);
  return {
    element: make("fieldset", {}, make("legend", {}, label), all.map(([, one]) => one.element)),
    value: () => all.filter(([, one]) => one.value()).map(([name]) => name),
  };
}

function group(label, parts, join) {
  return {
    element: make("fieldset", {}, make("legend", {}, label), parts.map(([, one]) => one.element)),
    value: () => join(parts.map(([name, one]) => [name, one.value()])),
  };
}

function option(type, label) {
  const given = bool(`give ${label}`);
  const place = make("div", { class: "inner" });
  let inner = null;
  given.element.addEventListener("change", () => {
    inner = given.value() ? field(type.of, label) : null;
    place.replaceChildren(...(inner ? [inner.element] : []));
  });
  const value = () => (inner === null ? null : type.nested ? { some: inner.value() } : inner.value());
  return { element: make("div", {}, given.element, place), value };
}

function choice(label, cases, join) {
  const select = make("select", {}, cases.map(({ name }) => make("option", {}, name)));
  const place = make("div", { class: "inner" });
  let inner = null;
  const choose = () => {
    const { type, name } = cases[select.selectedIndex] ?? {};
    inner = type ? field(type, name) : null;
    place.replaceChildren(...(inner ? [inner.element] : []));
  };
  select.addEventListener("change", choose);
  choose();
  return { element: make("div", {}, labelled(label, select), place), value: () => join(select.value, inner?.value()) };
}

function list(type, label) {
  const items = [];
  const place = make("div", { class: "inner" });
  const add = () => {
    const item = field(type.of, `${label} ${items.length + 1}`);
    items.push(item);
    place.append(item.element);
  };
  for (let count = 0; count < Math.min(type.length ?? 0, 100); count += 1) add();
  const buttons = type.length ? [] : [
    make("button", { type: "button", "aria-label": `Add to ${label}`, onclick: add }, "Add"), " ",
    make("button", { type: "button", "aria-label": `Remove last of ${label}`, onclick: () => items.pop()?.element.remove() }, "Remove last")];
  return {
    element: make("fieldset", {}, make("legend", {}, `${label} (list)`), place, buttons),
    value: () => items.map((item) => item.value()),
  };
}
