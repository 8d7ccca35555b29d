//! The store on six hosts, two for each of its parts, and customers who send requests at a constant rate.
//!
//! A customer's request goes to one of two gateways, and to the other if the connection fails, as with a load balancer.
//! Every read must be answered. A customer repeats an order under its idempotency key until the order is made.

use super::nats::Nats;
use super::postgres::Postgres;
use super::spread::Spread;
use super::stripe_api::StripeApi;
use super::{ALONE, App, Client, Host, eventually, store};
use http::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{MutexGuard, Semaphore};

/// The parts, each with its name and the components that it runs.
pub(crate) const PARTS: [(&str, &str); 3] =
    [("front", "gateway,auth,passwords"), ("products", "products"), ("orders", "orders,payments,webhook")];

/// The six hosts, and the servers that they need.
pub(crate) struct RedundantStore {
    /// The NATS servers that carry the calls between hosts and store accounts and durable messages.
    pub nats: Nats,
    /// The application.
    pub app: App,
    /// The running hosts, by part and copy.
    hosts: BTreeMap<(usize, usize), Host>,
    addresses: BTreeMap<(usize, usize), String>,
    _postgres: Postgres,
    _stripe: StripeApi,
    _alone: MutexGuard<'static, ()>,
}

impl RedundantStore {
    /// Starts everything on `nats`, which must be new.
    pub(crate) async fn start(nats: Nats) -> RedundantStore {
        RedundantStore::start_with(nats, |app| app).await
    }

    /// The same, for the application after `change`.
    pub(crate) async fn start_with(nats: Nats, change: impl FnOnce(App) -> App) -> RedundantStore {
        let alone = ALONE.lock().await;
        let (postgres, stripe) = (Postgres::start(), StripeApi::start().await);
        let spread = Spread::over("store", nats.url());
        let servers: Vec<_> = nats.url().split(',').map(|url| format!("{url:?}")).collect();
        let config = format!("[nats]\nservers = [{}]\n\n[key_value_store.auth]\ntype = \"nats\"\n", servers.join(", "));
        let app = stripe
            .store_with(App::store_alone().spread_as(spread))
            .variable("products_database_url", postgres.database())
            .variable("orders_database_url", postgres.database())
            .variable("public_url", "https://shop.example")
            .file("runtime-config.toml", config);
        let app = change(app);
        let (hosts, addresses) = Default::default();
        let mut store =
            RedundantStore { nats, app, hosts, addresses, _postgres: postgres, _stripe: stripe, _alone: alone };
        store.app.seed().await;
        for part in 0..PARTS.len() {
            for copy in 0..2 {
                store.up(part, copy).await;
            }
        }
        store
    }

    /// Starts one host, at its previous address if it had one.
    pub(crate) async fn up(&mut self, part: usize, copy: usize) {
        let listen = self.addresses.get(&(part, copy)).cloned();
        let listen = listen.unwrap_or_else(|| format!("127.0.0.1:{}", souk_test::ports::free()));
        let state = format!("state-{}-{copy}", PARTS[part].0);
        let host = self.app.start_at(&listen, &state, &["--only", PARTS[part].1]).await;
        self.addresses.insert((part, copy), host.address().to_owned());
        self.hosts.insert((part, copy), host);
    }

    /// Kills one host as `kill -9` does.
    pub(crate) fn kill(&mut self, part: usize, copy: usize) {
        self.hosts.remove(&(part, copy)).expect("a host that runs");
    }

    /// Stops one host with SIGTERM, as an operator does: it finishes the requests that it has begun.
    pub(crate) async fn stop(&mut self, part: usize, copy: usize) {
        self.hosts.remove(&(part, copy)).expect("a host that runs").stop().await;
    }

    /// Suspends one host, or resumes it.
    pub(crate) fn hang(&self, part: usize, copy: usize, hangs: bool) {
        let host = &self.hosts[&(part, copy)];
        if hangs { host.hang() } else { host.wake() }
    }

    /// Clients of both gateways.
    pub(crate) fn gateways(&self) -> Vec<Client> {
        [0, 1].iter().filter_map(|copy| Some(self.hosts.get(&(0, *copy))?.client())).collect()
    }

    /// The log lines of all running hosts.
    pub(crate) fn logs(&self) -> Vec<String> {
        self.hosts.values().flat_map(Host::log).collect()
    }
}

/// Customers who send requests at a constant rate.
pub(crate) struct Load {
    gateways: Vec<Client>,
    token: String,
    ended: AtomicBool,
    next: AtomicUsize,
    /// Reads that were answered with 200.
    pub read: AtomicUsize,
    /// Orders that were made, some of them after several attempts.
    pub ordered: AtomicUsize,
    /// Failed attempts that were repeated: orders, and reads whose connection broke. An attempt that could not connect
    /// to its gateway is not counted.
    pub retries: AtomicUsize,
    failures: Mutex<Vec<String>>,
    latencies: Mutex<Vec<(Instant, Duration)>>,
    orders: Mutex<BTreeMap<String, String>>,
}

impl Load {
    /// Customers of these gateways, who share one account. [`run`](Self::run) starts them.
    pub(crate) async fn new(gateways: Vec<Client>) -> Arc<Load> {
        let body = json!({ "name": "Ann", "email": store::fresh_email(), "password": store::PASSWORD });
        let made = store::send(&gateways[0], Method::POST, "/api/auth/register", "", Some(body)).await;
        Arc::new(Load {
            gateways,
            token: store::token(&made),
            ended: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            ordered: AtomicUsize::new(0),
            retries: AtomicUsize::new(0),
            failures: Mutex::default(),
            latencies: Mutex::default(),
            orders: Mutex::default(),
        })
    }

