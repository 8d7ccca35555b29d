//! The host is killed (`kill -9`) at the four points where a payment could get lost or be counted twice, and started
//! again on the same state. Then the provider repeats the events that were not acknowledged, clients repeat the
//! requests that were not answered, and the amounts must be right to the cent.
//!
//! The product has no test hooks: the test reaches each point from outside, by a lock on a database, by a proxy that
//! drops what goes to NATS, or by a provider that does not answer. If there are several hosts, all are killed. A seed
//! decides what else happens at that moment. The seeds of a point run one after the other on the same state, so each
//! one continues after all crashes before it. The full matrix is
//! `CRASH_SEEDS=25 cargo test --release --test scenarios -- crash`.

use crate::harness::database::{Database, WriteLock, query_number};
use crate::harness::queue_gate::QueueGate;
use crate::harness::store::{STRIPE_SECRET, Shop, cents, try_order};
use crate::harness::stripe::{charge_refunded, charge_succeeded, checkout_session_expired, try_deliver};
use crate::harness::stripe_api::{Next, StripeApi};
use crate::harness::{Answer, App, Random, eventually, queue};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Where the host is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// The events are stored, but no handler can commit.
    StoredDelivered,
    /// A handler has committed, but its message cannot be removed from the queue.
    CommittedAcknowledged,
    /// The order is committed, but the request for its payment page got lost.
    CommittedRequested,
    /// The provider has made the payment page, but its answer has not arrived.
    CreatedSaved,
}

macro_rules! crashes {
    ($($name:ident: $point:ident on $database:ident;)*) => {
        $(#[tokio::test]
        async fn $name() {
            matrix(Point::$point, Database::$database).await;
        })*
    };
}

crashes! {
    between_stored_and_delivered_on_sqlite: StoredDelivered on Sqlite;
    between_stored_and_delivered_on_postgres: StoredDelivered on Postgres;
    between_committed_and_acknowledged_on_sqlite: CommittedAcknowledged on Sqlite;
    between_committed_and_acknowledged_on_postgres: CommittedAcknowledged on Postgres;
    between_order_committed_and_page_requested_on_sqlite: CommittedRequested on Sqlite;
    between_order_committed_and_page_requested_on_postgres: CommittedRequested on Postgres;
    between_page_created_and_saved_on_sqlite: CreatedSaved on Sqlite;
    between_page_created_and_saved_on_postgres: CreatedSaved on Postgres;
}

async fn matrix(point: Point, database: Database) {
    let seeds = std::env::var("CRASH_SEEDS").map_or(2, |n| n.parse().expect("CRASH_SEEDS is a number"));
    let stripe = StripeApi::start().await;
    // The return URLs must not contain the host's port, which changes: an idempotency key stands for fixed parameters.
    let app = database.configure(stripe.store().variable("public_url", "https://shop.example"));
    let (queue, app) = QueueGate::before(app).await;
    let mut shop = Shop::of(app).await;
    let mut books = Books { stripe, queue, token: shop.customer().await, orders: Vec::new(), events: 0 };
    for seed in 0..seeds {
        println!("{point:?} on {database:?}: seed {seed}");
        shop = books.crash(shop, point, &mut Random::new(seed << 8 | point as u64)).await;
    }
}

/// The expected state of the store.
struct Books {
    stripe: StripeApi,
    queue: QueueGate,
    token: String,
    orders: Vec<Placed>,
    /// How many different events the provider has sent.
    events: i64,
}

/// An order that a client places under an idempotency key.
struct Placed {
    key: String,
    lines: Vec<(u64, u32)>,
    /// The id, which is known once the client got an answer; so is the amount.
    id: Option<String>,
    cents: u64,
    charge: Option<Value>,
    refunded: u64,
}

/// The requests that may get no answer, because the host is killed.
#[derive(Default)]
struct UnderWay {
    events: Vec<(Value, JoinHandle<Option<Answer>>)>,
    /// Each with its position in [`Books::orders`].
    orders: Vec<(usize, JoinHandle<Option<Answer>>)>,
}

impl Books {
    /// One crash, and the checks after it.
    async fn crash(&mut self, shop: Shop, point: Point, chance: &mut Random) -> Shop {
        let first = self.orders.len();
        let known = self.plan_orders(1 + chance.below(4), chance);
        self.repeat_orders(&shop, first).await;
        let events = self.new_events(&known, chance);
        let (app, under_way) = match point {
            Point::StoredDelivered => self.kill_when_stored(shop, events, chance).await,
            Point::CommittedAcknowledged => self.kill_when_committed(shop, events, chance).await,
            Point::CommittedRequested => self.kill_when_requested(shop, events, Next::Lost, chance).await,
            Point::CreatedSaved => self.kill_when_requested(shop, events, Next::Silence, chance).await,
        };
        let mut unacknowledged = Vec::new();
        let mut acknowledged = Vec::new();
        for (event, answer) in under_way.events {
            let taken = answer.await.unwrap().is_some_and(|answer| answer.status == 200);
            if taken { &mut acknowledged } else { &mut unacknowledged }.push(event);
        }
        for (at, answer) in under_way.orders {
            if let Some(answer) = answer.await.unwrap().filter(|answer| answer.status == 201) {
                self.orders[at].record_answer(&answer.json());
            }
        }
        println!("{} events acknowledged, {} not", acknowledged.len(), unacknowledged.len());

        self.stripe.next([]);
        let shop = Shop::of(app).await;
        // The provider also repeats an event that was acknowledged.
        let twice = (!acknowledged.is_empty()).then(|| acknowledged[chance.below(acknowledged.len())].clone());
        for event in unacknowledged.iter().chain(&twice) {
            eventually("the event is taken", || async { (shop.send_event(event).await.status == 200).then_some(()) })
                .await;
        }
        self.repeat_orders(&shop, first).await;
        shop.wait_for_events().await;
        self.check(&shop, first).await;
        shop
    }

