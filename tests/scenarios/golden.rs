//! Replays all requests that were recorded from the NestJS system that the store replaces (`tests/golden.json`), in
//! order, against the repository's own application with open access.
//!
//! An answer must be the recorded one, or the one in `tests/golden-differences.json`, which gives the reason. An entry
//! of that list that is not needed is an error, too. The recording omits some of its own steps. [`LEFT_OUT`] has those
//! that later answers depend on; products that omitted steps created are added with the same ids. Tokens and signatures
//! are generated again in the same way, because the recorded ones have another time and other secrets.
//!
//! For the requests that were recorded while a service was down, the host restarts on the same state with that service
//! broken.

use crate::harness::recorded::{self, Difference, Expected, Recorded, compare};
use crate::harness::store::{JWT_SECRET, STRIPE_SECRET, Shop, down, stripe_down, stripe_up_again, up_again};
use crate::harness::{Answer, App, stripe};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};
use std::collections::BTreeMap;

/// How many products the catalogue starts with.
const SEEDED: u64 = 47;

/// Steps that the recording omits: the group and name of the next recorded entry, the request, and the status that it
/// gets here. The NestJS system stored a free order and an order of 1.5 pieces, which the store refuses; it also stored
/// an order of 30 cents, which an order of 50 replaces here. It made a product whose name fills the largest body;
/// another product replaces it.
const LEFT_OUT: &[(&str, &str, &str, &str, &str, u16)] = &[
    (
        "orders-create",
        "soft-deleted product is accepted",
        "POST",
        "/api/orders",
        r#"{"items":[{"productId":57,"quantity":5}]}"#,
        201,
    ),
    ("products-update", "price only", "PATCH", "/api/products/54", r#"{"name":"Lamp v3"}"#, 200),
    ("products-delete", "delete twice", "DELETE", "/api/products/55", "", 200),
    ("orders-list", "page past the end", "POST", "/api/orders", r#"{"items":[{"productId":56,"quantity":1}]}"#, 400),
    ("orders-list", "page past the end", "POST", "/api/orders", r#"{"items":[{"productId":1,"quantity":1.5}]}"#, 400),
    (
        "payments",
        "order after the receipt-less charge is still PENDING",
        "POST",
        "/payments/webhook",
        r#"{"id":"evt_test_1","created":1700000000,"type":"charge.succeeded","data":{"object":{"id":"ch_test_OD","amount":1000,
            "currency":"usd","metadata":{"orderId":"{{OD}}"},"receipt_url":null}}}"#,
        200,
    ),
    (
        "payments",
        "webhook: charge.succeeded for a CANCELLED order (cancelled just before)",
        "PATCH",
        "/api/orders/{{OC}}",
        r#"{"status":"CANCELLED"}"#,
        200,
    ),
];

/// The name of the orders' database in `service_down`. The recording stopped the PostgreSQL server. Here the database
/// may be a file, and it must work when the host starts. So the test breaks it after the start: it renames the table,
/// and each statement fails.
const DATABASE: &str = "pg";

/// The recorded ids of orders that occur in bodies.
const RECORDED_ORDERS: &[(&str, &str)] = &[
    ("1f766a18-5c74-4f65-8e70-1316a14b9636", "{{OA}}"),
    ("06c2f957-e9ca-41b2-bcae-4cb7c7a730f2", "{{OB}}"),
    ("637e36ad-0308-45e8-a4e0-c1f8a91d02bb", "{{OC}}"),
];

#[tokio::test]
async fn everything_recorded_is_answered_as_the_recorded_system_did() {
    replay(Shop::start_open().await).await;
}

