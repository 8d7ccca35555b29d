// The console: signs in with the code behind the address's `#`, and shows one view at a time, which asks the API again
// every two seconds while it is seen.

import { SignedOut, api, get } from "./api.js";
import { make, renewAges, show } from "./dom.js";
import * as explorer from "./explorer.js";
import * as limits from "./limits.js";
import * as log from "./log.js";
import * as map from "./map.js";
import * as messages from "./messages.js";
import * as readiness from "./readiness.js";
import * as traces from "./traces.js";
import * as versions from "./versions.js";

const REFRESH_MS = 2000;
const VIEWS = { map, traces, messages, explorer, limits, log, readiness, versions };
const element = (id) => document.getElementById(id);
let current = null;

function signed(inside) {
  element("signed-out").hidden = inside;
  for (const id of ["views", "view", "sign-out"]) element(id).hidden = !inside;
  if (!inside) element("state").textContent = "";
}

function open() {
  const wanted = location.hash.slice(1);
  const name = Object.hasOwn(VIEWS, wanted) ? wanted : "map";
  if (current === name) return;
  current = name;
  const view = VIEWS[name];
  const place = make("section", { "aria-labelledby": "view-title" }, make("h2", { id: "view-title" }, view.title));
  element("view").replaceChildren(place);
  for (const link of element("views").children) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  view.open(place);
}

async function refresh() {
  const application = await get("/v1/application");
  signed(true);
  element("name").textContent = `${application.name} ${application.version}`.trim();
  document.title = `${application.name} - Souk`;
  const state = application.draining ? "stopping" : application.ready ? "ready" : "not ready";
  show(element("state"), [state, application.url, application.souk], () => [
    make("span", { class: `badge ${state.replace(" ", "-")}` }, state),
    ` serves ${application.url}, Souk ${application.souk}`]);
  open();
  await VIEWS[current].refresh(application);
  renewAges(element("view"));
}

// Exchanges the code behind the address's `#`. It may come while the page is open: a browser does not load a page again
// when only that part of its address is another.
async function signIn() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (!code) return;
  // Out of the address and the history, whatever becomes of it.
  history.replaceState(null, "", "/");
  await api("POST", "/v1/session", { code }).catch(() => {});
}

let timer;
let failed = null;
async function run() {
  clearTimeout(timer);
  await signIn();
  const problem = element("problem");
  try {
    if (!document.hidden) {
      await refresh();
      // The host answers again. What became of a button's click stays.
      if (problem.textContent === failed) problem.textContent = "";
      failed = null;
    }
  } catch (error) {
    if (error instanceof SignedOut) return signed(false);
    failed = error.message;
    problem.textContent = failed;
  }
  timer = setTimeout(run, REFRESH_MS);
}

async function start() {
  element("views").append(...Object.entries(VIEWS).map(([name, view]) => make("a", { href: `#${name}` }, view.title)));
  addEventListener("hashchange", run);
  addEventListener("visibilitychange", run);
  await run();
}

element("sign-out").addEventListener("click", async () => {
  await api("DELETE", "/v1/session");
  location.reload();
});
start();
