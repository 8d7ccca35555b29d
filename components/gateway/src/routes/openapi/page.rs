//! Renders the API's description as a page for people, with one style sheet, usable without colours and without a
//! mouse, and with a curl command for each operation. A small script makes those ready to copy and to try. The page has
//! 0.12 MB; Swagger UI 5 has 1.9 MB.

mod example;

use serde_json::{Map, Value};
use std::fmt::Write;

/// The page's style sheet; `docs::POLICY` contains its hash.
pub(super) const STYLE: &str = include_str!("page.css");
/// The page's script; `docs::POLICY` contains its hash.
pub(super) const SCRIPT: &str = include_str!("page.js");

/// An empty icon: without it, browsers request `/favicon.ico`.
pub(super) const ICON: &str = "<link rel=\"icon\" href=\"data:,\">";

/// The whole page.
pub(super) fn render(document: &Value) -> String {
    let mut page = String::new();
    let info = &document["info"];
    let title = format!("{} API {}", text(&info["title"]), text(&info["version"]));
    page += "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
    page += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    line(&mut page, format_args!("{ICON}"));
    line(&mut page, format_args!("<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>"));
    line(&mut page, format_args!("<header>\n<h1>{title}</h1>"));
    for paragraph in text(&info["description"]).split("\n\n") {
        line(&mut page, format_args!("<p>{}</p>", prose(paragraph)));
    }
    line(&mut page, format_args!("<p>For programs: <a href=\"/api/openapi.json\">openapi.json</a>.</p>\n</header>"));
    let tags: Vec<&Value> = list(&document["tags"]).collect();
    contents(&mut page, document, &tags);
    page += "<main>\n";
    for tag in tags {
        let name = text(&tag["name"]);
        line(
            &mut page,
            format_args!("<section>\n<h2 id=\"{name}\">{name}</h2>\n<p>{}</p>", prose(text(&tag["description"]))),
        );
        for (method, path, operation) in operations(document, name) {
            describe(&mut page, document, &method, path, operation);
        }
        page += "</section>\n";
    }
    page += "<section>\n<h2 id=\"schemas\">Schemas</h2>\n";
    for (name, schema) in fields(&document["components"]["schemas"]) {
        describe_schema(&mut page, name, schema);
    }
    line(&mut page, format_args!("</section>\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>"));
    page
}

/// The operations with a tag: method, path, and description.
fn operations<'a>(document: &'a Value, tag: &'a str) -> impl Iterator<Item = (String, &'a str, &'a Value)> {
    fields(&document["paths"]).flat_map(move |(path, methods)| {
        fields(methods)
            .filter(move |(_, operation)| operation["tags"][0] == tag)
            .map(move |(method, operation)| (method.to_uppercase(), path, operation))
    })
}

fn contents(page: &mut String, document: &Value, tags: &[&Value]) {
    *page += "<nav aria-label=\"Contents\">\n<ul>\n";
    for tag in tags {
        let name = text(&tag["name"]);
        line(page, format_args!("<li><a href=\"#{name}\">{name}</a>\n<ul>"));
        for (method, path, operation) in operations(document, name) {
            let (id, summary) = (text(&operation["operationId"]), prose(text(&operation["summary"])));
            line(page, format_args!("<li><a href=\"#{id}\">{} <code>{path}</code></a> {summary}</li>", badge(&method)));
        }
        *page += "</ul></li>\n";
    }
    *page += "<li><a href=\"#schemas\">Schemas</a></li>\n</ul>\n</nav>\n";
}

