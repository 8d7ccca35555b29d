//! The store on six hosts, each part of it twice, and customers who come at a steady pace whatever happens.
//!
//! The customers go to one of two gateways, and to the other when a connection fails, as a load balancer does. What they
//! read must be answered. What they order they ask for again under its idempotency key until it is made.

use super::nats::Nats;
use super::postgres::Postgres;
use super::spread::Spread;
use super::stripe_api::StripeApi;
use super::{App, Client, Host, eventually, store};
use http::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What each part runs.
pub(crate) const PARTS: [(&str, &str); 3] =
    [("front", "gateway,auth,passwords"), ("products", "products"), ("orders", "orders,payments,webhook")];

/// The hosts, and what they need.
pub(crate) struct Town {
    /// The servers that carry their calls and keep their accounts and messages.
    pub nats: Nats,
    /// The application.
    pub app: App,
    /// By part and copy.
    hosts: BTreeMap<(usize, usize), Host>,
    addresses: BTreeMap<(usize, usize), String>,
    _postgres: Postgres,
    _stripe: StripeApi,
}

impl Town {
    /// Starts everything; `nats` is new.
    pub(crate) async fn start(nats: Nats) -> Town {
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
        let (hosts, addresses) = Default::default();
        let mut town = Town { nats, app, hosts, addresses, _postgres: postgres, _stripe: stripe };
        town.app.seed().await;
        for part in 0..PARTS.len() {
            for copy in 0..2 {
                town.up(part, copy).await;
            }
        }
        town
    }

    /// Starts one host: at the address that it had before, if it had one.
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

    /// Ends one host as an operator does: what it had begun, it finishes.
    pub(crate) async fn stop(&mut self, part: usize, copy: usize) {
        self.hosts.remove(&(part, copy)).expect("a host that runs").stop().await;
    }

    /// Lets one host hang until it is woken, or wakes it.
    pub(crate) fn hang(&self, part: usize, copy: usize, hangs: bool) {
        let host = &self.hosts[&(part, copy)];
        if hangs { host.hang() } else { host.wake() }
    }

    /// Clients of both gateways.
    pub(crate) fn gateways(&self) -> Vec<Client> {
        [0, 1].iter().filter_map(|copy| Some(self.hosts.get(&(0, *copy))?.client())).collect()
    }

    /// What all hosts have printed.
    pub(crate) fn logs(&self) -> Vec<String> {
        self.hosts.values().flat_map(Host::log).collect()
    }
}

/// Customers at a steady pace.
pub(crate) struct Load {
    gateways: Vec<Client>,
    token: String,
    enough: AtomicBool,
    next: AtomicUsize,
    /// Reads that were answered with what was asked for.
    pub read: AtomicUsize,
    /// Orders that were made, some after being asked for more than once.
    pub ordered: AtomicUsize,
    /// Attempts that failed, and were made again: orders, and reads whose connection broke; not those that found no
    /// gateway to connect to.
    pub again: AtomicUsize,
    failures: Mutex<Vec<String>>,
    took: Mutex<Vec<(Instant, Duration)>>,
    orders: Mutex<BTreeMap<String, String>>,
}

impl Load {
    /// Customers of these gateways, with one account; they begin with [`run`](Self::run).
    pub(crate) async fn new(gateways: Vec<Client>) -> Arc<Load> {
        let body = json!({ "name": "Ann", "email": store::fresh_email(), "password": store::PASSWORD });
        let made = store::send(&gateways[0], Method::POST, "/api/auth/register", "", Some(body)).await;
        Arc::new(Load {
            gateways,
            token: store::token(&made),
            enough: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            ordered: AtomicUsize::new(0),
            again: AtomicUsize::new(0),
            failures: Mutex::default(),
            took: Mutex::default(),
            orders: Mutex::default(),
        })
    }

    /// Sends `rate` requests a second, whatever becomes of them, until [`end`](Self::end): one in ten is an order.
    pub(crate) async fn run(self: Arc<Self>, rate: u32) {
        self.run_within(rate, Semaphore::MAX_PERMITS).await;
    }

    /// The same, but for requests beyond `most` that are under way at one time: these wait.
    pub(crate) async fn run_within(self: Arc<Self>, rate: u32, most: usize) {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
        let under_way = Arc::new(Semaphore::new(most));
        let mut requests = tokio::task::JoinSet::new();
        while !self.enough.load(Ordering::SeqCst) {
            tick.tick().await;
            let permit = Arc::clone(&under_way).acquire_owned().await.unwrap();
            let load = Arc::clone(&self);
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            requests.spawn(async move {
                if number.is_multiple_of(10) {
                    load.order(number).await
                } else {
                    load.look(number).await
                }
                drop(permit);
            });
        }
        while let Some(done) = requests.join_next().await {
            done.unwrap();
        }
    }

    /// Waits until so many more have been read and ordered.
    pub(crate) async fn more(&self, reads: usize, orders: usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        let (reads, orders) = (count(&self.read) + reads, count(&self.ordered) + orders);
        eventually("customers are served", || async {
            (count(&self.read) >= reads && count(&self.ordered) >= orders).then_some(())
        })
        .await;
    }

    /// No more requests begin.
    pub(crate) fn end(&self) {
        self.enough.store(true, Ordering::SeqCst);
    }

    /// What was read in vain: each a failure that a customer saw.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }

    /// When each read began that was answered, and how long it took.
    pub(crate) fn took(&self) -> Vec<(Instant, Duration)> {
        self.took.lock().unwrap().clone()
    }

    /// What the customers log in with.
    pub(crate) fn token(&self) -> String {
        self.token.clone()
    }

    /// The orders that were made, by their keys.
    pub(crate) fn orders(&self) -> BTreeMap<String, String> {
        self.orders.lock().unwrap().clone()
    }

    /// Every order that was made is there, once, and there is no other.
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

    /// Reads something, at one gateway or, when no connection can be had or it breaks, at the other.
    async fn look(&self, number: usize) {
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
                    self.took.lock().unwrap().push((begun, begun.elapsed()));
                    return;
                }
                Ok(answer) => {
                    said.push(format!("{answer:?}"));
                    break;
                }
                Err(error) => {
                    if !error.is_connect() {
                        self.again.fetch_add(1, Ordering::SeqCst);
                    }
                    said.push(format!("{error:?}"));
                }
            }
        }
        self.failures.lock().unwrap().push(format!("GET {path}: {}", said.join("; ")));
    }

    /// Orders something, again and again under one key until it is made.
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
                    self.again.fetch_add(1, Ordering::SeqCst);
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
