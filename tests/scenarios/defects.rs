//! The defects that were measured in the NestJS system that the store replaces: one scenario, or one row, for each.
//!
//! - here: fraction, fraction-id, int-overflow, loose-numbers, price-1e-7, null-500, infinity, max-payload, numeric id,
//!   unknown id, update-deleted, total, free order, gone, rename, random-order, paid-filter, cancelled-paid
//! - `accounts`: bcrypt-blocks, bcrypt72, enumeration, concurrent-register, e-mail case
//! - `outages`: status codes, orphan, event-lost, no-receipt, signed garbage, future stamp, text/plain webhook
//! - `access` and `tokens`: no-auth, jwt
//! - `payments`: dup-webhook, no-metadata
//! - `golden`: JSON parse texts, and the wording of all the others
//! - `edge` and `isolation`: hang, killed-in-flight
//! - the client of all scenarios: x-powered-by
//!
//! The defects of its NATS connections (two-instances, poison) concern links between hosts.

use crate::harness::Answer;
use crate::harness::store::{Shop, order_body};
use crate::harness::stripe;
use http::Method;
use serde_json::{Value, json};

/// Makes a product, and returns its id.
async fn product(shop: &Shop, admin: &str, name: &str, price: Value) -> u64 {
    let made = shop.post("/api/products", admin, json!({ "name": name, "price": price })).await.expect(201);
    made["id"].as_u64().expect("a number")
}

/// Makes an order, and returns its id.
async fn order(shop: &Shop, token: &str, lines: &[(u64, u32)]) -> String {
    shop.order(token, lines).await["order"]["id"].as_str().expect("a number").to_owned()
}

/// The ids in a list of orders.
fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().expect("a list").iter().map(|order| order["id"].as_str().unwrap()).collect()
}

/// Whether an error has this message, possibly among others.
fn says(answer: &Answer, message: &str) -> bool {
    match &answer.json()["message"] {
        Value::Array(messages) => messages.iter().any(|text| text == message),
        text => text == message,
    }
}

const NO_NUMBER: &str = "price must be a number conforming to the specified constraints";
const NUMERIC: &str = "Validation failed (numeric string is expected)";
const UUID: &str = "00000000-0000-4000-8000-000000000000";

