//! Replays everything that was recorded of the NestJS system that the store replaces (`tests/golden.json`), in its
//! order, against the repository's own application with open access.
//!
//! An answer must be the recorded one, or the one listed in `tests/golden-differences.json` with its reason; an entry of
//! that list that is not needed fails too. The recording leaves out some of its own steps; those that later answers
//! depend on are in [`LEFT_OUT`], and products that it created unseen are filled in by their ids. What proves something
//! (tokens, signatures) was made with other secrets at another time, and is made anew in the same way.
//!
//! Where a service was down, the host is started anew on the same state with that service out of order.

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

/// Steps that the recording left out: the group and name of the entry before which they were made, the request, and what
/// it is answered here. A free order and one of half a piece were stored, and are refused now; so is one of 30 cents, in
/// whose place there is one of 50; a product whose name fills the largest body was made, and another must stand in for it.
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

/// The orders' database, as `service_down` calls it. It was PostgreSQL, and stopped. Here it must be well when the host
/// starts, and may be a file, so it is put out of order after that: its table is away, and each statement fails.
const DATABASE: &str = "pg";

/// The recorded numbers of orders that are named in bodies.
const RECORDED_ORDERS: &[(&str, &str)] = &[
    ("1f766a18-5c74-4f65-8e70-1316a14b9636", "{{OA}}"),
    ("06c2f957-e9ca-41b2-bcae-4cb7c7a730f2", "{{OB}}"),
    ("637e36ad-0308-45e8-a4e0-c1f8a91d02bb", "{{OC}}"),
];

#[tokio::test]
async fn everything_recorded_is_answered_as_the_recorded_system_did() {
    replay(Shop::start_open().await).await;
}

/// Replays the recording on `shop`, or the one that was started after it on the same state, which is given back.
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

/// What the bodies do not say.
fn headers(answer: &Answer, recorded: &Recorded) -> Result<(), String> {
    let etag = answer.header("etag").is_some();
    if etag != recorded.etag_present {
        return Err(format!("etag: {etag}, recorded: {}", recorded.etag_present));
    }
    let retry_after = answer.header("retry-after").is_some();
    if retry_after == (answer.status == 503) { Ok(()) } else { Err(format!("retry-after: {retry_after}")) }
}

/// Puts this service out of order before the host starts.
fn break_down(app: App, service: Option<&str>) -> App {
    match service {
        None | Some(DATABASE) => app,
        Some("stripe") => stripe_down(app),
        Some(component) => down(app, component),
    }
}

/// Undoes [`break_down`].
fn mend(app: App, service: Option<&str>) -> App {
    match service {
        None | Some(DATABASE) => app,
        Some("stripe") => stripe_up_again(app),
        Some(component) => up_again(app, component),
    }
}

/// An order that was made on the way: its number and its total in cents.
type Made = (String, u64);

struct Replay {
    /// Absent only while the host is started anew.
    shop: Option<Shop>,
    down: Option<String>,
    /// The highest number of a product.
    newest: u64,
    /// By the names that the recording gives them: `{{OA}}` is the first.
    orders: BTreeMap<String, Made>,
    /// The number of the first user.
    user: String,
    /// The bodies of events: the same body again is the same event.
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

    /// Puts this service out of order, and all others in order.
    async fn put_down(&mut self, service: Option<&str>) {
        if self.down.as_deref() == service {
            return;
        }
        let shop = self.shop.take().unwrap();
        if self.down.as_deref() == Some(DATABASE) {
            shop.sql("orders", "ALTER TABLE out_of_order RENAME TO orders");
        }
        let shop = shop.restart(|app| break_down(mend(app, self.down.as_deref()), service)).await;
        if service == Some(DATABASE) {
            shop.sql("orders", "ALTER TABLE orders RENAME TO out_of_order");
        }
        if service.is_none() {
            // Events that came while the orders were down are dealt with now.
            shop.wait_for_events().await;
        }
        self.shop = Some(shop);
        self.down = service.map(str::to_owned);
    }

    /// Makes the steps that the recording left out before this one.
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
        // The id that this step's product must get, so that later steps find it there.
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

    /// Sends a request with what proves something in it made anew; `name` says what about that is wrong on purpose.
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
        // What comes next may look at what became of an event.
        if path.ends_with("/webhook") && !self.down.as_deref().is_some_and(|down| ["orders", DATABASE].contains(&down))
        {
            self.shop().wait_for_events().await;
        }
        answer
    }

    /// Notes what later entries refer to.
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

    /// A recorded text with the orders and the address of this run.
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

    /// An event with an id of its own, over the amount of its order. What is no event stays as it is.
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

    /// A token as the recorded one, of the first user of this run, at this time, with this run's secret.
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

/// The last part of a token.
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

/// A `Stripe-Signature` as the recorded one, of this time, with this run's secret.
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
