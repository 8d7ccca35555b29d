//! The store and its users: customers, an administrator, and the payment provider.
//!
//! A [`Shop`] knows both secrets of its application, so that a test can sign tokens and events like an attacker or the
//! payment provider. Users register through the public API and get their roles by `souk call`, as from an operator.

use super::postgres::{self, Postgres};
use super::{Answer, App, Client, Host, app, build, eventually, queue, stripe};
use http::Method;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The secret with which this application signs its tokens.
pub(crate) const JWT_SECRET: &str = "the-secret-of-the-tokens-of-the-scenarios-3f9a1c";
/// The secret with which the payment provider signs its events.
pub(crate) const STRIPE_SECRET: &str = "whsec_the_scenarios";
/// The password of every user that is made here.
pub(crate) const PASSWORD: &str = "Abc123!x";

/// A running store.
pub(crate) struct Shop {
    /// The application, for what an operator does.
    pub app: App,
    /// The host that runs it.
    pub host: Host,
    /// A client of that host.
    pub client: Client,
}

impl Shop {
    /// Starts the repository's own application with its default configuration: orders and changes need a token.
    pub(crate) async fn start() -> Shop {
        Shop::of(App::store()).await
    }

    /// Starts the repository's own application with open access: every caller has all rights.
    pub(crate) async fn start_open() -> Shop {
        Shop::of(App::open_store()).await
    }

    /// Starts `app`, a variation of the repository's own application, with the secrets of this module.
    pub(crate) async fn of(app: App) -> Shop {
        let app = app.shared_secrets();
        let host = app.start().await;
        let client = host.client();
        Shop { app, host, client }
    }

    /// Ends the host, and starts another on the same state after `change`.
    pub(crate) async fn restart(self, change: impl FnOnce(App) -> App) -> Shop {
        let Shop { app, host, .. } = self;
        host.stop().await;
        Shop::of(change(app)).await
    }

    /// Kills the host as `kill -9` does: nothing more is written.
    pub(crate) fn kill(self) -> App {
        drop(self.host);
        self.app
    }

    /// Runs SQL on a database of the application, bypassing its components. `name` is the label of the database.
    pub(crate) fn sql(&self, name: &str, statements: &str) {
        if let Some(url) = self.app.value(&format!("{name}_database_url")).filter(|url| url.starts_with("postgres")) {
            Postgres::shared().psql(postgres::name_of(url), statements);
            return;
        }
        let path = self.app.state().join(format!("sqlite/{name}.db"));
        rusqlite::Connection::open(path).unwrap().execute_batch(statements).unwrap();
    }

    /// Sends a request with this token, if any, and this JSON, if any.
    pub(crate) async fn send(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Answer {
        send(&self.client, method, path, token, body).await
    }

    /// `GET path` with this token; an empty one is none.
    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(Method::GET, path, token, None).await
    }

