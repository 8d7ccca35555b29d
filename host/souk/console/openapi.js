// The operations of an OpenAPI document (3.x), and a form for one.

import { labelled, make } from "./dom.js";

const METHODS = ["get", "post", "put", "patch", "delete", "head", "options"];
// A document may refer to itself.
const MAX_DEPTH = 8;

export function operations(document) {
  return Object.entries(document.paths ?? {}).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({
      path,
      method: method.toUpperCase(),
      tag: item[method].tags?.[0] ?? "operations",
      summary: item[method].summary ?? item[method].description ?? "",
      parameters: [...(item.parameters ?? []), ...(item[method].parameters ?? [])].map((one) => resolve(one, document)),
      body: resolve(item[method].requestBody, document)?.content?.["application/json"],
      secured: (item[method].security ?? document.security ?? []).some((one) => Object.keys(one).length),
    })));
}

export function operationForm(operation, document) {
  const inputs = operation.parameters.filter((one) => one.in !== "cookie").map((one) => {
    const input = make("input", { autocomplete: "off", required: one.required === true });
    return { ...one, input, element: labelled(`${one.name} (${one.in}${one.required ? "" : ", optional"})`, input) };
  });
  const authorization = make("input", { autocomplete: "off", placeholder: "Bearer ..." });
  const example = operation.body ? operation.body.example ?? sample(operation.body.schema, document, 0) : null;
  const body = make("textarea", { rows: "8", spellcheck: "false" }, operation.body ? JSON.stringify(example, null, 2) : "");
  return {
    element: make("div", {}, inputs.map((one) => one.element),
      operation.secured ? labelled("Authorization", authorization) : null,
      operation.body ? labelled("Body (JSON)", body) : null),
    value: () => {
      const given = inputs.filter((one) => one.input.value !== "");
      const path = operation.path.replace(/\{([^}]*)\}/g, (_, name) =>
        encodeURIComponent(given.find((one) => one.in === "path" && one.name === name)?.input.value ?? ""));
      const query = new URLSearchParams(given.filter((one) => one.in === "query").map((one) => [one.name, one.input.value]));
      const headers = Object.fromEntries(given.filter((one) => one.in === "header").map((one) => [one.name, one.input.value]));
      if (authorization.value) headers.authorization = authorization.value;
      if (operation.body) headers["content-type"] = "application/json";
      return { method: operation.method, path: `${path}${query.size ? `?${query}` : ""}`, headers, body: operation.body ? body.value : "" };
    },
  };
}

function resolve(part, document) {
  const reference = part?.$ref;
  if (!reference?.startsWith("#/")) return part;
  return reference.slice(2).split("/").reduce((at, name) => at?.[name.replaceAll("~1", "/").replaceAll("~0", "~")], document);
}

// A value of a schema, to begin with.
function sample(schema, document, depth) {
  const type = resolve(schema, document);
  if (!type || depth > MAX_DEPTH) return null;
  if (type.example !== undefined) return type.example;
  if (type.default !== undefined) return type.default;
  if (type.enum) return type.enum[0];
  const either = type.allOf ?? type.oneOf ?? type.anyOf;
  if (type.allOf) return Object.assign({}, ...either.map((one) => sample(one, document, depth + 1)));
  if (either) return sample(either[0], document, depth + 1);
  switch (Array.isArray(type.type) ? type.type[0] : type.type) {
    case "object": return Object.fromEntries(Object.entries(type.properties ?? {}).map(([name, one]) => [name, sample(one, document, depth + 1)]));
    case "array": return [sample(type.items, document, depth + 1)];
    case "string": return "";
    case "boolean": return false;
    case "integer":
    case "number": return 0;
    default: return null;
  }
}
