"use strict";
// Makes the examples ready to copy and to try; without it the page says the same. The token stays in this page's memory.
const make = (name, more) => Object.assign(document.createElement(name), more);
const token = make("input", { id: "token", autocomplete: "off", spellcheck: false });

function field(form, text, control) {
  const label = make("label", { textContent: text });
  label.append(control);
  form.append(label);
  return control;
}

function login() {
  const form = make("form");
  form.append(make("h2", { id: "login", textContent: "Log in" }));
  const email = field(form, "E-mail", make("input", { type: "email", autocomplete: "username" }));
  const password = field(form, "Password", make("input", { type: "password", autocomplete: "current-password" }));
  form.append(make("button", { textContent: "Get a token" }));
  field(form, "Token, for what is tried below", token);
  const said = make("p", { role: "status" });
  form.append(said);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = JSON.stringify({ email: email.value, password: password.value });
    const headers = { "content-type": "application/json" };
    const answer = await fetch("/api/auth/login", { method: "POST", headers, body });
    const json = await answer.json().catch(() => ({}));
    token.value = json.token ?? "";
    said.textContent = answer.ok ? "Logged in." : `${answer.status}: ${json.message ?? "no token"}`;
  });
  return form;
}

function copyable(example) {
  example.textContent = example.textContent.replaceAll("$STORE", location.origin);
  const button = make("button", { type: "button", textContent: "Copy" });
  button.addEventListener("click", async () => {
    const text = token.value ? example.textContent.replaceAll("TOKEN", token.value) : example.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(example);
      button.textContent = "Selected: copy it with the keyboard";
    }
  });
  example.after(button);
}

function triable(operation) {
  const { method, path, parameters, body, login } = JSON.parse(operation.dataset.operation);
  const form = make("form");
  const inputs = parameters.map((parameter) => {
    const control = field(form, `${parameter.name} (${parameter.in})`, make("input", { required: parameter.required }));
    return { ...parameter, control };
  });
  const text = body === null ? null : field(form, "Body", make("textarea", { rows: 6, value: body }));
  form.append(make("button", { textContent: "Send" }));
  const said = make("pre", { role: "status", hidden: true });
  form.append(said);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [headers, query] = [{}, new URLSearchParams()];
    let target = path;
    for (const { name, in: place, control } of inputs.filter(({ control }) => control.value !== "")) {
      if (place === "path") target = target.replace(`{${name}}`, encodeURIComponent(control.value));
      if (place === "query") query.append(name, control.value);
      if (place === "header") headers[name] = control.value;
    }
    if (login && token.value) headers.authorization = `Bearer ${token.value}`;
    if (text) headers["content-type"] = "application/json";
    said.hidden = false;
    said.textContent = "…";
    try {
      const url = query.size ? `${target}?${query}` : target;
      const answer = await fetch(url, { method, headers, body: text?.value });
      const content = await answer.text();
      const isJson = answer.headers.get("content-type")?.startsWith("application/json");
      const shown = isJson ? JSON.stringify(JSON.parse(content), null, 2) : content;
      said.textContent = `${answer.status} ${answer.statusText}\n\n${shown}`;
    } catch (error) {
      said.textContent = `There was no answer: ${error.message}`;
    }
  });
  const details = make("details");
  details.append(make("summary", { textContent: "Try it" }), form);
  operation.append(details);
}

document.querySelector("main").prepend(login());
document.querySelectorAll("pre.curl").forEach(copyable);
document.querySelectorAll("[data-operation]").forEach(triable);
