//! The load: connections that stay open, each with one request at a time.

use crate::server::Server;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::json;
use sha2::Sha256;
use souk_manifest::clock;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The measurements of one slot.
pub(crate) struct Sample {
    /// Requests a second.
    pub rate: f64,
    /// Median latency, us.
    pub p50: f64,
    /// 99th percentile of latency, us.
    pub p99: f64,
    /// CPU time of the server's process for one request, us.
    pub cpu: f64,
}

impl Sample {
    /// The median of each figure.
    pub(crate) fn median(samples: &[Sample]) -> Sample {
        let of = |figure: fn(&Sample) -> f64| crate::median(&mut samples.iter().map(figure).collect::<Vec<_>>());
        Sample { rate: of(|s| s.rate), p50: of(|s| s.p50), p99: of(|s| s.p99), cpu: of(|s| s.cpu) }
    }
}

/// The request that the load repeats.
#[derive(Clone)]
pub(crate) struct Call {
    pub method: http::Method,
    pub path: String,
    /// JSON; empty for no body.
    pub body: String,
    /// The caller's token.
    pub token: Option<String>,
    /// The expected status.
    pub status: u16,
    /// Replaces the body: a new event for each request.
    pub event: Option<Event>,
}

/// An event of the payment provider: a payment page has expired.
#[derive(Clone)]
pub(crate) struct Event {
    /// The secret that signs it.
    pub secret: String,
    /// The id of its order.
    pub order: String,
}

impl Event {
    /// A new event and its signature.
    fn make(&self) -> (String, String) {
        let now = clock::since_epoch().as_secs();
        let id = uuid::Uuid::now_v7().simple();
        let session =
            json!({ "id": format!("cs_{id}"), "object": "checkout.session", "metadata": { "orderId": self.order } });
        let event = json!({ "id": format!("evt_{id}"), "object": "event", "created": now,
            "type": "checkout.session.expired", "data": { "object": session } });
        let body = event.to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(format!("{now}.{body}").as_bytes());
        let digest: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        (body, format!("t={now},v1={digest}"))
    }
}

impl Call {
    /// `GET path` without a token.
    pub(crate) fn get(path: &str) -> Self {
        Call {
            method: http::Method::GET,
            path: path.into(),
            body: String::new(),
            token: None,
            status: 200,
            event: None,
        }
    }

    /// `POST path`, which creates something (status 201).
    pub(crate) fn post(path: &str, body: &str) -> Self {
        Call { method: http::Method::POST, path: path.into(), body: body.into(), token: None, status: 201, event: None }
    }

    /// Events for the webhook.
    pub(crate) fn events(secret: &str, order: &str) -> Self {
        let event = Event { secret: secret.into(), order: order.into() };
        Call { method: http::Method::POST, event: Some(event), ..Call::get("/payments/webhook") }
    }

    /// The same call with this token.
    pub(crate) fn by(mut self, token: &str) -> Self {
        self.token = Some(token.into());
        self
    }
}

/// Loads `server` with `call` for the time `slot`, after a short warm-up.
pub(crate) fn run(server: &Server, call: &Call, connections: usize, slot: Duration) -> Sample {
    runtime().block_on(async {
        requests(server, call, connections, slot / 10).await;
        let (cpu, start) = (server.cpu(), Instant::now());
        let mut latencies = requests(server, call, connections, slot).await;
        let (cpu, took) = (server.cpu() - cpu, start.elapsed().as_secs_f64());
        latencies.sort_unstable();
        let at = |percent: usize| latencies[latencies.len() * percent / 100].as_secs_f64() * 1e6;
        Sample {
            rate: latencies.len() as f64 / took,
            p50: at(50),
            p99: at(99),
            cpu: cpu * 1e6 / latencies.len() as f64,
        }
    })
}

/// Latencies of `call` by `clients` clients, in order, while `others` connections make the call `other` without pause.
pub(crate) fn beside(
    server: &Server,
    call: &Call,
    clients: usize,
    other: &Call,
    others: usize,
    slot: Duration,
) -> Vec<Duration> {
    runtime().block_on(async {
        let (mut latencies, _) =
            futures::join!(requests(server, call, clients, slot), requests(server, other, others, slot));
        latencies.sort_unstable();
        latencies
    })
}

/// Sends one request and returns the response's body.
pub(crate) fn once(server: &Server, call: &Call) -> Bytes {
    runtime().block_on(async { send(&mut connect(&server.address).await, &server.address, call).await })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn requests(server: &Server, call: &Call, connections: usize, slot: Duration) -> Vec<Duration> {
    let end = Instant::now() + slot;
    let one = |_| async move {
        let mut sender = connect(&server.address).await;
        let mut latencies = Vec::new();
        while Instant::now() < end {
            let start = Instant::now();
            send(&mut sender, &server.address, call).await;
            latencies.push(start.elapsed());
        }
        latencies
    };
    futures::future::join_all((0..connections).map(one)).await.concat()
}

async fn connect(address: &str) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn send(sender: &mut SendRequest<Full<Bytes>>, host: &str, call: &Call) -> Bytes {
    let mut request = http::Request::builder().method(&call.method).uri(&call.path).header("host", host);
    if let Some(token) = &call.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut body = call.body.clone();
    if let Some(event) = &call.event {
        let (text, signature) = event.make();
        body = text;
        request = request.header("stripe-signature", signature);
    }
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    let request = request.body(Full::from(body)).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(status, call.status, "{} {}: {body:?}", call.method, call.path);
    assert!(!body.is_empty(), "{} {}: an empty body", call.method, call.path);
    body
}
