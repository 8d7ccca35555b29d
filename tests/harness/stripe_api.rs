//! A stand-in for Stripe's API, on a loopback port: it notes what it is asked, and answers as a scenario has told it.
//!
//! It has Stripe's idempotency: one key makes one session, however often it comes, and nothing else under that key.

use super::App;
use super::stripe::now;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

/// The key that the application has. No answer may contain the word in it: every client of the scenarios looks for it.
pub const KEY: &str = "sk_test_51swordfishABCDEF";

/// A request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    /// The body's fields, sorted.
    pub form: Vec<(String, String)>,
}

/// What the next request gets.
#[derive(Clone, Debug)]
pub enum Next {
    /// A session.
    Session,
    /// This status, with this body.
    Answer(u16, String),
    /// A redirect to this address.
    Redirect(String),
    /// A session is made, and nobody hears of it: there is never an answer.
    Silence,
}

/// The stand-in; it ends when it is dropped.
pub struct StripeApi {
    url: String,
    state: Arc<Mutex<Account>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Account {
    asked: Vec<Asked>,
    script: VecDeque<Next>,
    /// What each key made, and what it was made of.
    sessions: BTreeMap<String, (Value, Vec<(String, String)>)>,
}

impl StripeApi {
    /// Starts it.
    pub async fn start() -> StripeApi {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::default();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        StripeApi { url, state, server }
    }

    /// The repository's own application, with a key and with this for Stripe.
    pub fn store(&self) -> App {
        store_with_key().variable("stripe_api_url", &self.url)
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Says what the next requests get; those after them get sessions.
    pub fn next(&self, script: impl IntoIterator<Item = Next>) {
        self.state.lock().unwrap().script = script.into_iter().collect();
    }

    /// What it was asked so far; asking for it forgets it.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// How many requests came that nobody has asked for yet.
    pub fn waiting(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }

    /// The idempotency keys that have made a session: one each.
    pub fn sessions(&self) -> Vec<String> {
        self.state.lock().unwrap().sessions.keys().cloned().collect()
    }

    /// The id of the session that this key made.
    pub fn session_id(&self, key: &str) -> String {
        self.state.lock().unwrap().sessions[key].0["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for StripeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The repository's own application with a key for Stripe, and no say in where Stripe is.
pub fn store_with_key() -> App {
    App::store().variable("stripe_secret", KEY)
}

/// An error of Stripe's.
pub fn refusal(status: u16, kind: &str, code: &str, message: &str) -> Next {
    Next::Answer(status, json!({ "error": { "type": kind, "code": code, "message": message } }).to_string())
}

async fn answer(
    State(state): State<Arc<Mutex<Account>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = String::from_utf8_lossy(&body).into_owned();
    let mut form: Vec<(String, String)> =
        reqwest::Url::parse(&format!("http://a/?{text}")).unwrap().query_pairs().into_owned().collect();
    form.sort();
    let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    let next = {
        let mut account = state.lock().unwrap();
        account.asked.push(Asked { method, uri, headers, form: form.clone() });
        let next = account.script.pop_front().unwrap_or(Next::Session);
        match next {
            Next::Session => account.session(key, form),
            Next::Silence => {
                account.session(key, form);
                Next::Silence
            }
            other => other,
        }
    };
    match next {
        Next::Answer(status, text) => respond(status, text),
        Next::Redirect(to) => {
            let mut response = respond(307, String::new());
            response.headers_mut().insert("location", to.parse().unwrap());
            response
        }
        Next::Silence | Next::Session => std::future::pending().await,
    }
}

impl Account {
    /// The session that this key makes, or has made.
    fn session(&mut self, key: Option<String>, form: Vec<(String, String)>) -> Next {
        let Some(key) = key else { return refusal(400, "invalid_request_error", "", "a key is missing") };
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let id = format!("cs_test_{}", uuid::Uuid::now_v7().simple());
        let session = json!({
            "id": id,
            "object": "checkout.session",
            "url": format!("https://checkout.stripe.com/c/pay/{id}"),
            "success_url": field("success_url"),
            "cancel_url": field("cancel_url"),
            "expires_at": now() + 24 * 60 * 60,
            "status": "open",
            "payment_status": "unpaid",
        });
        let (session, made_of) = self.sessions.entry(key).or_insert((session, form.clone()));
        if *made_of != form {
            return refusal(400, "idempotency_error", "", "Keys can only be used with the same parameters");
        }
        Next::Answer(200, session.to_string())
    }
}

fn respond(status: u16, text: String) -> Response {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.header("request-id", "req_stand_in").body(Body::from(text)).unwrap()
}