/// Replays the recording on `shop`; returns the shop that runs at the end, on the same state.
pub(super) async fn replay(shop: Shop) -> Shop {
    let list: Vec<Difference> = recorded::read("golden-differences.json");
    let listed = list.len();
    let mut differences: BTreeMap<(String, String), Expected> =
        list.into_iter().map(|d| ((d.group, d.name), d.expected)).collect();
    assert_eq!(differences.len(), listed, "golden-differences.json names something twice");
    let mut replay = Replay::new(shop);
    let mut wrong = Vec::new();
    let recording: Vec<Recorded> = recorded::read("golden.json");

    for recorded in &recording {
        replay.put_down(recorded.service_down.as_deref()).await;
        replay.fill_in(recorded).await;
        let answer = replay.send(recorded).await;
        let as_recorded =
            replay.compare(&answer, recorded.status, recorded.content_type.as_deref(), &recorded.response_normalised);
        let key = (recorded.group.clone(), recorded.name.clone());
        let verdict = match (differences.remove(&key), as_recorded) {
            (Some(_), Ok(())) => {
                Err("answered as recorded: its entry in golden-differences.json is not needed".to_owned())
            }
            (Some(e), Err(_)) => replay.compare(&answer, e.status, Some(&e.content_type), &e.body),
            (None, as_recorded) => as_recorded,
        };
        if let Err(why) = verdict.and_then(|()| headers(&answer, recorded)) {
            wrong.push(format!("{} / {} ({} {}):\n    {why}", key.0, key.1, recorded.method, recorded.path_template));
        }
        replay.learn(&recorded.path_template, &answer);
    }
    let unknown: Vec<_> = differences.keys().collect();
    assert!(unknown.is_empty(), "golden-differences.json names what golden.json does not have: {unknown:?}");
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), recording.len(), wrong.join("\n"));
    replay.shop.take().unwrap()
}

/// Checks the headers of an answer.
fn headers(answer: &Answer, recorded: &Recorded) -> Result<(), String> {
    let etag = answer.header("etag").is_some();
    if etag != recorded.etag_present {
        return Err(format!("etag: {etag}, recorded: {}", recorded.etag_present));
    }
    let retry_after = answer.header("retry-after").is_some();
    if retry_after == (answer.status == 503) { Ok(()) } else { Err(format!("retry-after: {retry_after}")) }
}

/// Breaks this service before the host starts.
fn break_down(app: App, service: Option<&str>) -> App {
    match service {
        None | Some(DATABASE) => app,
        Some("stripe") => stripe_down(app),
        Some(component) => down(app, component),
    }
}

/// Undoes [`break_down`].
fn repair(app: App, service: Option<&str>) -> App {
    match service {
        None | Some(DATABASE) => app,
        Some("stripe") => stripe_up_again(app),
        Some(component) => up_again(app, component),
    }
}

/// An order that the replay made: its id and its total in cents.
type Made = (String, u64);

struct Replay {
    /// `None` only while the host restarts.
    shop: Option<Shop>,
    down: Option<String>,
    /// The highest id of a product.
    newest: u64,
    /// The orders, by their names in the recording: `{{OA}}` is the first one.
    orders: BTreeMap<String, Made>,
    /// The id of the first user.
    user: String,
    /// The events, by their recorded bodies: the same body again is the same event.
    events: Vec<String>,
}

impl Replay {
    fn new(shop: Shop) -> Replay {
        let (orders, user, events) = (BTreeMap::new(), String::new(), Vec::new());
        Replay { shop: Some(shop), down: None, newest: SEEDED, orders, user, events }
    }

    fn shop(&self) -> &Shop {
        self.shop.as_ref().unwrap()
    }

    /// Breaks this service, and repairs all others.
    async fn put_down(&mut self, service: Option<&str>) {
        if self.down.as_deref() == service {
            return;
        }
        let shop = self.shop.take().unwrap();
        if self.down.as_deref() == Some(DATABASE) {
            shop.sql("orders", "ALTER TABLE out_of_order RENAME TO orders");
        }
        let shop = shop.restart(|app| break_down(repair(app, self.down.as_deref()), service)).await;
        if service == Some(DATABASE) {
            shop.sql("orders", "ALTER TABLE orders RENAME TO out_of_order");
        }
        if service.is_none() {
            // Wait until the events that came while the orders were down are delivered.
            shop.wait_for_events().await;
        }
        self.shop = Some(shop);
        self.down = service.map(str::to_owned);
    }