#[tokio::test]
async fn input_that_the_nestjs_system_mishandled_is_refused_with_a_reason() {
    let shop = Shop::start().await;
    let admin = shop.admin().await;
    let gone = product(&shop, &admin, "Gone", json!(1)).await;
    shop.send(Method::DELETE, &format!("/api/products/{gone}"), &admin, None).await.expect(200);
    let free = product(&shop, &admin, "Free", json!(0)).await;
    let (products, orders) = ("/api/products?limit=1000", "/api/orders");
    let before = (shop.get(products, &admin).await.json(), shop.get(orders, &admin).await.json());

    let item = |id: Value, quantity: Value| json!({ "items": [{ "productId": id, "quantity": quantity }] });
    let (get, post, patch, delete) = (Method::GET, Method::POST, Method::PATCH, Method::DELETE);
    let of = |path: &str, id: &dyn std::fmt::Display| format!("/api/{path}/{id}");
    let (of_gone, of_none) = (of("products", &gone), of("products", &9999));
    let no_gone = format!("Product #{gone} not found");
    let none = Value::Null;
    let cases = [
        ("fraction", &post, orders, item(json!(1), json!(1.9)), 400, "items.0.quantity must be an integer number"),
        ("fraction-id", &post, orders, item(json!(1.5), json!(1)), 400, "items.0.productId must be an integer number"),
        (
            "int-overflow",
            &post,
            orders,
            item(json!(1), json!(2_147_483_648_u64)),
            400,
            "items.0.quantity must not be greater than 1000000",
        ),
        ("loose-numbers", &post, "/api/products", json!({ "name": "a", "price": "" }), 400, NO_NUMBER),
        ("loose-numbers", &post, "/api/products", json!({ "name": "a", "price": true }), 400, NO_NUMBER),
        ("loose-numbers", &post, "/api/products", json!({ "name": "a", "price": "0x10" }), 400, NO_NUMBER),
        ("price-1e-7", &post, "/api/products", json!({ "name": "a", "price": 1e-7 }), 400, NO_NUMBER),
        ("price-1e-7", &post, "/api/products", json!({ "name": "a", "price": "1e-7" }), 400, NO_NUMBER),
        ("null-500", &patch, "/api/products/1", json!({ "name": null }), 400, "name must be a string"),
        ("null-500", &patch, "/api/products/1", json!({ "price": null }), 400, NO_NUMBER),
        ("infinity", &get, "/api/products?limit=Infinity", none.clone(), 400, "limit must be a positive number"),
        ("infinity", &get, "/api/orders?limit=Infinity", none.clone(), 400, "limit must be a positive number"),
        ("infinity", &get, "/api/products?page=1.5", none.clone(), 400, "page must be an integer number"),
        ("infinity", &get, "/api/orders?page=1.5", none.clone(), 400, "page must be an integer number"),
        ("infinity", &get, "/api/products?limit=1001", none.clone(), 400, "limit must not be greater than 1000"),
        ("infinity", &get, "/api/orders?limit=1001", none.clone(), 400, "limit must not be greater than 1000"),
        ("numeric id", &get, "/api/products/abc", none.clone(), 400, NUMERIC),
        ("numeric id", &patch, "/api/products/abc", json!({ "price": 1 }), 400, NUMERIC),
        ("numeric id", &delete, "/api/products/abc", none.clone(), 400, NUMERIC),
        ("unknown id", &patch, &of_none, json!({ "price": 1 }), 404, "Product #9999 not found"),
        ("unknown id", &delete, &of_none, none.clone(), 404, "Product #9999 not found"),
        ("unknown id", &delete, &of_gone, none.clone(), 404, &no_gone),
        (
            "unknown id",
            &patch,
            &of("orders", &UUID),
            json!({ "status": "CANCELLED" }),
            404,
            &format!("Order with id #{UUID} not found"),
        ),
        ("update-deleted", &patch, &of_gone, json!({ "price": 1 }), 404, &no_gone),
        ("gone", &post, orders, order_body(&[(1, 1), (gone, 1)]), 400, "Some products were not found"),
        (
            "free order",
            &post,
            orders,
            order_body(&[(free, 3)]),
            400,
            "an order must cost more than 0: there would be nothing to pay",
        ),
    ];
    for (defect, method, path, body, status, message) in cases {
        let body = (!body.is_null()).then_some(body);
        let what = format!("{defect}: {method} {path} {}", body.clone().unwrap_or_default());
        let answer = shop.send(method.clone(), path, &admin, body).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(says(&answer, message), "{what}: {answer:?}");
    }
    assert_eq!(shop.get(products, &admin).await.json(), before.0, "something was changed");
    assert_eq!(shop.get(orders, &admin).await.json(), before.1, "something was ordered");
}

#[tokio::test]
async fn a_price_may_be_written_as_a_plain_decimal() {
    let shop = Shop::start().await;
    let admin = shop.admin().await;
    for (written, price) in [(json!("9.90"), json!(9.9)), (json!(9.9), json!(9.9)), (json!("7"), json!(7))] {
        let id = product(&shop, &admin, "a", written).await;
        assert_eq!(shop.get(&format!("/api/products/{id}"), "").await.expect(200)["price"], price);
    }
}

#[tokio::test]
async fn a_product_with_any_name_can_be_bought() {
    let shop = Shop::start().await;
    let (admin, ann) = (shop.admin().await, shop.customer().await);
    let blank = product(&shop, &admin, " ", json!(10)).await;
    let long = product(&shop, &admin, &"é".repeat(255), json!(10)).await;
    let lines: Vec<_> = (0..1000).map(|i| (if i % 2 == 0 { blank } else { long }, 1)).collect();
    for lines in [&lines[..], &lines[..2]] {
        let made = shop.order(&ann, lines).await;
        let url = made["paymentSession"]["url"].as_str().unwrap();
        let page = url.strip_prefix(&format!("http://{}", shop.host.address())).expect("a page of the sandbox");
        assert_eq!(shop.client.get(page).await.status, 200);
        let names: Vec<_> = lines.iter().zip(made["order"]["OrderItem"].as_array().unwrap()).collect();
        assert_eq!(names.len(), lines.len());
        for ((id, _), item) in names {
            let name = if *id == blank { " ".to_owned() } else { "é".repeat(255) };
            assert_eq!(item["name"], name);
        }
    }
}

