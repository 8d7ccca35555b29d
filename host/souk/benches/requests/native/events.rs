//! The webhook: it checks the signature, stores the event in a queue on disk, and answers 200. A thread applies the
//! queued events, each in one transaction that also records the event as seen.

use super::writable;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{Connection, params};
use serde_json::Value;
use sha2::Sha256;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

/// The secret that signs the events.
pub(crate) const SECRET: &str = "whsec_benchmark";

struct Events {
    queue: Mutex<Connection>,
    stored: Mutex<Sender<()>>,
}

pub(super) fn routes(folder: &str) -> Router {
    let schema = "CREATE TABLE IF NOT EXISTS queue (id INTEGER PRIMARY KEY, event TEXT NOT NULL) STRICT";
    let inbox = "CREATE TABLE seen (id TEXT PRIMARY KEY, order_id TEXT) STRICT, WITHOUT ROWID";
    let (reader, inbox) = (writable(folder, "queue.db", schema), writable(folder, "inbox.db", inbox));
    let (stored, waiting) = channel();
    std::thread::spawn(move || waiting.iter().for_each(|()| apply(&reader, &inbox)));
    let events = Events { queue: Mutex::new(writable(folder, "queue.db", schema)), stored: Mutex::new(stored) };
    Router::new().route("/payments/webhook", post(accept)).with_state(Arc::new(events))
}

async fn accept(State(events): State<Arc<Events>>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    if !is_signed(&headers, &body) {
        return (StatusCode::BAD_REQUEST, "Webhook Error".into());
    }
    tokio::task::spawn_blocking(move || {
        let text = std::str::from_utf8(&body).unwrap();
        let insert = "INSERT INTO queue (event) VALUES (?1)";
        events.queue.lock().unwrap().prepare_cached(insert).unwrap().execute([text]).unwrap();
        events.stored.lock().unwrap().send(()).unwrap();
    })
    .await
    .unwrap();
    (StatusCode::OK, "{}".into())
}

fn is_signed(headers: &HeaderMap, body: &[u8]) -> bool {
    let header = headers.get("stripe-signature").and_then(|h| h.to_str().ok()).unwrap_or_default();
    let Some((time, digest)) = header.strip_prefix("t=").and_then(|h| h.split_once(",v1=")) else { return false };
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    let pairs = digest.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16));
    mac.verify_slice(&pairs.map(Result::unwrap).collect::<Vec<_>>()).is_ok()
}

/// Applies the oldest event.
fn apply(queue: &Connection, inbox: &Connection) {
    let first = "SELECT id, event FROM queue ORDER BY id LIMIT 1";
    let (id, event): (i64, String) =
        queue.prepare_cached(first).unwrap().query_row([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let event: Value = serde_json::from_str(&event).unwrap();
    let order = event["data"]["object"]["metadata"]["orderId"].as_str();
    let note = "INSERT INTO seen VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    inbox.prepare_cached(note).unwrap().execute(params![event["id"].as_str(), order]).unwrap();
    queue.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    queue.prepare_cached("DELETE FROM queue WHERE id = ?1").unwrap().execute([id]).unwrap();
}
