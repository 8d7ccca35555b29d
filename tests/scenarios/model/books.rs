//! The model: the expected state of the store after each step. It keeps orders and their charges, and derives the rest.

use super::steps::{Flaw, News, STATUSES, Step, Who};
use crate::harness::store::{Shop, cents, order_body, try_order};
use crate::harness::stripe::{charge_refunded, charge_succeeded, checkout_session_expired};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The time to which an event's offset is added, in Unix seconds: 2026-11-23T02:13:20Z.
const START: u64 = 1_795_400_000;
/// The maximum total of an order, in cents: the provider's limit.
const MAX_ORDER_CENTS: u64 = 99_999_999;
/// The id of an order that does not exist.
const NO_ORDER: &str = "06c2f957-e9ca-41b2-bcae-4cb7c7a730f2";

/// One sequence's customer, products, orders and events.
pub(super) struct Books<'a> {
    shop: &'a Shop,
    admin: &'a str,
    stranger: &'a str,
    customer: String,
    /// Id and price in cents.
    products: Vec<(u64, u64)>,
    orders: Vec<Order>,
    /// The first use of each idempotency key: the lines, and the order's position.
    keys: BTreeMap<u8, (Vec<(u64, u32)>, usize)>,
    events: Vec<Value>,
}

struct Order {
    id: String,
    /// The answer to the request that made it.
    made: Value,
    cents: u64,
    status: &'static str,
    charges: BTreeMap<String, Charge>,
    /// The URL of its payment page, and whether the page is open.
    page: (String, bool),
}

#[derive(Clone, Copy)]
struct Charge {
    refunded: u64,
    at: u64,
}

