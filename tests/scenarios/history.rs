//! The history of changes: who changed orders, prices, roles and accounts, on both databases; and restored products.

use crate::harness::App;
use crate::harness::database::Database;
use crate::harness::store::{PASSWORD, Shop, cents, fresh_email, token};
use crate::harness::stripe::charge_dispute;
use http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn an_administrator_sees_who_changed_an_order_on_sqlite() {
    who_changed_an_order(Database::Sqlite).await;
}

#[tokio::test]
async fn an_administrator_sees_who_changed_an_order_on_postgres() {
    who_changed_an_order(Database::Postgres).await;
}

/// For each change: what changed, the old value and the new value.
fn changes(history: &Value) -> Vec<String> {
    let line = |change: &Value| format!("{} {} {}", change["what"].as_str().unwrap(), change["from"], change["to"]);
    history["data"].as_array().unwrap().iter().map(line).collect()
}

async fn who_changed_an_order(database: Database) {
    let shop = Shop::of(database.configure(App::store())).await;
    let (admin, ann) = (shop.admin().await, shop.customer().await);
    let number = |verified: Value| verified["user"]["id"].as_str().unwrap().to_owned();
    let (admins, anns) = (number(shop.verify(&admin).await.expect(201)), number(shop.verify(&ann).await.expect(201)));
    let headers = [
        ("authorization", format!("Bearer {ann}")),
        ("content-type", "application/json".to_owned()),
        ("x-request-id", "monday-1".to_owned()),
    ];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let body = json!({ "items": [{ "productId": 1, "quantity": 2 }] }).to_string();
    let made = shop.client.send(Method::POST, "/api/orders", &headers, Some(body.into_bytes())).await.expect(201);
    let id = made["order"]["id"].as_str().unwrap();
    let payment = shop.pay(id, 15050).await;
    shop.patch(&format!("/api/orders/{id}"), &admin, json!({ "status": "DELIVERED" })).await.expect(200);
    let dispute = charge_dispute(&payment, "dp_1", "needs_response");
    shop.send_event_and_wait(&dispute).await.expect(200);
    let path = format!("/api/orders/id/{id}/history");
    let history = shop.get(&path, &admin).await.expect(200);
    let expected = [
        "STATUS null \"PENDING\"".to_owned(),
        "STATUS \"PENDING\" \"PAID\"".to_owned(),
        format!("CHARGE null {}", payment["data"]["object"]["id"]),
        "STATUS \"PAID\" \"DELIVERED\"".to_owned(),
        "DISPUTE null \"OPEN\"".to_owned(),
    ];
    assert_eq!(changes(&history), expected);
    let by: Vec<&Value> = history["data"].as_array().unwrap().iter().map(|change| &change["by"]).collect();
    assert_eq!(by, [&json!(anns), &payment["id"], &payment["id"], &json!(admins), &dispute["id"]]);
    assert_eq!(history["data"][0]["requestId"], "monday-1");
    assert!(history["data"].as_array().unwrap().iter().all(|change| change["requestId"].is_string()), "{history}");
    shop.get(&path, &ann).await.expect(403);
    shop.get(&path, "").await.expect(401);
    // Only an administrator sees the customer's account, and only until the account is deleted.
    let seen = shop.get(&format!("/api/orders/id/{id}"), &admin).await.expect(200);
    assert_eq!((&seen["customer"]["id"], &seen["customer"]["name"]), (&json!(anns), &json!("Ann")));
    assert!(seen["customer"]["email"].as_str().unwrap().contains('@'), "{seen}");
    assert!(shop.get(&format!("/api/orders/id/{id}"), &ann).await.expect(200).get("customer").is_none());
    shop.post("/api/auth/delete-account", &ann, json!({ "password": PASSWORD })).await.expect(201);
    let seen = shop.get(&format!("/api/orders/id/{id}"), &admin).await.expect(200);
    assert_eq!(seen["customer"], json!({ "id": anns, "name": null, "email": null }));
    assert_eq!(changes(&shop.get(&path, &admin).await.expect(200)), expected);
}

#[tokio::test]
async fn a_deleted_product_is_found_and_restored_and_its_prices_are_remembered_on_sqlite() {
    restored(Database::Sqlite).await;
}

#[tokio::test]
async fn a_deleted_product_is_found_and_restored_and_its_prices_are_remembered_on_postgres() {
    restored(Database::Postgres).await;
}

