//! The answers to wrong requests: a table of requests that people send by mistake (`tests/bad-requests.json`), each with its
//! whole answer. Where the text was recorded from the system that the store replaces, it is that text, and a `hint` beside it
//! says what to send instead.
//!
//! `UPDATE_SNAPSHOTS=1` before the command writes the answers again: read the difference.

use crate::harness::build;
use crate::harness::store::{PASSWORD, Shop, fresh_email, token};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A request and its answer.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Bad {
    name: String,
    /// Who sends it: `nobody`, `customer` or `admin`.
    r#as: String,
    method: String,
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    answer: Value,
}

#[tokio::test]
async fn a_client_is_told_what_is_wrong_with_a_request() {
    let shop = Shop::start().await;
    let (admin, email) = (shop.admin().await, fresh_email());
    let customer = token(&shop.register(&email).await);
    let file = build::root().join("tests/bad-requests.json");
    let mut table: Vec<Bad> = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for bad in &mut table {
        let bearer = format!("Bearer {}", if bad.r#as == "admin" { &admin } else { &customer });
        let mut headers: Vec<(&str, &str)> =
            bad.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        headers.extend(bad.content_type.as_deref().map(|kind| ("content-type", kind)));
        if bad.r#as != "nobody" {
            headers.push(("authorization", &bearer));
        }
        let body = bad.body.as_ref().map(|body| body.replace("{{customer}}", &email).into_bytes());
        let answer = shop.client.send(bad.method.parse().unwrap(), &bad.path, &headers, body).await;
        let text = answer.text();
        if !(400..500).contains(&answer.status) {
            wrong.push(format!("{}: it is not refused: {} {text}", bad.name, answer.status));
            continue;
        }
        assert!(!text.contains(PASSWORD) && !text.contains("swordfish"), "{}: {text}", bad.name);
        // The webhook speaks text, as Stripe's own examples do.
        let now = (answer.status, serde_json::from_str(&text).unwrap_or(Value::String(text)));
        if now != (bad.status, bad.answer.clone()) {
            wrong.push(format!("{}: {} {}\n    now: {} {}", bad.name, bad.status, bad.answer, now.0, now.1));
        }
        (bad.status, bad.answer) = now;
    }
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        let rows: Vec<String> = table.iter().map(|bad| serde_json::to_string(bad).unwrap()).collect();
        std::fs::write(&file, format!("[\n{}\n]\n", rows.join(",\n"))).unwrap();
        println!("{}", wrong.join("\n"));
        return;
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), table.len(), wrong.join("\n"));
}
