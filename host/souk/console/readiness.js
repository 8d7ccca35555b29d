// Whether the host can serve its routes, and where the components are.

import { get } from "./api.js";
import { ago, make, show, table } from "./dom.js";

export const title = "Readiness";

let parts = {};

export function open(place) {
  parts = { lacks: make("div"), components: make("div") };
  place.append(parts.lacks, make("h3", {}, "Components"), parts.components);
}

export async function refresh() {
  const [readiness, components] = await Promise.all([get("/v1/readiness"), get("/v1/components")]);
  show(parts.lacks, readiness.lacks.map((lack) => [lack.component, lack.lacks, ago(lack.since), lack.why ?? ""]), (rows) =>
    table("What is missing", ["Component", "Lacks", "Since", "Why"], rows, "Every component has what it needs."));
  show(parts.components, components, (all) => table("Components", ["Component", "Where", "Routes", "Calls", "Instances"],
    all.map((one) => [one.name, one.place.replaceAll("-", " "), one.routes.join(", "),
      [...new Set(one.links.map((link) => link.component))].join(", "), instances(one.instances)]), "There are none."));
}

const instances = (one) => (one ? `${one.busy} busy, ${one.idle} idle of ${one.limit}; ${one.waiting} waiting` : "");
