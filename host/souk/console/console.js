// The page of the administration listener: signs in with the code behind the address's `#`, and shows what the API says.
"use strict";

const REFRESH_MS = 2000;
const element = (id) => document.getElementById(id);

async function api(method, path, body) {
  const answer = await fetch(path, { method, body: body && JSON.stringify(body), credentials: "same-origin" });
  if (answer.status === 401) throw new SignedOut();
  const text = await answer.text();
  if (!answer.ok) throw new Error(JSON.parse(text).message);
  return text ? JSON.parse(text) : null;
}

class SignedOut extends Error {}

function table(name, heads, rows, none) {
  if (!rows.length) {
    const text = document.createElement("p");
    text.textContent = none;
    return text;
  }
  const whole = document.createElement("table");
  const line = (cells, kind, into) => {
    const row = into.insertRow();
    for (const cell of cells) {
      const place = document.createElement(kind);
      if (kind === "th") place.scope = "col";
      place.append(cell);
      row.append(place);
    }
  };
  line(heads, "th", whole.createTHead());
  const body = whole.createTBody();
  rows.forEach((cells) => line(cells, "td", body));
  const frame = document.createElement("div");
  // On a narrow screen it scrolls, which a keyboard must be able to do too.
  frame.className = "table";
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", `${name}: table`);
  frame.append(whole);
  return frame;
}

// Only what has changed is written, so that the focus stays where it is.
const shown = {};
function show(id, value, make) {
  const text = JSON.stringify(value);
  if (shown[id] === text) return;
  shown[id] = text;
  element(id).replaceChildren(make(value));
}

function button(text, name, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-label", `${text} ${name}`);
  made.addEventListener("click", () => act().then(refresh).catch((error) => (element("state").textContent = error.message)));
  return made;
}

function actions(message) {
  const path = `/v1/messages/${encodeURIComponent(message.id)}`;
  const both = document.createElement("span");
  both.append(
    button("Retry", `message ${message.id}`, () => api("POST", `${path}/retry`)), " ",
    button("Drop", `message ${message.id}`, () => api("DELETE", path)));
  return both;
}

const instances = (one) => one ? `${one.busy} busy, ${one.idle} idle of ${one.limit}; ${one.waiting} waiting` : "";
let next = 0;

async function refresh() {
  const [application, readiness, components, messages, log] = await Promise.all([
    api("GET", "/v1/application"), api("GET", "/v1/readiness"), api("GET", "/v1/components"),
    api("GET", "/v1/messages"), api("GET", `/v1/log?after=${next}&lines=200`)]);
  element("name").textContent = `${application.name} ${application.version}`;
  document.title = `${application.name} - Souk`;
  const state = readiness.draining ? "stopping" : readiness.ready ? "ready" : "not ready";
  element("state").textContent = `${state}, serving ${application.url}, Souk ${application.souk}`;
  show("lacks", readiness.lacks, (lacks) => table("What is missing", ["Component", "Lacks", "Since", "Why"],
    lacks.map((lack) => [lack.component, lack.lacks, lack.since, lack.why]), "Every component has what it needs."));
  show("components", components, (all) => table("Components", ["Component", "Where", "Routes", "Calls", "Instances"],
    all.map((one) => [one.name, one.place, one.routes.join(", "),
      one.links.map((link) => link.component).join(", "), instances(one.instances)]), "There are none."));
  show("messages", messages.events, (all) => table("Messages", ["Message", "State", "Tries", "Calls", "Reason", "Do"],
    all.map((one) => [one.id, one.state, `${one.attempts}`, `${one.component}: ${one.function}`, one.reason ?? "",
      actions(one)]), "No message waits."));
  next = log.next;
  if (log.lines.length) element("log").append(`${log.lines.join("\n")}\n`);
  signed(true);
}

function signed(inside) {
  element("signed-in").hidden = !inside;
  element("signed-out").hidden = inside;
  if (!inside) element("state").textContent = "";
}

async function run() {
  try {
    await refresh();
  } catch (error) {
    if (error instanceof SignedOut) return signed(false);
    element("state").textContent = error.message;
  }
  setTimeout(run, REFRESH_MS);
}

async function start() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  // Out of the address and the history, whatever becomes of it.
  history.replaceState(null, "", "/");
  if (code) await api("POST", "/v1/session", { code }).catch(() => {});
  await run();
}

element("sign-out").addEventListener("click", async () => {
  await api("DELETE", "/v1/session");
  location.reload();
});
start();
