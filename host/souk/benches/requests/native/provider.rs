//! The payment provider, a separate process that stands in for Stripe and that both sides use; and the native server's
//! client for it.
//!
//! The provider of a real shop is another company's server. So each side sends it HTTP requests, over connections that
//! stay open, through one shared client: a form with a bearer key and an idempotency key, answered with JSON. No figure
//! includes the provider's CPU time.

use super::writable;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use axum::{Json, Router};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Deserialize;
use serde_json::{Value, json};
use souk_manifest::clock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The sandbox's schema, as far as a new session needs it.
const SCHEMA: &str = "
    CREATE TABLE sessions (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, idempotency_key TEXT UNIQUE,
        digest BLOB NOT NULL, created INTEGER NOT NULL, expires_at INTEGER NOT NULL, status TEXT NOT NULL DEFAULT 'open',
        amount INTEGER NOT NULL, bill TEXT NOT NULL) STRICT;
    CREATE INDEX sessions_that_end ON sessions (expires_at) WHERE status = 'open'";

/// How long a session can be paid, in seconds.
const LIFETIME: i64 = 24 * 60 * 60;

type Sessions = Arc<Mutex<Connection>>;

/// One line of a bill: name, price in cents, quantity.
pub(crate) type Line<'a> = (&'a str, i64, i64);

/// The provider's route.
fn routes(folder: &str) -> Router {
    let sessions: Sessions = Arc::new(Mutex::new(writable(folder, "sandbox.db", SCHEMA)));
    Router::new().route("/v1/checkout/sessions", post(create)).with_state(sessions)
}

/// The command that starts this benchmark's own binary as the provider, which keeps its sessions in `folder`.
pub(crate) fn command(folder: &std::path::Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.arg("provider").arg(folder);
    command
}

/// Serves until it is killed.
pub(crate) fn serve(folder: &str) {
    std::fs::create_dir_all(folder).unwrap();
    super::run(async { routes(folder) });
}

async fn create(State(sessions): State<Sessions>, headers: HeaderMap, body: String) -> Result<Json<Value>, StatusCode> {
    let header = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    header("authorization").and_then(|v| v.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?;
    let key = header("idempotency-key").ok_or(StatusCode::BAD_REQUEST)?.to_owned();
    let form: BTreeMap<String, String> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let field = |name: &str| form.get(name).ok_or(StatusCode::BAD_REQUEST);
    let mut lines: Vec<(&String, i64, i64)> = Vec::new();
    while let Some(name) = form.get(&format!("line_items[{}][price_data][product_data][name]", lines.len())) {
        let number = |of: &str| {
            let number = field(&format!("line_items[{}][{of}]", lines.len()))?.parse::<i64>();
            number.map_err(|_| StatusCode::BAD_REQUEST)
        };
        lines.push((name, number("price_data][unit_amount")?, number("quantity")?));
    }
    let amount: i64 = lines.iter().map(|(_, cents, quantity)| cents * quantity).sum();
    let (success_url, cancel_url) = (field("success_url")?.clone(), field("cancel_url")?.clone());
    let bill =
        json!({ "lines": lines, "order": field("metadata[orderId]")?, "success": success_url, "cancel": cancel_url });
    let now = clock::since_epoch().as_secs() as i64;
    let session = (format!("cs_test_{}", uuid::Uuid::now_v7().simple()), now + LIFETIME);
    let digest = <sha2::Sha256 as sha2::Digest>::digest(body.as_bytes()).to_vec();
    // The commit waits for the disk.
    let stored = tokio::task::spawn_blocking(move || {
        let sessions = sessions.lock().unwrap();
        let insert = "INSERT INTO sessions (id, idempotency_key, digest, created, expires_at, amount, bill)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (idempotency_key) DO NOTHING RETURNING id, expires_at";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
        let (id, end) = session;
        let values = params![id, key, digest, end - LIFETIME, end, amount, bill.to_string()];
        let new = sessions.prepare_cached(insert).unwrap().query_row(values, read).optional().unwrap();
        let known = "SELECT id, expires_at FROM sessions WHERE idempotency_key = ?1 AND digest = ?2";
        new.or_else(|| {
            sessions.prepare_cached(known).unwrap().query_row(params![key, digest], read).optional().unwrap()
        })
    });
    let (id, expires_at) = stored.await.unwrap().ok_or(StatusCode::CONFLICT)?;
    Ok(Json(json!({
        "id": id, "object": "checkout.session", "mode": "payment", "status": "open", "payment_status": "unpaid",
        "amount_total": amount, "created": expires_at - LIFETIME, "expires_at": expires_at,
        "url": format!("http://127.0.0.1/pay/{id}"), "success_url": success_url, "cancel_url": cancel_url,
    })))
}

/// The native server's client of the provider.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
}

/// The members of the provider's answer that the client reads.
#[derive(Deserialize)]
pub(crate) struct Session {
    pub id: String,
    pub url: String,
    pub success_url: String,
    pub cancel_url: String,
    pub expires_at: i64,
}

impl Client {
    /// A client of the provider that listens at `address`.
    pub(crate) fn new(address: &str) -> Client {
        // reqwest here has no TLS provider of its own. The call fails when one is installed already, which is fine.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        Client { http: reqwest::Client::new(), url: format!("http://{address}/v1/checkout/sessions") }
    }

    /// Creates the payment session of `order`.
    pub(crate) async fn open(&self, order: &str, lines: Vec<Line<'_>>) -> Session {
        let request = self
            .http
            .post(&self.url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("idempotency-key", order)
            .bearer_auth("sk_benchmark")
            .body(form(order, lines));
        let response = request.send().await.unwrap().error_for_status().unwrap();
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }
}

fn form(order: &str, lines: Vec<Line<'_>>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("mode", "payment");
    for (at, (name, cents, quantity)) in lines.into_iter().enumerate() {
        let price = format!("line_items[{at}][price_data]");
        form.append_pair(&format!("{price}[currency]"), "usd")
            .append_pair(&format!("{price}[product_data][name]"), name)
            .append_pair(&format!("{price}[unit_amount]"), &cents.to_string())
            .append_pair(&format!("line_items[{at}][quantity]"), &quantity.to_string());
    }
    form.append_pair("metadata[orderId]", order)
        .append_pair("payment_intent_data[metadata][orderId]", order)
        .append_pair("success_url", "http://127.0.0.1/payments/success")
        .append_pair("cancel_url", "http://127.0.0.1/payments/cancel");
    form.finish()
}