    /// `POST path` with this token; an empty one is none.
    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.send(Method::POST, path, token, Some(body)).await
    }

    /// `PATCH path` with this token; an empty one is none.
    pub(crate) async fn patch(&self, path: &str, token: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, token, Some(body)).await
    }

    /// Registers a user.
    pub(crate) async fn register(&self, email: &str) -> Answer {
        self.post("/api/auth/register", "", json!({ "name": "Ann", "email": email, "password": PASSWORD })).await
    }

    /// Logs a user in.
    pub(crate) async fn login(&self, email: &str, password: &str) -> Answer {
        self.post("/api/auth/login", "", json!({ "email": email, "password": password })).await
    }

    /// All accounts, as an operator sees them.
    pub(crate) async fn accounts(&self) -> Vec<Value> {
        let (mut accounts, mut from) = (Vec::new(), Value::Null);
        loop {
            let page = self.call("auth", "store:auth/administration#list", json!({ "from": from })).await;
            accounts.extend(page["accounts"].as_array().expect("a list").iter().cloned());
            from = page["next"].clone();
            if from.is_null() {
                return accounts;
            }
        }
    }

    /// Asks whose token this is.
    pub(crate) async fn verify(&self, token: &str) -> Answer {
        self.send(Method::POST, "/api/auth/verify", token, None).await
    }

    /// The token of a customer who is new.
    pub(crate) async fn customer(&self) -> String {
        token(&self.register(&fresh_email()).await)
    }

    /// The token of an administrator who is new.
    pub(crate) async fn admin(&self) -> String {
        let email = fresh_email();
        self.register(&email).await.expect(201);
        self.call("auth", "store:auth/administration#set-role", json!({ "email": email, "role": "admin" })).await;
        // A change of role has ended the token of the registration.
        token(&self.login(&email, PASSWORD).await)
    }

    /// Runs `souk call` and returns the result that it printed.
    pub(crate) async fn call(&self, component: &str, function: &str, arguments: Value) -> Value {
        let output = self.app.call(component, function, Some(arguments)).await;
        let (out, err) = app::texts(&output);
        assert!(output.status.success(), "{function}: {out}\n{err}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("not JSON ({e}): {out:?}"))
    }

    /// Orders `(product, quantity)` lines; returns `{order, paymentSession}`.
    pub(crate) async fn order(&self, token: &str, lines: &[(u64, u32)]) -> Value {
        self.post("/api/orders", token, order_body(lines)).await.expect(201)
    }

    /// Orders `(product, quantity)` lines under an idempotency key.
    pub(crate) async fn order_with_key(&self, token: &str, key: &str, lines: &[(u64, u32)]) -> Answer {
        try_order(&self.client, token, key, lines).await.expect("an answer")
    }

    /// Orders two of the first product; returns the order's id and its total in cents.
    pub(crate) async fn small_order(&self, token: &str) -> (String, u64) {
        let made = self.order(token, &[(1, 2)]).await;
        (made["order"]["id"].as_str().expect("an id").to_owned(), 15050)
    }

    /// An order as this token sees it, after every acknowledged event about it was processed.
    pub(crate) async fn order_by_id(&self, token: &str, id: &str) -> Value {
        self.wait_for_events_about(id).await;
        self.get(&format!("/api/orders/id/{id}"), token).await.expect(200)
    }

    /// Waits until every acknowledged event was processed.
    pub(crate) async fn wait_for_events(&self) {
        self.wait_for_events_about("").await;
    }

    /// Waits until every acknowledged event that contains this text was processed.
    pub(crate) async fn wait_for_events_about(&self, text: &str) {
        let what = format!("no message about {text:?} waits for its delivery");
        eventually(&what, || async { (queue::waiting(&self.app, text).await == 0).then_some(()) }).await;
    }

    /// Sends an event, as the payment provider does.
    pub(crate) async fn send_event(&self, event: &Value) -> Answer {
        stripe::deliver(&self.client, STRIPE_SECRET, event).await
    }

    /// Sends an event and, if it is acknowledged, waits until it was processed.
    pub(crate) async fn send_event_and_wait(&self, event: &Value) -> Answer {
        let answer = self.send_event(event).await;
        if answer.status == 200 {
            self.wait_for_events_about(event["id"].as_str().expect("an event's id")).await;
        }
        answer
    }

    /// What `souk events list` has: the messages of durable links, as JSON. Calls of schedules come and go by the clock,
    /// so those that are neither dead nor stranded are left out.
    pub(crate) async fn events(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.app.souk("events", &[&["list", "--json"], arguments].concat()).await;
        let (out, err) = app::texts(&output);
        assert!(output.status.success(), "{out}\n{err}");
        let mut events: Vec<Value> = serde_json::from_str(&out).unwrap_or_else(|e| panic!("not JSON ({e}): {out:?}"));
        let is_passing = |event: &Value| {
            let scheduled = event["caller"].as_str().is_some_and(|caller| caller.starts_with("schedule "));
            scheduled && ["pending", "delivering"].iter().any(|state| event["state"] == **state)
        };
        events.retain(|event| !is_passing(event));
        events
    }

    /// Pays an order: the provider says that `cents` were charged for it. Returns that event.
    pub(crate) async fn pay(&self, id: &str, cents: u64) -> Value {
        let event = stripe::charge_succeeded(id, cents);
        self.send_event_and_wait(&event).await.expect(200);
        event
    }
}