fn describe(page: &mut String, document: &Value, method: &str, path: &str, operation: &Value) {
    let id = text(&operation["operationId"]);
    let example = example::Example::of(document, method, path, operation);
    line(page, format_args!("<article data-operation=\"{}\">", escape(&example.data())));
    line(page, format_args!("<h3 id=\"{id}\">{} <code>{path}</code></h3>", badge(method)));
    for key in ["summary", "description"] {
        let said = text(&operation[key]);
        if !said.is_empty() {
            line(page, format_args!("<p>{}</p>", prose(said)));
        }
    }
    if example::needs_login(operation) {
        *page += "<p>Needs a login: <code>Authorization: Bearer TOKEN</code>.</p>\n";
    }
    if list(&operation["parameters"]).next().is_some() {
        heading(page, "Parameters", &["Name", "In", "Type", "Meaning"]);
        for parameter in list(&operation["parameters"]) {
            let required = if parameter["required"] == true { "" } else { ", optional" };
            row(
                page,
                text(&parameter["name"]),
                &[
                    format!("{}{required}", text(&parameter["in"])),
                    kind(&parameter["schema"]),
                    prose(text(&parameter["description"])),
                ],
            );
        }
        *page += "</tbody>\n</table>\n";
    }
    if let Some(schema) = operation.pointer("/requestBody/content/application~1json/schema") {
        line(page, format_args!("<p>Body: {}</p>", kind(schema)));
    }
    heading(page, "Answers", &["Status", "When", "Body"]);
    for (status, answer) in fields(&operation["responses"]) {
        let body = answer.pointer("/content/application~1json/schema").map(kind).unwrap_or_default();
        row(page, status, &[prose(text(&answer["description"])), body]);
    }
    *page += "</tbody>\n</table>\n";
    line(page, format_args!("<p>Example:</p>\n<pre class=\"curl\">{}</pre>\n</article>", escape(&example.curl())));
}

/// A method with its colour.
fn badge(method: &str) -> String {
    format!("<span class=\"method {}\">{method}</span>", method.to_lowercase())
}

fn describe_schema(page: &mut String, name: &str, schema: &Value) {
    line(page, format_args!("<h3 id=\"schema-{name}\">{name}</h3>"));
    let said = text(&schema["description"]);
    if !said.is_empty() {
        line(page, format_args!("<p>{}</p>", prose(said)));
    }
    if schema.get("properties").is_some() {
        heading(page, "Fields", &["Name", "Type", "Meaning"]);
        for (field, property) in fields(&schema["properties"]) {
            let required = list(&schema["required"]).any(|name| name == field);
            let kind = kind(property) + if required { "" } else { ", optional" };
            row(page, field, &[kind, prose(text(&property["description"]))]);
        }
        *page += "</tbody>\n</table>\n";
    } else {
        line(page, format_args!("<p>{}</p>", kind(schema)));
    }
    if let Some(example) = schema.get("example") {
        let example = serde_json::to_string_pretty(example).unwrap();
        line(page, format_args!("<p>Example:</p>\n<pre>{}</pre>", escape(&example)));
    }
}

/// The values that a schema allows, in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    let one_of: Vec<String> = list(&schema["oneOf"]).chain(list(&schema["allOf"])).map(kind).collect();
    if !one_of.is_empty() {
        return one_of.join(" or ");
    }
    let mut said = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect::<Vec<_>>().join(" or "),
        Value::String(name) if name == "array" => format!("list of {}", kind(&schema["items"])),
        name => text(name).to_owned(),
    };
    let values: Vec<&str> = list(&schema["enum"]).map(text).collect();
    if !values.is_empty() {
        write!(said, ": {}", values.join(", ")).unwrap();
    }
    let limits = [
        ("format", ""),
        ("pattern", "pattern "),
        ("minimum", "from "),
        ("maximum", "to "),
        ("minLength", "at least "),
        ("maxLength", "at most "),
        ("minItems", "at least "),
        ("maxItems", "at most "),
        ("default", "default "),
    ];
    for (key, words) in limits {
        match &schema[key] {
            Value::Null => {}
            Value::String(value) => write!(said, ", {words}{}", escape(value)).unwrap(),
            value => write!(said, ", {words}{value}").unwrap(),
        }
    }
    said
}

fn heading(page: &mut String, caption: &str, columns: &[&str]) {
    line(page, format_args!("<table>\n<caption>{caption}</caption>\n<thead><tr>"));
    for column in columns {
        line(page, format_args!("<th scope=\"col\">{column}</th>"));
    }
    *page += "</tr></thead>\n<tbody>\n";
}

/// A row: its name is text, its cells are HTML.
fn row(page: &mut String, name: &str, cells: &[String]) {
    write!(page, "<tr><th scope=\"row\"><code>{}</code></th>", escape(name)).unwrap();
    for cell in cells {
        write!(page, "<td>{cell}</td>").unwrap();
    }
    *page += "</tr>\n";
}

fn line(page: &mut String, html: std::fmt::Arguments) {
    writeln!(page, "{html}").unwrap();
}

/// Text as HTML; parts between backticks become code.
fn prose(text: &str) -> String {
    let escaped = escape(text);
    let parts = escaped.split('`').enumerate();
    parts.map(|(i, part)| if i % 2 == 0 { part.to_owned() } else { format!("<code>{part}</code>") }).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn fields(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(key, value)| (key.as_str(), value))
}