    /// Makes the steps that the recording omits before this one.
    async fn fill_in(&mut self, next: &Recorded) {
        for (_, _, method, path, body, status) in LEFT_OUT.iter().filter(|l| l.0 == next.group && l.1 == next.name) {
            let kind = if body.is_empty() { "text/plain" } else { "application/json" };
            let mut headers: BTreeMap<_, _> = [("content-type".to_owned(), kind.to_owned())].into();
            if path.ends_with("/webhook") {
                headers.insert("stripe-signature".to_owned(), "t=1795398446,v1=".to_owned());
            }
            let body = (!body.is_empty()).then_some(*body);
            let answer = self.request("left out", method, path, &headers, body).await;
            assert_eq!(answer.status, *status, "left out: {method} {path}: {answer:?}");
            self.learn(path, &answer);
        }
        // The id that the product of this step must get, because later steps use it.
        let id = match (next.path_template.as_str(), next.status) {
            ("/api/products", 201) => next.response_normalised["id"].as_u64(),
            _ => None,
        };
        while self.newest + 1 < id.unwrap_or_default() {
            let made = self.shop().post("/api/products", "", json!({ "name": "filler", "price": 1 })).await.expect(201);
            self.newest = made["id"].as_u64().expect("an id");
        }
    }

    async fn send(&mut self, recorded: &Recorded) -> Answer {
        let Recorded { name, method, path_template, headers, body, .. } = recorded;
        self.request(name, method, path_template, headers, body.as_deref()).await
    }

    /// Sends a request with a new token or signature; `name` tells what is intentionally wrong with it.
    async fn request(
        &mut self,
        name: &str,
        method: &str,
        path: &str,
        headers: &BTreeMap<String, String>,
        body: Option<&str>,
    ) -> Answer {
        let mut headers = headers.clone();
        let mut body = body.map(|body| recorded::body(&self.expand(body)));
        if let Some(header) = headers.get_mut("stripe-signature") {
            let event = self.event(&body.unwrap_or_default());
            *header = signature(name, header, &event);
            body = Some(event);
        }
        if let Some(header) = headers.get_mut("authorization")
            && let Some((scheme, token)) = header.rsplit_once(' ').or(Some(("", header.as_str())))
        {
            let separator = if scheme.is_empty() { "" } else { " " };
            *header = format!("{scheme}{separator}{}", self.token(name, token));
        }
        let headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let answer = self.shop().client.send(method.parse().unwrap(), &self.expand(path), &headers, body).await;
        // The next request may depend on the effect of this event.
        if path.ends_with("/webhook") && !self.down.as_deref().is_some_and(|down| ["orders", DATABASE].contains(&down))
        {
            self.shop().wait_for_events().await;
        }
        answer
    }

    /// Records the ids that later entries refer to.
    fn learn(&mut self, path: &str, answer: &Answer) {
        if answer.status != 201 {
            return;
        }
        let body = answer.json();
        match path {
            "/api/products" => self.newest = body["id"].as_u64().expect("an id"),
            "/api/orders" => {
                let letter = char::from(b'A' + u8::try_from(self.orders.len()).unwrap());
                let id = body["order"]["id"].as_str().expect("an id").to_owned();
                let cents = (body["order"]["totalAmount"].as_f64().expect("a total") * 100.0).round() as u64;
                self.orders.insert(format!("{{{{O{letter}}}}}"), (id, cents));
            }
            "/api/auth/register" if self.user.is_empty() => {
                self.user = body["user"]["id"].as_str().expect("an id").to_owned();
            }
            _ => {}
        }
    }