    /// Sends `rate` requests a second, without waiting for their answers, until [`end`](Self::end). One in ten is an
    /// order.
    pub(crate) async fn run(self: Arc<Self>, rate: u32) {
        self.run_within(rate, Semaphore::MAX_PERMITS).await;
    }

    /// The same, but with at most `max` requests in flight: further requests wait.
    pub(crate) async fn run_within(self: Arc<Self>, rate: u32, max: usize) {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
        let in_flight = Arc::new(Semaphore::new(max));
        let mut requests = tokio::task::JoinSet::new();
        while !self.ended.load(Ordering::SeqCst) {
            tick.tick().await;
            let permit = Arc::clone(&in_flight).acquire_owned().await.unwrap();
            let load = Arc::clone(&self);
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            requests.spawn(async move {
                if number.is_multiple_of(10) {
                    load.order(number).await
                } else {
                    load.browse(number).await
                }
                drop(permit);
            });
        }
        while let Some(done) = requests.join_next().await {
            done.unwrap();
        }
    }

    /// Waits until customers have made this many more reads and orders.
    pub(crate) async fn wait_for_more(&self, reads: usize, orders: usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        let (reads, orders) = (count(&self.read) + reads, count(&self.ordered) + orders);
        eventually("customers are served", || async {
            (count(&self.read) >= reads && count(&self.ordered) >= orders).then_some(())
        })
        .await;
    }

    /// Stops sending new requests.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    /// The reads that failed, as a customer saw them.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }

    /// When each successful read began, and how long it took.
    pub(crate) fn latencies(&self) -> Vec<(Instant, Duration)> {
        self.latencies.lock().unwrap().clone()
    }

    /// The customers' access token.
    pub(crate) fn token(&self) -> String {
        self.token.clone()
    }

    /// The ids of the orders that were made, by their idempotency keys.
    pub(crate) fn orders(&self) -> BTreeMap<String, String> {
        self.orders.lock().unwrap().clone()
    }

    /// Asserts that the store lists exactly the orders that were made.
    pub(crate) async fn check_orders(&self) {
        let made: BTreeSet<String> = self.orders().into_values().collect();
        assert_eq!(made.len(), self.orders().len(), "two keys have one order");
        let mut seen = BTreeSet::new();
        for page in 1.. {
            let path = format!("/api/orders?limit=100&page={page}");
            let list = store::send(&self.gateways[0], Method::GET, &path, &self.token, None).await.expect(200);
            let page = list["data"].as_array().unwrap();
            seen.extend(page.iter().map(|order| order["id"].as_str().unwrap().to_owned()));
            if page.is_empty() {
                break;
            }
        }
        assert_eq!(seen, made, "orders were lost, or made twice");
    }

    /// Reads a page or a product at one gateway, or at the other if the connection fails.
    async fn browse(&self, number: usize) {
        let path = match number % 4 {
            0 => "/api/products?limit=10".to_owned(),
            1 => "/api/orders?limit=5".to_owned(),
            _ => format!("/api/products/{}", 1 + number % 40),
        };
        let bearer = format!("Bearer {}", self.token);
        let (mut said, begun) = (Vec::new(), Instant::now());
        for attempt in 0..4 {
            let gateway = &self.gateways[(number + attempt) % self.gateways.len()];
            match gateway.try_send(Method::GET, &path, &[("authorization", &bearer)], None).await {
                Ok(answer) if answer.status == 200 => {
                    self.read.fetch_add(1, Ordering::SeqCst);
                    self.latencies.lock().unwrap().push((begun, begun.elapsed()));
                    return;
                }
                Ok(answer) => {
                    said.push(format!("{answer:?}"));
                    break;
                }
                Err(error) => {
                    if !error.is_connect() {
                        self.retries.fetch_add(1, Ordering::SeqCst);
                    }
                    said.push(format!("{error:?}"));
                }
            }
        }
        self.failures.lock().unwrap().push(format!("GET {path}: {}", said.join("; ")));
    }

    /// Places an order, and repeats it under the same idempotency key until it is made.
    async fn order(&self, number: usize) {
        let key = format!("key-{number}");
        let attempts = AtomicUsize::new(number);
        eventually("an order is made", || async {
            let gateway = &self.gateways[attempts.fetch_add(1, Ordering::SeqCst) % self.gateways.len()];
            match store::try_order(gateway, &self.token, &key, &[(1, 2)]).await {
                Ok(answer) if answer.status == 201 => {
                    let id = order_id(&answer.json());
                    self.orders.lock().unwrap().insert(key.clone(), id);
                    self.ordered.fetch_add(1, Ordering::SeqCst);
                    Some(())
                }
                Ok(answer) if answer.status < 500 && answer.status != 409 => panic!("{answer:?}"),
                Err(error) if error.is_connect() => None,
                failed => {
                    println!("an order was not made at once: {failed:?}");
                    self.retries.fetch_add(1, Ordering::SeqCst);
                    None
                }
            }
        })
        .await;
    }
}

fn order_id(made: &Value) -> String {
    made["order"]["id"].as_str().expect("an order").to_owned()
}
