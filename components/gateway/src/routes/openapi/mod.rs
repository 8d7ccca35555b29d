//! The API's description, generated from the types of the routes. This code exists only in tests: the component
//! contains its output, `openapi.json` and `docs.html` beside `Cargo.toml`, and the tests here fail when these are out
//! of date.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test -p gateway` writes them.

pub(super) mod account_bodies;
pub(super) mod bodies;
mod finish;
mod page;

use super::{auth, docs, orders, products};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::Path;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Store",
        version = "1.0.0",
        description = "Accounts, catalogue and orders of an online store.\n\n\
            Bodies are JSON or forms, at most 100 KiB; unknown fields are refused. \
            Paths are matched without regard to case. \
            Answers to GET carry an `ETag`; with `If-None-Match` an unchanged one is 304 without a body.\n\n\
            Each error has a `message`: a text, or a list with one for each wrong field. Its status is `statusCode` or \
            `status`, as it was before this store; programs should use the response's own status. If the message alone \
            does not help, there is a `hint`. New routes answer refusals of a service with `message` and \
            `status` (`ServiceError`)."
    ),
    tags(
        (name = "auth", description = "Accounts and logins."),
        (name = "products", description = "The catalogue. Anyone reads it, administrators change it."),
        (name = "orders", description = "Orders and payments. Customers see their own orders, administrators all."),
    ),
    // Answers that a type describes (`IntoResponses`) do not bring their schemas along.
    components(schemas(
        bodies::RequestError,
        bodies::Messages,
        bodies::PlainError,
        bodies::ServiceError,
        bodies::Refusal,
        bodies::Failure,
        bodies::NoProof
    )),
    modifiers(&Login),
)]
struct Document;

struct Login;

impl Modify for Login {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("The token from the answer of `POST /api/auth/login`."));
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme.build()));
    }
}

fn document() -> String {
    let mut document = Document::openapi();
    for resource in [auth::Api::openapi(), products::Api::openapi(), orders::Api::openapi()] {
        document.merge(resource);
    }
    finish::finish(&mut document);
    document.to_pretty_json().unwrap() + "\n"
}

/// Compares `made` with the file in the repository, or writes it.
fn check(file: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    let differs = kept.lines().zip(made.lines()).find(|(kept, made)| kept != made);
    assert!(
        kept == made,
        "{file} is out of date, set UPDATE_SNAPSHOTS=1 to write it again; first difference: {differs:?}"
    );
}

#[test]
fn the_served_document_is_generated_from_the_types() {
    check("openapi.json", &document());
}

#[test]
fn the_page_that_is_served_shows_the_document() {
    check("docs.html", &page::render(&serde_json::from_str(&document()).unwrap()));
}

#[test]
fn the_page_runs_only_its_own_script_and_loads_nothing() {
    // The empty icon is a data URL, so it loads nothing.
    let page = page::render(&serde_json::from_str(&document()).unwrap()).replacen(page::ICON, "", 1);
    let page = page.replacen(&format!("<script>{}</script>", page::SCRIPT), "", 1);
    assert!(!page::SCRIPT.contains("</"), "it would end there");
    for word in ["<script", "<img", "<iframe", "<link", "style=\"", "http://", "https://", "onclick"] {
        assert!(!page.contains(word), "the page has {word}");
    }
    for (what, text) in [("style", page::STYLE), ("script", page::SCRIPT)] {
        let hash = STANDARD.encode(Sha256::digest(text));
        assert!(docs::POLICY.contains(&format!("{what}-src 'sha256-{hash}'")), "the {what}'s hash is {hash}");
    }
    assert!(docs::PAGE.len() < 128 << 10, "the page has {} bytes", docs::PAGE.len());
}

#[test]
fn every_reference_resolves_and_every_operation_is_complete() {
    let document: Value = serde_json::from_str(&document()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    assert!(references.len() > 15, "{references:?}");
    for reference in &references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    let paths = document["paths"].as_object().unwrap();
    // OpenAPI treats paths that differ only in the names of their parameters as one path.
    assert_eq!(paths.keys().map(|path| unnamed(path)).collect::<BTreeSet<_>>().len(), paths.len());
    let mut operations = 0;
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let guarded = operation["security"] != serde_json::json!([]);
            let open = path == "/api/products/{id}" && method == "get"
                || matches!(path.as_str(), "/api/auth/register" | "/api/auth/login" | "/api/auth/reset-password");
            assert_eq!(guarded, !open, "{method} {path}");
            assert_eq!(operation["responses"].get("401").is_some(), guarded, "{method} {path}");
            // Every method except GET reads a body, and operations with query parameters read a query.
            let read: &[&str] = match (method.as_str(), operation["parameters"].to_string().contains(r#""query""#)) {
                ("get", false) => &[],
                ("get", true) => &["400", "413"],
                _ => &["400", "408", "413", "415"],
            };
            for status in ["414", "431", "500", "503", "504"].iter().chain(read) {
                assert!(operation["responses"].get(status).is_some(), "{method} {path} {status}");
            }
            assert!(operation["summary"].is_string(), "{method} {path}");
            operations += 1;
        }
    }
    assert_eq!(operations, 25);
}

fn unnamed(path: &str) -> String {
    path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment }).collect::<Vec<_>>().join("/")
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

/// The example of a body in the document, for the tests of the routes.
pub(super) fn example(schema: &str) -> String {
    let document: Value = serde_json::from_str(docs::DOCUMENT).unwrap();
    document["components"]["schemas"][schema]["example"].to_string()
}