impl<'a> Books<'a> {
    /// Starts a sequence with a new customer and three new products.
    pub(super) async fn open(shop: &'a Shop, admin: &'a str, stranger: &'a str) -> Books<'a> {
        let mut products = Vec::new();
        for price in [50, 1999, 750_001] {
            let body = json!({ "name": format!("product of {price} cents"), "price": price as f64 / 100.0 });
            let made = shop.post("/api/products", admin, body).await.expect(201);
            products.push((made["id"].as_u64().unwrap(), price));
        }
        let (customer, orders, keys) = (shop.customer().await, Vec::new(), BTreeMap::new());
        Books { shop, admin, stranger, customer, products, orders, keys, events: Vec::new() }
    }

    /// Runs a step, and checks the answer.
    pub(super) async fn play(&mut self, step: &Step) {
        let at = |order: &proptest::sample::Index, orders: &[Order]| match orders.len() {
            0 => None,
            count => Some(order.index(count)),
        };
        match step {
            Step::Order { key, pieces } => self.order(*key, pieces).await,
            Step::Reprice { product, cents } => {
                let (id, price) = &mut self.products[*product];
                *price = *cents;
                let body = json!({ "price": *cents as f64 / 100.0 });
                let answer = self.shop.patch(&format!("/api/products/{id}"), self.admin, body).await;
                assert_eq!(crate::harness::store::cents(&answer.expect(200)["price"]), *cents);
            }
            Step::List { status } => self.list(*status).await,
            Step::Repeat { event } if !self.events.is_empty() => {
                // A repeated event changes nothing: it is already applied, or it still does not fit.
                let event = self.events[event.index(self.events.len())].clone();
                self.send_event(event).await;
            }
            Step::Repeat { .. } => {}
            Step::Page { order } => {
                if let Some(at) = at(order, &self.orders) {
                    self.page(at).await;
                }
            }
            Step::EndPage { order } => {
                if let Some(at) = at(order, &self.orders) {
                    self.end_page(at).await;
                }
            }
            Step::Set { who, order, to } => {
                if let Some(at) = at(order, &self.orders) {
                    self.set(*who, at, to).await;
                }
            }
            Step::Tell { order, news, flaw } => {
                if let Some(at) = at(order, &self.orders) {
                    self.send_charge_event(at, news, *flaw).await;
                }
            }
            Step::OtherPage { order } => {
                if let Some(at) = at(order, &self.orders) {
                    self.send_event(checkout_session_expired(&self.orders[at].id)).await;
                }
            }
        }
    }

    async fn order(&mut self, key: Option<u8>, pieces: &[u32; 3]) {
        let lines: Vec<(u64, u32)> =
            self.products.iter().zip(pieces).filter(|(_, n)| **n > 0).map(|((id, _), n)| (*id, *n)).collect();
        let answer = match key {
            Some(key) => {
                try_order(&self.shop.client, &self.customer, &format!("key-{key}"), &lines).await.expect("an answer")
            }
            None => self.shop.post("/api/orders", &self.customer, order_body(&lines)).await,
        };
        if let Some((first, at)) = key.and_then(|key| self.keys.get(&key)) {
            if *first == lines {
                assert_eq!(answer.expect(201), self.orders[*at].made, "the same answer again");
            } else {
                answer.expect(422);
            }
            return;
        }
        let total = self.products.iter().zip(pieces).map(|((_, price), n)| price * u64::from(*n)).sum();
        if total > MAX_ORDER_CENTS {
            // A refused order does not even use up the key.
            answer.expect(400);
            return;
        }
        let made = answer.expect(201);
        if let Some(key) = key {
            self.keys.insert(key, (lines, self.orders.len()));
        }
        self.orders.push(Order {
            id: made["order"]["id"].as_str().unwrap().to_owned(),
            cents: total,
            status: "PENDING",
            charges: BTreeMap::new(),
            page: (made["paymentSession"]["url"].as_str().unwrap().to_owned(), true),
            made,
        });
        let order = self.orders.last().unwrap();
        order.compare(&order.made["order"]);
    }

    async fn page(&mut self, at: usize) {
        let order = &mut self.orders[at];
        let answer = self.shop.post(&format!("/api/orders/{}/pay", order.id), &self.customer, json!({})).await;
        if order.status != "PENDING" {
            answer.expect(409);
            return;
        }
        let url = answer.expect(201)["paymentSession"]["url"].as_str().unwrap().to_owned();
        assert_eq!(url == order.page.0, order.page.1, "an order has one page, and another only when that has ended");
        order.page = (url, true);
    }

    async fn end_page(&mut self, at: usize) {
        let order = &mut self.orders[at];
        let page = order.page.0.rsplit('/').next().unwrap();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let path = format!("/stripe-sandbox/expire/{page}");
        assert_eq!(self.shop.client.send(Method::POST, &path, &headers, Some(Vec::new())).await.status, 200);
        order.page.1 = false;
        self.shop.wait_for_events_about(&order.id).await;
    }

    async fn set(&mut self, who: Who, at: usize, to: &'static str) {
        let order = &mut self.orders[at];
        let (token, status) = match who {
            Who::Owner => (self.customer.as_str(), 403),
            Who::Admin => (self.admin, 409),
            Who::Stranger => (self.stranger, 404),
        };
        let expected = match (who, order.status, to) {
            (_, _, "PAID" | "REFUNDED") => 400,
            (Who::Stranger, _, _) => 404,
            (_, from, to) if from == to => 200,
            (_, "PENDING", "CANCELLED") | (Who::Admin, "PAID", "DELIVERED") => 200,
            (_, _, "CANCELLED") => 409,
            _ => status,
        };
        let path = format!("/api/orders/{}", order.id);
        let answer = self.shop.patch(&path, token, json!({ "status": to })).await;
        assert_eq!(answer.status, expected, "{who:?} sets {} to {to}: {answer:?}", order.status);
        if expected == 200 {
            order.status = to;
            assert_eq!(answer.json()["status"], to);
        }
        if order.status == "CANCELLED" && expected == 200 {
            order.page.1 = false;
        }
    }

    async fn send_charge_event(&mut self, at: usize, news: &News, flaw: Option<Flaw>) {
        let order = &self.orders[at];
        let amount = match flaw {
            Some(Flaw::Amount(difference)) => order.cents.saturating_add_signed(difference),
            _ => order.cents,
        };
        let id = if matches!(flaw, Some(Flaw::NoOrder)) { NO_ORDER } else { &order.id };
        let mut event = charge_succeeded(id, amount);
        let charge = format!("ch_{}_{}", order.id, news.charge);
        event["data"]["object"]["id"] = charge.as_str().into();
        event["data"]["object"]["receipt_url"] = receipt(&charge).into();
        let refunded = news.refunded.map(|share| (order.cents * share / 100).max(1));
        if let Some(refunded) = refunded {
            event = charge_refunded(&event, refunded);
        }
        event["created"] = (START + news.at).into();
        if matches!(flaw, Some(Flaw::Currency)) {
            event["data"]["object"]["currency"] = "eur".into();
        }
        if flaw.is_none() {
            self.orders[at].record_charge(charge, Charge { refunded: refunded.unwrap_or(0), at: news.at });
        }
        self.send_event(event).await;
    }

    async fn send_event(&mut self, event: Value) {
        self.shop.send_event_and_wait(&event).await.expect(200);
        self.shop.wait_for_events_about(event["id"].as_str().unwrap()).await;
        self.events.push(event);
    }

    async fn list(&self, status: Option<&'static str>) {
        let path = format!("/api/orders{}?limit=100", status.map(|status| format!("/{status}")).unwrap_or_default());
        let list = self.shop.get(&path, &self.customer).await.expect(200);
        let seen = list["data"].as_array().unwrap().iter().map(|order| (order["id"].clone(), order["status"].clone()));
        let of_status = |order: &&Order| status.is_none_or(|status| status == order.status);
        let expected = self.orders.iter().rev().filter(of_status).map(|order| (json!(order.id), json!(order.status)));
        assert_eq!(seen.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{path}");
    }

    /// Compares everything with the store.
    pub(super) async fn compare(&self) {
        for status in STATUSES.into_iter().map(Some).chain([None]) {
            self.list(status).await;
        }
        for order in &self.orders {
            let seen = self.shop.order_by_id(&self.customer, &order.id).await;
            order.compare(&seen);
            assert_eq!(seen["OrderItem"], order.made["order"]["OrderItem"], "lines never change");
        }
        for (key, (lines, at)) in &self.keys {
            let again = self.shop.order_with_key(&self.customer, &format!("key-{key}"), lines).await;
            assert_eq!(again.expect(201), self.orders[*at].made);
        }
    }
}

impl Order {
    /// Records a charge, and updates the status unless it was set by hand.
    fn record_charge(&mut self, id: String, news: Charge) {
        let known = self.charges.entry(id).or_insert(news);
        *known = Charge { refunded: known.refunded.max(news.refunded), at: known.at.min(news.at) };
        if !["CANCELLED", "DELIVERED"].contains(&self.status) {
            let all_back = self.charges.values().all(|charge| charge.refunded == self.cents);
            self.status = if all_back { "REFUNDED" } else { "PAID" };
        }
    }

    /// The charge that pays the order: the first one that was not completely refunded, or else the first one.
    fn paid_by(&self) -> Option<(&String, &Charge)> {
        self.charges.iter().min_by_key(|(id, charge)| (charge.refunded == self.cents, charge.at, *id))
    }

    /// Compares the order with the store's answer, to the cent.
    fn compare(&self, seen: &Value) {
        let paid_by = self.paid_by();
        // The amount due is all that was paid and not refunded, without the charge that pays the order.
        let left: u64 = self.charges.values().map(|charge| self.cents - charge.refunded).sum();
        let kept = paid_by.filter(|_| self.status != "CANCELLED").map_or(0, |(_, charge)| self.cents - charge.refunded);
        let amount = |name: &str| seen.get(name).map_or(0, cents);
        assert_eq!(
            (&seen["status"], amount("totalAmount"), amount("refundedAmount"), amount("refundDueAmount")),
            (&json!(self.status), self.cents, paid_by.map_or(0, |(_, charge)| charge.refunded), left - kept),
            "status, total, refunded, due back: {seen}"
        );
        let made = seen["createdAt"].as_str().unwrap();
        let time = paid_by.map(|(_, charge)| format!("2026-11-23T02:13:2{}.000Z", charge.at).max(made.to_owned()));
        let expected = json!([paid_by.is_some(), time, paid_by.map(|(id, _)| id), paid_by.map(|(id, _)| receipt(id))]);
        let said = ["paid", "paidAt", "stripeChargeId", "receiptUrl"].map(|name| seen[name].clone());
        assert_eq!(json!(said), expected, "{seen}");
    }
}

fn receipt(charge: &str) -> String {
    format!("https://pay.stripe.com/receipts/{charge}")
}