    /// A recorded text, with the orders and the address of this run.
    fn expand(&self, text: &str) -> String {
        let mut text = text.replace("http://localhost:13003", &format!("http://{}", self.shop().host.address()));
        for (id, name) in RECORDED_ORDERS {
            text = text.replace(id, name);
        }
        for (name, (id, _)) in &self.orders {
            text = text.replace(name, id).replace(&name.replace("}}", "|upper}}"), &id.to_uppercase());
        }
        text
    }

    fn compare(&self, answer: &Answer, status: u16, kind: Option<&str>, body: &Value) -> Result<(), String> {
        let body = serde_json::from_str(&self.expand(&body.to_string())).unwrap();
        compare(answer, status, kind, &body)
    }

    /// A recorded event, with a new id and the amount of its order. A body that is not an event stays unchanged.
    fn event(&mut self, recorded: &[u8]) -> Vec<u8> {
        let Ok(mut event) = serde_json::from_slice::<Value>(recorded) else { return recorded.to_owned() };
        let text = event.to_string();
        let place = self.events.iter().position(|known| *known == text).unwrap_or(self.events.len());
        if place == self.events.len() {
            self.events.push(text);
        }
        if event.get("id").is_some() {
            event["id"] = format!("evt_replayed_{place}").into();
        }
        let cents = self.orders.values().find(|(id, _)| event["data"]["object"]["metadata"]["orderId"] == **id);
        if let Some((_, cents)) = cents {
            event["data"]["object"]["amount"] = (*cents).into();
        }
        event.to_string().into_bytes()
    }

    /// A token like the recorded one, but for this run's first user, time and secret.
    fn token(&self, name: &str, recorded: &str) -> String {
        let parts: Vec<&str> = recorded.split('.').collect();
        let &[header, payload, signature] = parts.as_slice() else { return recorded.to_owned() };
        let decode = |part| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        let mut claims = decode(payload);
        if claims["email"] == "ann@example.com" {
            claims["id"] = self.user.as_str().into();
        }
        let now = stripe::now();
        for (claim, time) in [("iat", now), ("exp", now + 7200), ("nbf", now + 1000)] {
            if claims[claim].is_number() {
                claims[claim] = time.into();
            }
        }
        let signed = |claims: &Value| format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let tag = match (name, signature) {
            (_, "") => String::new(),
            // The signature of another token.
            ("tampered payload", _) => {
                tag(&decode(header), &signed(&json!({ "id": self.user, "email": "ann@example.com", "iat": now })))
            }
            _ => tag(&decode(header), &signed(&claims)),
        };
        format!("{}.{tag}", signed(&claims))
    }
}

/// The signature of a token.
fn tag(header: &Value, signed: &str) -> String {
    macro_rules! mac {
        ($hash:ty) => {{
            let mut mac = Hmac::<$hash>::new_from_slice(JWT_SECRET.as_bytes()).unwrap();
            mac.update(signed.as_bytes());
            URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
        }};
    }
    match header["alg"].as_str().unwrap() {
        "HS256" => mac!(Sha256),
        "HS512" => mac!(Sha512),
        other => panic!("the recording has no {other}"),
    }
}

/// A `Stripe-Signature` like the recorded one, but with this run's time and secret.
fn signature(name: &str, recorded: &str, event: &[u8]) -> String {
    let now = stripe::now();
    match name {
        _ if !recorded.starts_with("t=") => recorded.to_owned(),
        "webhook with t only" => format!("t={now}"),
        "webhook signed with another secret" => stripe::signature("another", event, now),
        "webhook signed with scheme v0" => stripe::signature(STRIPE_SECRET, event, now).replace("v1=", "v0="),
        "webhook with a timestamp in the future (1000 s) is accepted" => {
            stripe::signature(STRIPE_SECRET, event, now + 1000)
        }
        _ => stripe::signature(STRIPE_SECRET, event, now),
    }
}
