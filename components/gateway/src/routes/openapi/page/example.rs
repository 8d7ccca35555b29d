//! An example of an operation, as a curl command and as data for the page's script.

use super::{list, text};
use serde_json::{Value, json};

/// One example.
pub(super) struct Example<'a> {
    method: &'a str,
    path: &'a str,
    parameters: Vec<&'a Value>,
    body: Option<String>,
    /// Whether the operation accepts a login.
    accepts_login: bool,
    /// Whether the operation requires a login.
    needs_login: bool,
}

impl<'a> Example<'a> {
    pub(super) fn of(document: &'a Value, method: &'a str, path: &'a str, operation: &'a Value) -> Self {
        let schema = operation.pointer("/requestBody/content/application~1json/schema/$ref").and_then(Value::as_str);
        let body =
            schema.and_then(|path| document.pointer(path.trim_start_matches('#'))).map(|schema| &schema["example"]);
        Example {
            method,
            path,
            parameters: list(&operation["parameters"]).collect(),
            body: body.map(Value::to_string),
            accepts_login: list(&operation["security"]).any(|scheme| scheme.get("bearer").is_some()),
            needs_login: needs_login(operation),
        }
    }

    /// A command for a shell in which `STORE` is the store's URL.
    pub(super) fn curl(&self) -> String {
        let mut path = self.path.to_owned();
        for parameter in self.parameters.iter().filter(|parameter| parameter["in"] == "path") {
            let value = match text(&parameter["schema"]["format"]) {
                "uuid" => "8a7e0cfe-0a6e-4e9a-9dff-415ba29689f0",
                "int64" => "1",
                _ => "PENDING",
            };
            path = path.replace(&format!("{{{}}}", text(&parameter["name"])), value);
        }
        let mut curl = match (self.method, &self.body) {
            ("GET", _) | ("POST", Some(_)) => format!("curl $STORE{path}"),
            (method, _) => format!("curl -X {method} $STORE{path}"),
        };
        if self.needs_login {
            curl += " \\\n  -H 'authorization: Bearer TOKEN'";
        }
        if self.method == "POST" && self.parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key") {
            curl += " \\\n  -H 'idempotency-key: monday-1'";
        }
        if let Some(body) = &self.body {
            curl += &format!(" \\\n  -H 'content-type: application/json' \\\n  -d '{body}'");
        }
        curl
    }

    /// The example as JSON for the page's script.
    pub(super) fn data(&self) -> String {
        let parameter = |parameter: &&Value| json!({ "name": parameter["name"], "in": parameter["in"], "required": parameter["required"] == true });
        let parameters: Vec<Value> = self.parameters.iter().map(parameter).collect();
        let Example { method, path, body, accepts_login, .. } = self;
        json!({ "method": method, "path": path, "parameters": parameters, "body": body, "login": accepts_login })
            .to_string()
    }
}

/// Whether an operation requires a login.
pub(super) fn needs_login(operation: &Value) -> bool {
    let mut schemes = list(&operation["security"]).peekable();
    schemes.peek().is_some() && schemes.all(|scheme| scheme.get("bearer").is_some())
}