    /// Adds new orders that the clients have not sent yet.
    fn plan_orders(&mut self, count: usize, chance: &mut Random) -> Vec<usize> {
        let first = self.orders.len();
        for at in first..first + count {
            let product = 1 + chance.below(40) as u64;
            let lines = vec![(product, 1 + chance.below(9) as u32), (product + 7, 1 + chance.below(3) as u32)];
            let key = format!("key-{at}");
            self.orders.push(Placed { key, lines, id: None, cents: 0, charge: None, refunded: 0 });
        }
        (first..first + count).collect()
    }

    /// Sends the orders from `first` on, each twice at once, even if they were sent before. All must get answers now,
    /// and the same answers as before.
    async fn repeat_orders(&mut self, shop: &Shop, first: usize) {
        let sent = |order: &Placed| {
            let (key, lines) = (order.key.clone(), order.lines.clone());
            let token = &self.token;
            async move { futures::join!(shop.order_with_key(token, &key, &lines), shop.order_with_key(token, &key, &lines)) }
        };
        let answers = join_all(self.orders[first..].iter().map(sent)).await;
        for (order, (one, other)) in self.orders[first..].iter_mut().zip(answers) {
            order.record_answer(&one.expect(201));
            assert_eq!(other.expect(201), one.json(), "one key, one answer");
        }
    }

    /// New events for these orders: each is paid, some are refunded, and some events come twice.
    fn new_events(&mut self, orders: &[usize], chance: &mut Random) -> Vec<Value> {
        let mut events = Vec::new();
        for at in orders {
            let order = &mut self.orders[*at];
            let id = order.id.as_deref().unwrap();
            let succeeded = charge_succeeded(id, order.cents);
            if chance.once_in(3) {
                order.refunded = [order.cents, 1 + chance.below(order.cents as usize) as u64][chance.below(2)];
                events.push(charge_refunded(&succeeded, order.refunded));
            }
            if chance.once_in(3) {
                events.push(checkout_session_expired(id));
            }
            order.charge = Some(succeeded["data"]["object"].clone());
            events.push(succeeded);
        }
        self.events += events.len() as i64;
        let copies = chance.below(3);
        for _ in 0..copies {
            events.push(events[chance.below(events.len())].clone());
        }
        chance.shuffle(&mut events);
        events
    }

    /// Kills the host when it has stored the events, but cannot have applied one.
    async fn kill_when_stored(&mut self, shop: Shop, events: Vec<Value>, chance: &mut Random) -> (App, UnderWay) {
        let before = applied(&shop.app).await;
        let held = WriteLock::orders(&shop.app).await;
        let mut under_way = UnderWay::post(&shop, events);
        self.order_more(&shop, &mut under_way, 1);
        let posted = under_way.events.len();
        under_way.acknowledged().await;
        pass_some_time(&shop, chance).await;
        let app = shop.kill();
        held.release().await;
        assert_eq!(queue::waiting(&app, "").await, posted, "not every event is stored");
        assert_eq!(applied(&app).await, before, "an event was applied before the kill");
        (app, under_way)
    }

    /// Kills the host when a handler has committed and its message is still in the queue.
    async fn kill_when_committed(&mut self, shop: Shop, events: Vec<Value>, chance: &mut Random) -> (App, UnderWay) {
        let before = applied(&shop.app).await;
        let held = WriteLock::orders(&shop.app).await;
        let mut under_way = UnderWay::post(&shop, events);
        self.order_more(&shop, &mut under_way, 1);
        under_way.acknowledged().await;
        let queued = queue::waiting(&shop.app, "").await;
        eventually("a handler is at work", || async { queue::delivering(&shop.app).await.then_some(()) }).await;
        self.queue.shut(&shop.app).await;
        held.release().await;
        eventually("a handler has committed", || async { (applied(&shop.app).await > before).then_some(()) }).await;
        pass_some_time(&shop, chance).await;
        let app = shop.kill();
        self.queue.open().await;
        assert_eq!(queue::waiting(&app, "").await, queued, "a message was acknowledged before the kill");
        (app, under_way)
    }