#[tokio::test]
async fn a_total_is_the_sum_of_all_lines() {
    let shop = Shop::start().await;
    let (admin, ann) = (shop.admin().await, shop.customer().await);
    let dear = product(&shop, &admin, "Dear", json!(1000)).await;
    let cheap = product(&shop, &admin, "Cheap", json!(10)).await;
    let tenth = product(&shop, &admin, "Tenth", json!(0.1)).await;
    for (lines, total, pieces) in [
        (&[(dear, 3), (cheap, 1)][..], json!(3010), 4),
        (&[(cheap, 1), (dear, 3)], json!(3010), 4),
        (&[(tenth, 1), (tenth, 6)], json!(0.7), 7),
        // 75.25 each.
        (&[(1, 1), (dear, 1), (1, 1)], json!(1150.5), 3),
    ] {
        let made = shop.order(&ann, lines).await;
        assert_eq!((&made["order"]["totalAmount"], &made["order"]["totalItems"]), (&total, &json!(pieces)));
        let id = made["order"]["id"].as_str().unwrap();
        assert_eq!(shop.order_by_id(&ann, id).await["totalAmount"], total);
    }
}

#[tokio::test]
async fn an_order_keeps_its_names_and_prices_when_products_change() {
    let shop = Shop::start().await;
    let (admin, ann) = (shop.admin().await, shop.customer().await);
    let kept = product(&shop, &admin, "Lamp", json!(19.99)).await;
    let lost = product(&shop, &admin, "Chair", json!(40)).await;
    let id = order(&shop, &ann, &[(kept, 2), (lost, 1)]).await;
    let as_ordered = shop.order_by_id(&ann, &id).await;
    assert_eq!(as_ordered["OrderItem"][0]["name"], "Lamp");

    let changes = json!({ "name": "Lantern", "price": 5 });
    shop.patch(&format!("/api/products/{kept}"), &admin, changes).await.expect(200);
    shop.send(Method::DELETE, &format!("/api/products/{lost}"), &admin, None).await.expect(200);
    assert_eq!(shop.order_by_id(&ann, &id).await, as_ordered, "after a change and a deletion");
    shop.sql("products", &format!("DELETE FROM products WHERE id = {lost}"));
    assert_eq!(shop.order_by_id(&ann, &id).await, as_ordered, "after the row was removed");
}

#[tokio::test]
async fn orders_are_listed_newest_first_and_pages_fit_together() {
    let shop = Shop::start().await;
    let ann = shop.customer().await;
    let mut made = Vec::new();
    for _ in 0..10 {
        made.insert(0, order(&shop, &ann, &[(1, 1)]).await);
    }
    for path in ["/api/orders?", "/api/orders?status=PENDING&", "/api/orders/PENDING?"] {
        let mut listed = Vec::new();
        for page in 1..=4 {
            let list = shop.get(&format!("{path}limit=3&page={page}"), &ann).await.expect(200);
            assert_eq!((&list["pagination"]["totalRecords"], &list["pagination"]["lastPage"]), (&json!(10), &json!(4)));
            listed.extend(ids(&list).into_iter().map(str::to_owned));
        }
        assert_eq!(listed, made, "{path}");
    }
}

/// Makes an order with this status, which an administrator or the payment provider sets.
async fn order_that_is(shop: &Shop, admin: &str, status: &str) -> String {
    let (id, cents) = shop.small_order(admin).await;
    if matches!(status, "PAID" | "DELIVERED" | "REFUNDED") {
        let charge = shop.pay(&id, cents).await;
        if status == "REFUNDED" {
            shop.send_event_and_wait(&stripe::charge_refunded(&charge, cents)).await.expect(200);
        }
    }
    if matches!(status, "DELIVERED" | "CANCELLED") {
        shop.patch(&format!("/api/orders/{id}"), admin, json!({ "status": status })).await.expect(200);
    }
    assert_eq!(shop.order_by_id(admin, &id).await["status"], status);
    id
}

