// The versions of components: what serves, what is on trial and how its calls end, and what can be gone back to.

import { api, get } from "./api.js";
import { button, make, show, since, table } from "./dom.js";

export const title = "Versions";

let place = null;

export function open(section) {
  place = make("div");
  section.append(place);
}

export async function refresh() {
  const versions = await get("/v1/versions");
  show(place, versions, (all) => table("Versions", ["Component", "Version", "State", "Deployed", "What is known", "Do"],
    all.map((one) => [one.component, `${one.number}`, state(one), make("span", {}, since(one.at), ` by ${one.by}`), [one.note, calls(one.calls)].filter(Boolean).join("; "), actions(one)]),
    "None is known."));
}

const state = (one) => make("span", { class: `badge ${one.state === "active" ? "ready" : ""}` },
  one.percent === undefined ? one.state : `${one.state}, ${one.percent} %`);

const calls = (one) => (one ? `${one.calls} calls, ${one.failed} failed, median ${one.medianUs} µs` : "");

function actions(one) {
  const path = `/v1/components/${encodeURIComponent(one.component)}`;
  const act = (text, what, to) => button(text, `${text} ${what}`, async () => {
    await api("POST", `${path}/${to}`);
    await refresh();
  });
  const name = `version ${one.number} of ${one.component}`;
  if (one.state === "canary") return make("span", { class: "bar" }, act("Promote", name, "promote"), act("Take away", name, "rollback"));
  if (one.state === "active") return "";
  return act("Go back to", name, `rollback?version=${one.number}`);
}
