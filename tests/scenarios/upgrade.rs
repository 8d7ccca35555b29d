//! Upgrade: the current build of the store starts on the data of release 0.1.0, and finds everything.
//!
//! `tests/state-0.1.0` has the data of two stores: one in the files of a single host, and one on PostgreSQL and NATS.
//! Its README lists the expected content; `state.json` and `postgres-nats.json` have the ids. When a format changes,
//! this data stays as it is: the release that changes the format must migrate it.

use crate::harness::nats::Nats;
use crate::harness::postgres::Postgres;
use crate::harness::store::{Shop, cents, token};
use crate::harness::{App, build, eventually};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// The configured secrets of the store on PostgreSQL and NATS; the other store has generated ones in its state folder.
const JWT_SECRET: &str = "0123456789abcdef0123456789abcdef";
const STRIPE_SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";

/// The status of each order after the delivery of the messages that were waiting.
const ORDERS: [(&str, &str); 6] = [
    ("unpaid", "PENDING"),
    ("paid", "PAID"),
    ("delivered", "DELIVERED"),
    ("cancelled", "CANCELLED"),
    ("waiting1", "PAID"),
    ("waiting2", "PAID"),
];

#[tokio::test]
async fn a_shop_of_release_0_1_0_on_one_host_is_taken_over() {
    // All of this store's data is in the state folder of one host.
    let app = App::store_alone().state_from(&file("state.tar.gz"));
    let secrets = generated_secrets(&app);
    assert_eq!(secrets.len(), 2, "{:?}", secrets.keys());
    let app = check("state.json", app).await;
    assert_eq!(generated_secrets(&app), secrets, "tokens and events that were signed before are valid");
}

#[tokio::test]
async fn a_shop_of_release_0_1_0_on_postgres_and_nats_is_taken_over() {
    let nats = Nats::start_on(&file("jetstream.tar.gz"));
    let database = Postgres::shared().database_from(&file("postgres.sql"));
    let config = format!("[nats]\nservers = [{:?}]\n\n[key_value_store.auth]\ntype = \"nats\"\n", nats.url());
    // The streams have the application's name `store`, which only an application on one host keeps.
    let app = App::store_alone()
        .variable("products_database_url", &database)
        .variable("orders_database_url", &database)
        // The products of 0.1.0 are already there.
        .unseeded()
        .variable("jwt_secret", JWT_SECRET)
        .variable("stripe_endpoint_secret", STRIPE_SECRET)
        .file("runtime-config.toml", config);
    check("postgres-nats.json", app).await;
}

/// Starts the store twice, so that the second start finds what the first one has migrated.
async fn check(content: &str, app: App) -> App {
    let content: Value = serde_json::from_str(&fs::read_to_string(file(content)).unwrap()).unwrap();
    let mut app = app;
    for _ in 0..2 {
        let host = app.start().await;
        let client = host.client();
        let shop = Shop { app, host, client };
        let tokens = accounts_log_in(&shop, &content).await;
        orders_are_in_their_states(&shop, &content, &tokens).await;
        dead_letters_are_listed(&shop).await;
        products_are_found(&shop).await;
        assert_eq!(shop.host.log_count("panicked"), 0);
        let Shop { app: stopped, host, .. } = shop;
        host.stop().await;
        app = stopped;
    }
    app
}

/// Every account logs in; returns their tokens by the name before the `@`.
async fn accounts_log_in(shop: &Shop, content: &Value) -> BTreeMap<String, String> {
    let password = content["password"].as_str().unwrap();
    let mut tokens = BTreeMap::new();
    for account in content["accounts"].as_array().unwrap() {
        // `boss@example.com (admin)`
        let email = account.as_str().unwrap().split(' ').next().unwrap();
        let answer = shop.login(email, password).await;
        assert_eq!(shop.verify(&token(&answer)).await.expect(201)["user"]["email"], email);
        shop.login(email, "not its password").await.expect(400);
        tokens.insert(email.split('@').next().unwrap().to_owned(), token(&answer));
    }
    assert_eq!(tokens.keys().collect::<Vec<_>>(), ["ann", "ben", "boss", "old"]);
    tokens
}

/// Checks that the administrator finds all orders with their status and total, and customers only their own.
async fn orders_are_in_their_states(shop: &Shop, content: &Value, tokens: &BTreeMap<String, String>) {
    let orders = content["orders"].as_object().unwrap();
    assert_eq!(orders.len(), ORDERS.len());
    for (name, state) in ORDERS {
        let (id, total) = (orders[name]["id"].as_str().unwrap(), cents(&orders[name]["total"]));
        let order = eventually(&format!("the order {name} is {state}"), || async {
            let order = shop.get(&format!("/api/orders/id/{id}"), &tokens["boss"]).await.expect(200);
            (order["status"] == state).then_some(order)
        })
        .await;
        assert_eq!(cents(&order["totalAmount"]), total, "{name}: {order}");
        assert_eq!(order["stripeChargeId"].is_string(), ["PAID", "DELIVERED"].contains(&state), "{name}: {order}");
        assert_eq!(order.get("refundDueAmount"), None, "{name} was paid once: {order}");
    }
    for (account, count) in [("boss", 6), ("ann", 3), ("ben", 3), ("old", 0)] {
        let list = shop.get("/api/orders?limit=100", &tokens[account]).await.expect(200);
        assert_eq!(list["pagination"]["totalRecords"], count, "{account}: {list}");
    }
}

async fn dead_letters_are_listed(shop: &Shop) {
    // An order is committed a moment before its message is acknowledged.
    let messages = eventually("only dead letters are left", || async {
        let messages = shop.events(&[]).await;
        messages.iter().all(|message| message["state"] == "dead").then_some(messages)
    })
    .await;
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(shop.events(&["--dead"]).await, messages);
    let reason = |text: &str| messages.iter().filter(|m| m["reason"].as_str().unwrap().contains(text)).count();
    assert_eq!((reason("there is no order"), reason("is over 1 \"usd\"")), (1, 1), "{messages:?}");
}

async fn products_are_found(shop: &Shop) {
    for (id, price) in [(3, 1234), (48, 1999)] {
        let product = shop.get(&format!("/api/products/{id}"), "").await.expect(200);
        assert_eq!(cents(&product["price"]), price, "{product}");
    }
    shop.get("/api/products/7", "").await.expect(404);
}

/// The secrets that the host generated, by name.
fn generated_secrets(app: &App) -> BTreeMap<String, String> {
    let entries = fs::read_dir(app.state().join("secrets")).unwrap().map(Result::unwrap);
    let secret =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap());
    entries.map(secret).collect()
}

fn file(name: &str) -> PathBuf {
    build::root().join("tests/state-0.1.0").join(name)
}