const STATUSES: [&str; 5] = ["PENDING", "PAID", "DELIVERED", "CANCELLED", "REFUNDED"];

#[tokio::test]
async fn orders_of_every_status_can_be_listed() {
    let shop = Shop::start().await;
    let admin = shop.admin().await;
    for status in STATUSES {
        let id = order_that_is(&shop, &admin, status).await;
        for path in [format!("/api/orders?status={status}"), format!("/api/orders/{status}")] {
            let list = shop.get(&path, &admin).await.expect(200);
            assert_eq!((ids(&list), &list["pagination"]["totalRecords"]), (vec![id.as_str()], &json!(1)), "{path}");
        }
    }
}

#[tokio::test]
async fn an_order_allows_only_valid_status_changes() {
    let shop = Shop::start().await;
    let admin = shop.admin().await;
    for from in STATUSES {
        // Every status that the API accepts.
        for to in ["PENDING", "DELIVERED", "CANCELLED"] {
            let id = order_that_is(&shop, &admin, from).await;
            let answer = shop.patch(&format!("/api/orders/{id}"), &admin, json!({ "status": to })).await;
            let moves = matches!((from, to), ("PENDING", "CANCELLED") | ("PAID", "DELIVERED")) || from == to;
            assert_eq!(answer.status, if moves { 200 } else { 409 }, "{from} to {to}: {answer:?}");
            let after = if moves { to } else { from };
            assert_eq!(shop.order_by_id(&admin, &id).await["status"], after, "{from} to {to}");
            if !moves {
                assert!(says(&answer, &format!("an order that is {from} cannot become {to}")), "{answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_payment_for_a_cancelled_order_is_kept_and_flagged_for_refund() {
    let shop = Shop::start().await;
    let admin = shop.admin().await;
    let id = order_that_is(&shop, &admin, "CANCELLED").await;
    let charge = shop.pay(&id, 15050).await;
    let order = shop.order_by_id(&admin, &id).await;
    assert_eq!((&order["status"], &order["refundDueAmount"]), (&json!("CANCELLED"), &json!(150.5)), "{order}");
    assert_eq!((&order["paid"], &order["stripeChargeId"]), (&json!(true), &charge["data"]["object"]["id"]), "{order}");
    let line = shop.host.wait_for_log("flagged for refund").await;
    assert!(line.contains(&id) && line.contains("15050 cents"), "{line}");

    shop.send_event_and_wait(&stripe::charge_refunded(&charge, 15050)).await.expect(200);
    let order = shop.order_by_id(&admin, &id).await;
    assert_eq!((&order["status"], order.get("refundDueAmount")), (&json!("CANCELLED"), None), "{order}");
}

#[tokio::test]
async fn a_large_catalogue_is_read_page_by_page_and_nothing_dies() {
    let shop = Shop::start().await;
    // 9,000 products with names of 1 KiB are 9 MiB; a message of the NestJS system could have 1 MiB.
    let digits = if shop.app.spread_over().is_some() { "lpad(i::text, 1024, '0')" } else { "printf('%01024d', i)" };
    shop.sql(
        "products",
        &format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)
             INSERT INTO products (name, price_cents) SELECT {digits}, 100 FROM n"
        ),
    );
    let refused = shop.get("/api/products?limit=20000", "").await;
    assert_eq!(refused.status, 400);
    assert!(says(&refused, "limit must not be greater than 1000"), "{refused:?}");
    let mut numbers = Vec::new();
    for page in 1..=10 {
        let list = shop.get(&format!("/api/products?limit=1000&page={page}"), "").await.expect(200);
        numbers.extend(list["data"].as_array().unwrap().iter().map(|product| product["id"].as_u64().unwrap()));
    }
    assert_eq!(numbers, (1..=9047).collect::<Vec<_>>());
}
