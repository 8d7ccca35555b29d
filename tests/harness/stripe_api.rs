//! A stand-in for Stripe's API, on a loopback port: it records the requests, and answers as the scenario says.
//!
//! It has Stripe's idempotency: repeated requests with one key make one session, and a request with the same key but
//! other parameters is an error.

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
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// The application's API key. No answer may contain the word `swordfish`: [`Client`](super::Client) checks all answers.
pub(crate) const KEY: &str = "sk_test_51swordfishABCDEF";

/// A request that the stand-in received.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    /// The body's fields, sorted.
    pub form: Vec<(String, String)>,
}

/// How the stand-in answers the next request.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    /// A session.
    Session,
    /// This status, with this body.
    Answer(u16, String),
    /// A redirect to this address.
    Redirect(String),
    /// Make the session, but never answer.
    Silence,
    /// Make no session, and never answer.
    Lost,
    /// Make the session or read its status, but send the answer only after this notification.
    Held(Arc<Notify>),
    /// A failure that Stripe repeats for every request with the same key (`idempotent-replayed`).
    KeptFailure,
}

/// The stand-in; it stops when it is dropped.
pub(crate) struct StripeApi {
    url: String,
    state: Arc<Mutex<Account>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Account {
    asked: Vec<ReceivedRequest>,
    script: VecDeque<Next>,
    /// The session of each idempotency key.
    sessions: BTreeMap<String, SessionRecord>,
}

/// A session that an idempotency key made.
struct SessionRecord {
    /// The session as it is now.
    session: Value,
    /// The answer to the first request with the key, and to every repetition.
    answer: String,
    /// The parameters of the first request.
    form: Vec<(String, String)>,
}

impl StripeApi {
    /// Starts the stand-in.
    pub(crate) async fn start() -> StripeApi {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::default();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        StripeApi { url, state, server }
    }

    /// The repository's own application, with an API key and this stand-in for Stripe.
    pub(crate) fn store(&self) -> App {
        store_with_key().variable("stripe_api_url", &self.url)
    }

    /// `app` with an API key and this stand-in for Stripe.
    pub(crate) fn store_with(&self, app: App) -> App {
        app.variable("stripe_secret", KEY).variable("stripe_api_url", &self.url)
    }

    /// The stand-in's URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sets the answers to the next requests; later requests get sessions.
    pub(crate) fn next(&self, script: impl IntoIterator<Item = Next>) {
        self.state.lock().unwrap().script = script.into_iter().collect();
    }

    /// The requests since the last call of this function.
    pub(crate) fn asked(&self) -> Vec<ReceivedRequest> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// How many requests the next call of [`asked`](Self::asked) would return.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }

    /// The idempotency keys that have made a session, one session each.
    pub(crate) fn sessions(&self) -> Vec<String> {
        self.state.lock().unwrap().sessions.keys().cloned().collect()
    }

    /// The id of the session that this key made.
    pub(crate) fn session_id(&self, key: &str) -> String {
        self.state.lock().unwrap().sessions[key].session["id"].as_str().unwrap().to_owned()
    }

    /// The status of the session that this key made.
    pub(crate) fn status(&self, key: &str) -> String {
        self.state.lock().unwrap().sessions[key].session["status"].as_str().unwrap().to_owned()
    }

    /// Expires the session that this key made.
    pub(crate) fn expire(&self, key: &str) {
        self.change(key, json!({ "status": "expired", "url": null }));
    }

    /// Pays the session that this key made, with this charge.
    pub(crate) fn pay(&self, key: &str, charge: &Value) {
        let intent = json!({ "id": "pi_1", "latest_charge": charge });
        let change = json!({ "status": "complete", "payment_status": "paid", "url": null, "payment_intent": intent });
        self.change(key, change);
    }

    fn change(&self, key: &str, change: Value) {
        let mut account = self.state.lock().unwrap();
        let made = account.sessions.get_mut(key).expect("a session");
        for (name, value) in change.as_object().unwrap() {
            made.session[name] = value.clone();
        }
    }
}

impl Drop for StripeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The repository's own application with an API key for Stripe, and the default URL of Stripe.
pub(crate) fn store_with_key() -> App {
    App::store().variable("stripe_secret", KEY)
}

/// An error of Stripe's API.
pub(crate) fn refusal(status: u16, kind: &str, code: &str, message: &str) -> Next {
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
    let mut held = None;
    let next = {
        let mut account = state.lock().unwrap();
        let next = account.script.pop_front().unwrap_or(Next::Session);
        let path = uri.path().to_owned();
        let about = path.strip_prefix("/v1/checkout/sessions/").map(str::to_owned);
        account.asked.push(ReceivedRequest { method, uri, headers, form: form.clone() });
        match next {
            Next::Session if about.is_some() => account.known(&about.unwrap()),
            Next::Session => account.session(key, form),
            Next::Silence => {
                account.session(key, form);
                Next::Silence
            }
            Next::Held(release) => {
                held = Some(release);
                match about {
                    Some(about) => account.known(&about),
                    None => account.session(key, form),
                }
            }
            other => other,
        }
    };
    if let Some(release) = held {
        release.notified().await;
    }
    match next {
        Next::Answer(status, text) => respond(status, text),
        Next::Redirect(to) => {
            let mut response = respond(307, String::new());
            response.headers_mut().insert("location", to.parse().unwrap());
            response
        }
        Next::KeptFailure => {
            let mut response = respond(500, json!({ "error": { "type": "api_error" } }).to_string());
            response.headers_mut().insert("idempotent-replayed", "true".parse().unwrap());
            response
        }
        Next::Silence | Next::Lost | Next::Held(_) | Next::Session => std::future::pending().await,
    }
}

impl Account {
    /// Answers a request for a new session: makes one for this key, or repeats the key's first answer.
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
        let made = self.sessions.entry(key).or_insert(SessionRecord {
            answer: session.to_string(),
            session,
            form: form.clone(),
        });
        if made.form != form {
            return refusal(400, "idempotency_error", "", "Keys can only be used with the same parameters");
        }
        Next::Answer(200, made.answer.clone())
    }

    /// Answers a request about an existing session: returns it (`ID`), or expires it (`ID/expire`).
    fn known(&mut self, about: &str) -> Next {
        let (id, ends) = about.strip_suffix("/expire").map_or((about, false), |id| (id, true));
        let Some(made) = self.sessions.values_mut().find(|made| made.session["id"] == id) else {
            return refusal(404, "invalid_request_error", "resource_missing", "No such session");
        };
        if ends && made.session["status"] != "open" {
            return refusal(400, "invalid_request_error", "", "Only open sessions can be expired");
        }
        if ends {
            made.session["status"] = "expired".into();
        }
        Next::Answer(200, made.session.to_string())
    }
}

fn respond(status: u16, text: String) -> Response {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.header("request-id", "req_stand_in").body(Body::from(text)).unwrap()
}
