//! The quota of unpaid orders for each customer.

use crate::harness::App;
use crate::harness::database::Database;
use crate::harness::store::{Shop, order_body};
use serde_json::json;

#[tokio::test]
async fn a_customer_has_no_more_open_orders_than_the_quota_on_sqlite() {
    the_quota_holds(Database::Sqlite).await;
}

#[tokio::test]
async fn a_customer_has_no_more_open_orders_than_the_quota_on_postgres() {
    the_quota_holds(Database::Postgres).await;
}

async fn the_quota_holds(database: Database) {
    let shop = Shop::of(database.configure(App::store()).variable("max_open_orders", 3)).await;
    let (ann, bob) = (shop.customer().await, shop.customer().await);
    let first = shop.order_with_key(&ann, "key-1", &[(1, 2)]).await.expect(201);
    // Concurrent orders cannot exceed the quota together.
    let lines = [(1, 2)];
    let requests = (0..12).map(|_| shop.post("/api/orders", &ann, order_body(&lines)));
    let answers = futures::future::join_all(requests).await;
    let made: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(made.len(), 2, "{answers:?}");
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        let body = refused.expect(429);
        assert_eq!(body["status"], 429, "{body}");
        let message = body["message"].as_str().unwrap();
        assert!(message.contains("no more than 3 orders") && message.contains("pay or cancel"), "{message}");
    }
    let list = shop.get("/api/orders?status=PENDING", &ann).await.expect(200);
    assert_eq!(list["pagination"]["totalRecords"], 3);
    // A repeated order still gets its answer, and other customers can order.
    let again = shop.order_with_key(&ann, "key-1", &[(1, 2)]).await.expect(201);
    assert_eq!(again["order"]["id"], first["order"]["id"]);
    shop.order(&bob, &[(1, 1)]).await;
    // A paid order no longer counts, and neither does a cancelled one.
    shop.order_with_key(&ann, "key-2", &[(1, 2)]).await.expect(429);
    shop.pay(first["order"]["id"].as_str().unwrap(), 15050).await;
    shop.order_with_key(&ann, "key-2", &[(1, 2)]).await.expect(201);
    shop.post("/api/orders", &ann, order_body(&lines)).await.expect(429);
    let id = made[0].json()["order"]["id"].as_str().unwrap().to_owned();
    shop.patch(&format!("/api/orders/{id}"), &ann, json!({ "status": "CANCELLED" })).await.expect(200);
    shop.post("/api/orders", &ann, order_body(&lines)).await.expect(201);
}