    /// Kills the host when it has requested payment pages and the provider has treated some requests as `next` says.
    async fn kill_when_requested(
        &mut self,
        shop: Shop,
        events: Vec<Value>,
        next: Next,
        chance: &mut Random,
    ) -> (App, UnderWay) {
        let count = 1 + chance.below(4);
        let mut script = vec![next; 1 + chance.below(count)];
        script.resize_with(count, || Next::Session);
        chance.shuffle(&mut script);
        self.stripe.asked();
        self.stripe.next(script);
        let mut under_way = UnderWay::post(&shop, events);
        self.order_more(&shop, &mut under_way, count);
        eventually("all payment pages are requested", || async { (self.stripe.waiting() >= count).then_some(()) })
            .await;
        pass_some_time(&shop, chance).await;
        (shop.kill(), under_way)
    }

    /// Sends new orders and does not wait for their answers.
    fn order_more(&mut self, shop: &Shop, under_way: &mut UnderWay, count: usize) {
        for at in self.plan_orders(count, &mut Random::new(self.orders.len() as u64)) {
            let (key, lines) = (self.orders[at].key.clone(), self.orders[at].lines.clone());
            let (client, token) = (shop.client.clone(), self.token.clone());
            let task = async move { try_order(&client, &token, &key, &lines).await.ok() };
            under_way.orders.push((at, tokio::spawn(task)));
        }
    }

    /// Compares the orders from `first` on, and the total of all orders, with the expected state.
    async fn check(&self, shop: &Shop, first: usize) {
        let sessions = self.stripe.sessions();
        for order in &self.orders[first..] {
            let id = order.id.as_deref().unwrap();
            let pages: Vec<_> = sessions.iter().filter(|key| key.starts_with(id)).collect();
            assert_eq!(pages.len(), 1, "payment pages: {pages:?}");
            let seen = shop.order_by_id(&self.token, id).await;
            let charge = order.charge.clone().unwrap_or_default();
            assert_eq!((&seen["status"], cents(&seen["totalAmount"])), (&json!(order.status()), order.cents), "{seen}");
            assert_eq!((&seen["stripeChargeId"], &seen["receiptUrl"]), (&charge["id"], &charge["receipt_url"]));
            let refunded = seen.get("refundedAmount").map_or(0, cents);
            assert_eq!((refunded, seen.get("refundDueAmount")), (order.refunded, None), "{seen}");
        }
        let list = |path: &'static str| shop.get(path, &self.token);
        let all = list("/api/orders").await.expect(200);
        assert_eq!(all["pagination"]["totalRecords"], self.orders.len(), "orders");
        let paid = list("/api/orders/PAID?limit=1000").await.expect(200);
        let paid: u64 = paid["data"].as_array().unwrap().iter().map(|order| cents(&order["totalAmount"])).sum();
        let captured = |order: &&Placed| order.charge.is_some() && order.refunded < order.cents;
        assert_eq!(paid, self.orders.iter().filter(captured).map(|order| order.cents).sum::<u64>(), "PAID in all");
        let charges = self.orders.iter().filter(|order| order.charge.is_some());
        assert_eq!(
            query_number(&shop.app, "SELECT count(*) FROM charges").await,
            charges.clone().count() as i64,
            "charges"
        );
        let captured =
            query_number(&shop.app, "SELECT CAST(coalesce(sum(amount_cents), 0) AS BIGINT) FROM charges").await;
        assert_eq!(captured, charges.map(|order| order.cents as i64).sum::<i64>(), "the total of all captured charges");
        assert_eq!(applied(&shop.app).await, self.events, "events");
        assert_eq!(shop.host.log_count("flagged for refund") + queue::dead(&shop.app).await, 0);
    }
}

impl Placed {
    /// Records an answer; all answers for one key must be equal.
    fn record_answer(&mut self, made: &Value) {
        let id = made["order"]["id"].as_str().unwrap().to_owned();
        assert_eq!(*self.id.get_or_insert(id.clone()), id, "{} has two orders", self.key);
        self.cents = cents(&made["order"]["totalAmount"]);
    }

    fn status(&self) -> &'static str {
        match self.charge {
            None => "PENDING",
            Some(_) if self.refunded == self.cents => "REFUNDED",
            Some(_) => "PAID",
        }
    }
}

impl UnderWay {
    /// Sends events and does not wait for their answers.
    fn post(shop: &Shop, events: Vec<Value>) -> UnderWay {
        let post = |event: Value| {
            let (client, sent) = (shop.client.clone(), event.clone());
            (event, tokio::spawn(async move { try_deliver(&client, STRIPE_SECRET, &sent).await.ok() }))
        };
        UnderWay { events: events.into_iter().map(post).collect(), orders: Vec::new() }
    }

    /// Waits until all events are answered, for which they only have to be stored.
    async fn acknowledged(&self) {
        let all = || async { self.events.iter().all(|(_, answer)| answer.is_finished()).then_some(()) };
        eventually("all events are stored", all).await;
    }
}

/// How many events the component `orders` has applied.
async fn applied(app: &App) -> i64 {
    query_number(app, "SELECT count(*) FROM events").await
}

/// Waits a short random time.
async fn pass_some_time(shop: &Shop, chance: &mut Random) {
    for _ in 0..chance.below(5) {
        shop.client.get("/api/products/1").await.expect(200);
    }
}