/// Sends a request with this token and this JSON; an empty token is none.
pub(crate) async fn send(client: &Client, method: Method, path: &str, token: &str, body: Option<Value>) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut headers = Vec::new();
    if !token.is_empty() {
        headers.push(("authorization", bearer.as_str()));
    }
    if body.is_some() {
        headers.push(("content-type", "application/json"));
    }
    client.send(method, path, &headers, body.map(|body| body.to_string().into_bytes())).await
}

/// Orders `(product, quantity)` lines under an idempotency key; the host may crash during the request.
///
/// # Errors
/// When there was no whole response.
pub(crate) async fn try_order(
    client: &Client,
    token: &str,
    key: &str,
    lines: &[(u64, u32)],
) -> reqwest::Result<Answer> {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", key)];
    client.try_send(Method::POST, "/api/orders", &headers, Some(order_body(lines).to_string().into_bytes())).await
}

/// Cents of an amount as the API writes it.
pub(crate) fn cents(amount: &Value) -> u64 {
    (amount.as_f64().expect("an amount") * 100.0).round() as u64
}

/// The body of an order of `(product, quantity)` lines.
pub(crate) fn order_body(lines: &[(u64, u32)]) -> Value {
    let items: Vec<_> = lines.iter().map(|(id, quantity)| json!({ "productId": id, "quantity": quantity })).collect();
    json!({ "items": items })
}

/// The token of an answer to a registration, a login or a verification.
pub(crate) fn token(answer: &Answer) -> String {
    answer.expect(201)["token"].as_str().expect("a token").to_owned()
}

/// An e-mail that nobody else has in this run.
pub(crate) fn fresh_email() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    format!("user{}@example.com", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Takes a service down: it gets so little memory that no instance can start, so every call to it fails.
///
/// With several hosts, no host runs it.
pub(crate) fn down(app: App, component: &str) -> App {
    if app.spread_over().is_some() {
        return app.down(component, true);
    }
    limit_memory(app, component, Some("1MiB".into()))
}

/// Undoes [`down`].
pub(crate) fn up_again(app: App, component: &str) -> App {
    if app.spread_over().is_some() {
        return app.down(component, false);
    }
    let manifest = std::fs::read_to_string(build::root().join("spin.toml")).unwrap();
    let mut manifest: toml::Table = toml::from_str(&manifest).unwrap();
    let memory = limits(&mut manifest, component).get("memory").cloned();
    limit_memory(app, component, memory)
}

fn limit_memory(app: App, component: &str, memory: Option<toml::Value>) -> App {
    let mut manifest: toml::Table = toml::from_str(&std::fs::read_to_string(app.path("spin.toml")).unwrap()).unwrap();
    let limits = limits(&mut manifest, component);
    match memory {
        Some(memory) => limits.insert("memory".to_owned(), memory),
        None => limits.remove("memory"),
    };
    app.file("spin.toml", toml::to_string(&manifest).unwrap())
}

/// The table of a component's limits in a manifest; an empty one when it has none.
fn limits<'a>(manifest: &'a mut toml::Table, component: &str) -> &'a mut toml::Table {
    ["component", component, "tool", "souk", "limits"].into_iter().fold(manifest, |table, key| {
        let inner = table.entry(key).or_insert_with(|| toml::Table::new().into());
        inner.as_table_mut().expect("a table")
    })
}

/// Points the application at a payment provider that does not answer.
pub(crate) fn stripe_down(app: App) -> App {
    // A port that is taken and at which nobody listens; it stays so until this process ends.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    std::mem::forget(socket);
    app.variable("stripe_secret", "sk_test_scenario").variable("stripe_api_url", format!("http://127.0.0.1:{port}"))
}

/// Undoes [`stripe_down`]: the sandbox is the payment provider.
pub(crate) fn stripe_up_again(app: App) -> App {
    app.variable("stripe_secret", "").variable("stripe_api_url", "https://api.stripe.com")
}
