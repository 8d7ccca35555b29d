// The explorer: every WIT function as a form made from its types, and the operations of the application's HTTP API as its
// OpenAPI document describes them.

import { SignedOut, api, get } from "./api.js";
import { guarded, json, labelled, make } from "./dom.js";
import { form, raw } from "./form.js";
import { operationForm, operations } from "./openapi.js";

export const title = "Explorer";

let parts = {};
let loaded = false;

export function open(place) {
  parts = { functions: make("div"), http: make("div") };
  loaded = false;
  place.append(make("h3", {}, "Functions"), parts.functions, make("h3", {}, "HTTP"), parts.http);
}

// Loaded once each time it is opened: what is typed in stays.
export async function refresh(application) {
  if (loaded) return;
  loaded = true;
  await Promise.all([explained(parts.functions, showFunctions()), explained(parts.http, showOperations(application.openapi))]);
}

// Why a part cannot be shown stands in its place, and stays there: it is not loaded again.
async function explained(place, work) {
  try {
    await work;
  } catch (error) {
    if (error instanceof SignedOut) throw error;
    place.replaceChildren(make("p", { class: "none" }, error.message));
  }
}

function choice(label, groups, choose) {
  const all = groups.flatMap(([, entries]) => entries.map(([, value]) => value));
  const select = make("select", { onchange: () => choose(all[select.selectedIndex]) },
    groups.map(([name, entries]) => make("optgroup", { label: name }, entries.map(([text]) => make("option", {}, text)))));
  const place = labelled(label, select);
  if (all.length) choose(all[0]);
  return place;
}

// A form with a button that runs `send` and shows what it gives; Ctrl+Enter runs it too.
function runnable(fields, send) {
  const result = make("div", { class: "result", "aria-live": "polite" });
  const button = make("button", { class: "primary" }, "Run");
  const run = (event) => {
    event.preventDefault();
    button.disabled = true;
    const start = performance.now();
    return guarded(async () => {
      result.replaceChildren();
      const shown = await send();
      result.replaceChildren(make("p", {}, `${Math.round(performance.now() - start)} ms`), ...shown);
    }).finally(() => (button.disabled = false));
  };
  const made = make("form", { onsubmit: run, autocomplete: "off" }, fields, button);
  made.addEventListener("keydown", (event) => event.key === "Enter" && event.ctrlKey && run(event));
  return [made, result];
}

const byKey = (all, key) => [...Map.groupBy(all, key)];

async function showFunctions() {
  const functions = (await get("/v1/functions")).filter((one) => one.interface);
  if (!functions.length) return parts.functions.replaceChildren(make("p", { class: "none" }, "There are none."));
  const place = make("div");
  const nameOf = (one) => one.signature.split(":")[0];
  const groups = byKey(functions, (one) => one.component)
    .map(([component, all]) => [component, all.map((one) => [`${one.interface}#${nameOf(one)}`, one])]);
  const choose = (one) => {
    const fields = one.form ? form(one.form.params) : raw("arguments (JSON: an object by name, or an array by position)", "{}");
    const send = async () => {
      const body = { component: one.component, function: `${one.interface}#${nameOf(one)}`, arguments: fields.value() };
      const reply = await api("POST", "/v1/call", body);
      const good = Object.hasOwn(reply, "ok");
      return [make("p", {}, make("span", { class: `badge ${good ? "ready" : "dead"}` }, good ? "ok" : "err")), json(good ? reply.ok : reply.err)];
    };
    place.replaceChildren(make("pre", { tabindex: "0", "aria-label": "Signature" }, one.signature), ...runnable(fields.element, send));
  };
  parts.functions.replaceChildren(choice("Function", groups, choose), place);
}

async function showOperations(path) {
  if (!path) {
    return parts.http.replaceChildren(make("p", { class: "none" }, "The manifest names no OpenAPI document: ",
      make("code", {}, "openapi = \"/path\""), " in ", make("code", {}, "[application.tool.souk]"), "."));
  }
  const answer = await api("POST", "/v1/request", { method: "GET", path });
  let document;
  try {
    document = JSON.parse(answer.body);
  } catch {
    throw new Error(`${path} answers ${answer.status}, and no JSON`);
  }
  const place = make("div");
  const all = operations(document);
  const groups = byKey(all, (one) => one.tag).map(([tag, some]) => [tag, some.map((one) => [`${one.method} ${one.path}`, one])]);
  const choose = (one) => {
    const fields = operationForm(one, document);
    const send = async () => {
      const { status, headers, body } = await api("POST", "/v1/request", fields.value());
      const isJson = headers.some(([name, value]) => name === "content-type" && value.includes("json"));
      return [
        make("p", {}, make("span", { class: `badge ${status < 400 ? "ready" : "dead"}` }, `${status}`)),
        make("details", {}, make("summary", {}, "Headers"),
          make("pre", { tabindex: "0", "aria-label": "Headers" }, headers.map(([name, value]) => `${name}: ${value}`).join("\n"))),
        (isJson && parsed(body)) || make("pre", { tabindex: "0", "aria-label": "Body" }, body)];
    };
    place.replaceChildren(make("p", {}, one.summary), ...runnable(fields.element, send));
  };
  parts.http.replaceChildren(choice("Operation", groups, choose), place);
}

// A body as JSON; one that is empty or broken is shown as it is.
function parsed(body) {
  try {
    return json(JSON.parse(body));
  } catch {
    return null;
  }
}