async fn restored(database: Database) {
    let shop = Shop::of(database.configure(App::store())).await;
    let (admin, ann) = (shop.admin().await, shop.customer().await);
    shop.patch("/api/products/3", &admin, json!({ "price": 99.5 })).await.expect(200);
    shop.send(Method::DELETE, "/api/products/3", &admin, None).await.expect(200);
    let body = json!({ "items": [{ "productId": 3, "quantity": 1 }] });
    shop.post("/api/orders", &ann, body.clone()).await.expect(400);
    let deleted = shop.get("/api/products?deleted=true", &admin).await.expect(200);
    assert_eq!((deleted["data"].as_array().unwrap().len(), &deleted["next"]), (1, &Value::Null));
    assert_eq!((&deleted["data"][0]["id"], &deleted["data"][0]["available"]), (&json!(3), &json!(false)));
    for (token, status) in [("", 401), (ann.as_str(), 403)] {
        shop.get("/api/products?deleted=true", token).await.expect(status);
        shop.get("/api/products/3/history", token).await.expect(status);
        shop.post("/api/products/3/restore", token, json!({})).await.expect(status);
    }
    shop.get("/api/products?deleted=true&page=2", &admin).await.expect(400);
    let restored = shop.post("/api/products/3/restore", &admin, json!({})).await.expect(201);
    assert_eq!((cents(&restored["price"]), &restored["available"]), (9950, &json!(true)));
    shop.post("/api/products/3/restore", &admin, json!({})).await.expect(201);
    shop.post("/api/products/9999/restore", &admin, json!({})).await.expect(404);
    shop.post("/api/orders", &ann, body).await.expect(201);
    let history = shop.get("/api/products/3/history", &admin).await.expect(200);
    let expected = ["AVAILABLE false true", "AVAILABLE true false", "PRICE 150 99.5", "PRICE null 150"];
    assert_eq!(changes(&history), expected);
}

#[tokio::test]
async fn roles_and_the_state_of_accounts_are_remembered_when_the_account_is_gone() {
    let shop = Shop::start().await;
    let email = fresh_email();
    let ann = token(&shop.register(&email).await);
    let id = shop.verify(&ann).await.expect(201)["user"]["id"].clone();
    let operator = |function: &'static str, arguments: Value| {
        let (shop, function) = (&shop, format!("store:auth/administration#{function}"));
        async move { shop.call("auth", &function, arguments).await }
    };
    operator("set-role", json!({ "email": email, "role": "admin" })).await;
    // A role that the user has already is no change.
    operator("set-role", json!({ "email": email, "role": "admin" })).await;
    operator("disable", json!({ "email": email, "disabled": true })).await;
    operator("disable", json!({ "email": email, "disabled": false })).await;
    let ann = token(&shop.login(&email, PASSWORD).await);
    shop.post("/api/auth/delete-account", &ann, json!({ "password": PASSWORD })).await.expect(201);
    let history = operator("history", json!({ "id": id })).await;
    let line = |change: &Value| {
        let text = |name: &str| change[name].as_str().unwrap().to_owned();
        format!("{} {} {} {}", text("by"), text("what"), text("from"), text("to"))
    };
    let history: Vec<String> = history.as_array().unwrap().iter().map(line).collect();
    let own = format!("{} deleted false true", id.as_str().unwrap());
    assert_eq!(
        history,
        ["operator role customer admin", "operator disabled false true", "operator disabled true false", own.as_str()]
    );
}

#[tokio::test]
async fn an_export_has_every_order_once_and_no_formula() {
    let shop = Shop::start().await;
    let admin = shop.admin().await;
    let account = json!({ "name": "=HYPERLINK(\"http://evil\")", "email": fresh_email(), "password": PASSWORD });
    let eve = token(&shop.post("/api/auth/register", "", account).await);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(shop.small_order(&eve).await.0);
    }
    shop.pay(&ids[1], 15050).await;
    // More orders than one page of the component `orders` has.
    shop.sql(
        "orders",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200) \
         INSERT INTO orders (id, currency, total_cents, total_items) \
         SELECT '00000000-0000-4000-8000-' || substr(cast(1000000000000 + i AS TEXT), 2), 'usd', 250, 1 FROM n",
    );
    let csv = shop.get("/api/orders/export", &admin).await;
    assert_eq!(csv.status, 200);
    assert_eq!(csv.header("content-disposition"), Some("attachment; filename=\"orders.csv\""));
    assert!(csv.header("content-type").unwrap().starts_with("text/csv"));
    let text = csv.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("id,createdAt,status,totalAmount,"));
    let first: std::collections::BTreeSet<&str> =
        lines[1..].iter().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!((lines.len(), first.len()), (1204, 1203));
    assert!(lines.iter().all(|line| !line.starts_with('#')));
    assert!(lines[1].contains("\"'=HYPERLINK(\"\"http://evil\"\")\""), "{}", lines[1]);
    let paid = shop.get("/api/orders/export?status=PAID&minTotal=100", &admin).await;
    assert_eq!(paid.text().lines().count(), 2);
    assert!(paid.text().contains(",PAID,150.50,usd,2,"), "{}", paid.text());
    shop.get("/api/orders/export", &eve).await.expect(403);
    shop.get("/api/orders/export?limit=3", &admin).await.expect(400);
    shop.get("/api/orders/export", "").await.expect(401);
}

/// The number of orders in a large shop: their table is larger than [`SMALL`].
const MANY: usize = 70_000;
/// Limits with which the gateway cannot hold that table.
const SMALL: &str = "[component.gateway.tool.souk.limits]\nmemory = \"6MiB\"\n";

/// A store on one host with [`MANY`] orders, whose gateway has these limits; and an administrator. (An answer of another
/// host comes as one message, so it has a size limit.)
async fn large_shop(limits: &str) -> (Shop, String) {
    let app = App::store_alone().replace("[component.gateway.tool.souk.limits]\n", limits);
    let shop = Shop::of(app).await;
    let admin = shop.admin().await;
    let insert = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) \
         INSERT INTO orders (id, currency, total_cents, total_items) \
         SELECT '00000000-0000-4000-8000-' || substr(cast(1000000000000 + i AS TEXT), 2), 'usd', 250, 1 FROM n"
    );
    shop.sql("orders", &insert);
    (shop, admin)
}

/// The ids of an export's orders, and its last line if it is incomplete.
fn exported(text: &str) -> (Vec<&str>, Option<&str>) {
    let mut lines: Vec<&str> = text.lines().skip(1).collect();
    let incomplete = lines.pop_if(|line| line.starts_with('#'));
    (lines.iter().map(|line| line.split(',').next().unwrap()).collect(), incomplete)
}

#[tokio::test]
async fn a_large_export_is_sent_while_it_is_read() {
    let (shop, admin) = large_shop(SMALL).await;
    for path in ["/api/orders/export", "/API/Orders/Export?sort=newest"] {
        let csv = shop.get(path, &admin).await;
        assert_eq!((csv.status, csv.header("content-length")), (200, None), "{path}");
        let text = csv.text();
        assert!(text.len() > 6 << 20, "the table is larger than the gateway's memory");
        let (ids, incomplete) = exported(&text);
        assert_eq!((ids.len(), incomplete), (MANY, None), "{path}");
        assert!(ids.is_sorted_by(|a, b| if path.contains("newest") { a > b } else { a < b }));
    }
    let headers = [("authorization", &*format!("Bearer {admin}"))];
    let head = shop.client.send(Method::HEAD, "/api/orders/export", &headers, None).await;
    assert_eq!((head.status, head.text().as_str()), (200, ""));
}

#[tokio::test]
async fn an_export_that_its_deadline_ends_says_where_to_continue() {
    // Beyond its first page an export needs five seconds.
    let (shop, admin) = large_shop("[component.gateway.tool.souk.limits]\ncall_deadline = \"5s\"\n").await;
    let mut all = std::collections::BTreeSet::new();
    let mut after = String::new();
    for _ in 0..3 {
        let csv = shop.get(&format!("/api/orders/export{after}"), &admin).await;
        let text = csv.text();
        let (ids, incomplete) = exported(&text);
        assert_eq!(ids.len(), 500);
        let (why, last) = incomplete.unwrap().split_once("; continue with after=").unwrap();
        assert_eq!((why, last), ("# incomplete: the time limit of one request is reached", *ids.last().unwrap()));
        all.extend(ids.into_iter().map(str::to_owned));
        after = format!("?after={last}");
    }
    assert_eq!(all.len(), 1500);
}
