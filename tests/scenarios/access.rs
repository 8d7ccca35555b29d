//! Access control: one table with every route of the store and the status that each kind of caller gets.
//!
//! The table and the application's OpenAPI document must have the same routes, so no route becomes public unnoticed.

use crate::harness::store::{self, PASSWORD, Shop};
use crate::harness::{Answer, raw};
use futures::stream::{self, StreamExt};
use http::Method;
use serde_json::{Value, json};

/// The table's columns.
const CALLERS: [&str; 4] = ["nobody", "its owner", "another customer", "an administrator"];

/// Method, path, body, and the status for each of [`CALLERS`]: by default, and with open access.
///
/// In a path, `:pending` and `:paid` are orders of the second column's customer, `:product` is a product, and `:page` a
/// page of the payment sandbox; each request gets new ones. In a body, `:new` is an e-mail without an account, and
/// `:email` the e-mail of an account.
type Row = (&'static str, &'static str, &'static str, [u16; 4], [u16; 4]);

const OK: [u16; 4] = [200; 4];
const MADE: [u16; 4] = [201; 4];
const WRONG: [u16; 4] = [400; 4];
const NO_ROUTE: [u16; 4] = [404; 4];
/// Every user may, and gets 400 for the body; with open access too, because the route concerns the user's own account.
const REFUSED: [u16; 4] = [401, 400, 400, 400];
/// Any user may.
const USERS: [u16; 4] = [401, 200, 200, 200];
/// The order's owner and administrators may; others get 404.
const OWNER: [u16; 4] = [401, 200, 404, 200];

const PRODUCT: &str = r#"{"name":"Lamp","price":9.9}"#;
const UNKNOWN: &str = "/api/orders/id/06c2f957-e9ca-41b2-bcae-4cb7c7a730f2";

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("POST", "/api/auth/register", r#"{"name":"","email":":new","password":":password"}"#, MADE, MADE),
    ("POST", "/api/auth/login", r#"{"email":":email","password":":password"}"#, MADE, MADE),
    ("POST", "/api/auth/login", r#"{"email":":email","password":"Wrong123!"}"#, WRONG, WRONG),
    ("POST", "/api/auth/verify", "", [401, 201, 201, 201], [401, 201, 201, 201]),
    ("POST", "/api/auth/change-password", r#"{"password":":password","newPassword":"weak"}"#, REFUSED, REFUSED),
    ("POST", "/api/auth/change-email", r#"{"password":"Wrong123!","email":":new"}"#, REFUSED, REFUSED),
    ("POST", "/api/auth/delete-account", r#"{"password":"Wrong123!"}"#, REFUSED, REFUSED),
    ("POST", "/api/auth/reset-password", r#"{"token":"none","password":":password"}"#, WRONG, WRONG),
    ("GET", "/api/auth/login", "", NO_ROUTE, NO_ROUTE),

    ("GET", "/api/products", "", OK, OK),
    ("GET", "/api/products/:product", "", OK, OK),
    ("POST", "/api/products", PRODUCT, [401, 403, 403, 201], MADE),
    ("POST", "/api/products", "{}", [401, 403, 403, 400], WRONG),
    ("PATCH", "/api/products/:product", PRODUCT, [401, 403, 403, 200], OK),
    ("PATCH", "/api/products/999999", PRODUCT, [401, 403, 403, 404], NO_ROUTE),
    ("DELETE", "/api/products/:product", "", [401, 403, 403, 200], OK),
    ("DELETE", "/api/products/999999", "", [401, 403, 403, 404], NO_ROUTE),
    ("PUT", "/api/products/:product", PRODUCT, NO_ROUTE, NO_ROUTE),

    ("POST", "/api/orders", r#"{"items":[{"productId":1,"quantity":1}]}"#, [401, 201, 201, 201], MADE),
    ("POST", "/api/orders", "{}", [401, 400, 400, 400], WRONG),
    ("GET", "/api/products?deleted=true", "", [401, 403, 403, 200], OK),
    ("GET", "/api/products/2/history", "", [401, 403, 403, 200], OK),
    ("POST", "/api/products/2/restore", "{}", [401, 403, 403, 201], MADE),
    ("GET", "/api/orders", "", USERS, OK),
    ("GET", "/api/orders/export", "", [401, 403, 403, 200], OK),
    ("GET", "/api/orders?status=PAID&page=1&limit=1000", "", USERS, OK),
    ("GET", "/api/orders/PENDING", "", USERS, OK),
    ("GET", "/api/orders/PAID", "", USERS, OK),
    ("GET", "/api/orders/CANCELLED", "", USERS, OK),
    ("GET", "/api/orders/DELIVERED", "", USERS, OK),
    ("GET", "/api/orders/REFUNDED", "", USERS, OK),
    ("GET", "/api/orders/NONSENSE", "", [401, 400, 400, 400], WRONG),
    ("HEAD", "/api/orders", "", USERS, OK),
    ("GET", "/api/orders/id/:pending", "", OWNER, OK),
    ("GET", "/api/orders/id/:paid", "", OWNER, OK),
    ("HEAD", "/api/orders/id/:paid", "", OWNER, OK),
    ("GET", "/api/orders/id/:paid/history", "", [401, 403, 404, 200], OK),
    ("GET", UNKNOWN, "", [401, 404, 404, 404], NO_ROUTE),
    ("GET", "/api/orders/id/nonsense", "", [401, 400, 400, 400], WRONG),
    ("POST", "/api/orders/:pending/pay", "", [401, 201, 404, 201], MADE),
    ("POST", "/api/orders/:paid/pay", "", [401, 409, 404, 409], [409; 4]),
    ("GET", "/api/orders/:paid/refunds", "", [401, 403, 404, 200], OK),
    ("POST", "/api/orders/:paid/refunds", r#"{"amount":"much"}"#, [401, 400, 400, 400], WRONG),
    ("PATCH", "/api/orders/:pending", r#"{"status":"PENDING"}"#, OWNER, OK),
    ("PATCH", "/api/orders/:pending", r#"{"status":"PAID"}"#, [401, 400, 400, 400], WRONG),
    ("PATCH", "/api/orders/:pending", r#"{"status":"DELIVERED"}"#, [401, 403, 404, 409], OK),
    ("PATCH", "/api/orders/:pending", r#"{"status":"CANCELLED"}"#, OWNER, OK),
    ("PATCH", "/api/orders/:pending", r#"{"status":"REFUNDED"}"#, [401, 400, 400, 400], WRONG),
    ("PATCH", "/api/orders/:pending", "{}", [401, 400, 400, 400], WRONG),
    ("PATCH", "/api/orders/:paid", r#"{"status":"PENDING"}"#, [401, 403, 404, 409], [409; 4]),
    ("PATCH", "/api/orders/:paid", r#"{"status":"PAID"}"#, [401, 400, 400, 400], WRONG),
    ("PATCH", "/api/orders/:paid", r#"{"status":"DELIVERED"}"#, [401, 403, 404, 200], OK),
    ("PATCH", "/api/orders/:paid", r#"{"status":"CANCELLED"}"#, [401, 409, 404, 409], [409; 4]),
    ("PATCH", "/api/orders/:paid", r#"{"status":"REFUNDED"}"#, [401, 400, 400, 400], WRONG),
    ("DELETE", "/api/orders/:pending", "", NO_ROUTE, NO_ROUTE),
    ("PUT", "/api/orders/:pending", r#"{"status":"PAID"}"#, NO_ROUTE, NO_ROUTE),

    ("GET", "/payments/success", "", OK, OK),
    ("GET", "/payments/cancel", "", OK, OK),
    ("POST", "/payments/success", "{}", NO_ROUTE, NO_ROUTE),
    ("POST", "/payments/webhook", r#"{"id":"evt_1","type":"charge.succeeded"}"#, WRONG, WRONG),
    ("GET", "/payments/webhook", "", NO_ROUTE, NO_ROUTE),

    // Everyone who has a page's address may use it, as with Stripe. All but the first request end in a redirect, which
    // the client follows.
    ("GET", "/stripe-sandbox/pay/:page", "", OK, OK),
    ("POST", "/stripe-sandbox/pay/:page", "", OK, OK),
    ("POST", "/stripe-sandbox/cancel/:page", "", OK, OK),
    ("POST", "/stripe-sandbox/expire/:page", "", OK, OK),
    ("POST", "/stripe-sandbox/refund/:page", "", OK, OK),
    ("GET", "/stripe-sandbox/expire/:page", "", [405; 4], [405; 4]),
    ("GET", "/stripe-sandbox/pay/cs_test_0123456789abcdef0123456789abcdef", "", NO_ROUTE, NO_ROUTE),
    ("GET", "/stripe-sandbox/receipts/ch_0123456789abcdef0123456789abcdef", "", NO_ROUTE, NO_ROUTE),
    ("GET", "/stripe-sandbox", "", NO_ROUTE, NO_ROUTE),
    ("POST", "/stripe-sandbox/v1/checkout/sessions", "", NO_ROUTE, NO_ROUTE),
    ("POST", "/v1/checkout/sessions", "", NO_ROUTE, NO_ROUTE),

    ("GET", "/api/openapi.json", "", OK, OK),
    ("GET", "/api/docs", "", OK, OK),
    ("GET", "/.well-known/spin/health", "", OK, OK),
    ("GET", "/", "", OK, OK),
    ("GET", "/api/users", "", NO_ROUTE, NO_ROUTE),
];

/// Routes that revoke the tokens of the other requests are tested in `self_service`.
const APART: &str = "/api/auth/revoke";

/// The callers, and the data that their requests are about.
struct Cast {
    shop: Shop,
    /// The tokens of [`CALLERS`]; the token of `nobody` is empty.
    tokens: [String; 4],
    /// The e-mail of an account that belongs to none of the callers.
    email: String,
}

impl Cast {
    async fn of(shop: Shop) -> Cast {
        let tokens = [String::new(), shop.customer().await, shop.customer().await, shop.admin().await];
        let email = store::fresh_email();
        shop.register(&email).await.expect(201);
        Cast { shop, tokens, email }
    }

    /// The path or the body of a row, with new orders, products and pages in place of the names.
    async fn fill_in(&self, text: &str) -> String {
        let [_, owner, _, admin] = &self.tokens;
        let shop = &self.shop;
        let made = if text.contains(":pending") {
            (":pending", shop.small_order(owner).await.0)
        } else if text.contains(":paid") {
            let (id, cents) = shop.small_order(owner).await;
            shop.pay(&id, cents).await;
            (":paid", id)
        } else if text.contains(":product") {
            let product = json!({ "name": "Chair", "price": 5 });
            (":product", shop.post("/api/products", admin, product).await.expect(201)["id"].to_string())
        } else if text.contains(":page") {
            let made = shop.order(owner, &[(1, 1)]).await;
            let url = made["paymentSession"]["url"].as_str().unwrap();
            (":page", url.rsplit('/').next().unwrap().to_owned())
        } else {
            (":new", store::fresh_email())
        };
        text.replace(made.0, &made.1).replace(":email", &self.email).replace(":password", PASSWORD)
    }

    async fn ask(&self, method: &str, path: &str, body: &str, token: &str) -> Answer {
        let path = self.fill_in(path).await;
        let body = self.fill_in(body).await;
        let bearer = format!("Bearer {token}");
        let mut headers = Vec::new();
        if !token.is_empty() {
            headers.push(("authorization", bearer.as_str()));
        }
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        let body = (!body.is_empty()).then(|| body.into_bytes());
        self.shop.client.send(method.parse().unwrap(), &path, &headers, body).await
    }

    /// Sends all requests of the table; returns the differences from the expected statuses.
    ///
    /// Each request has its own orders and products, so several run at once: they mostly wait for the disk.
    async fn differences(&self, expected: impl Fn(&Row) -> [u16; 4]) -> Vec<String> {
        let cells = TABLE.iter().flat_map(|row| {
            let callers = CALLERS.iter().zip(&self.tokens).zip(expected(row));
            callers.map(move |((caller, token), status)| (row, caller, token, status))
        });
        let wrong = stream::iter(cells).map(async |((method, path, body, ..), caller, token, status)| {
            let answer = self.ask(method, path, body, token).await;
            let line = || format!("{method} {path} {body} by {caller}: {status} expected, got {answer:?}");
            let found = (answer.status != status).then(line);
            found.or_else(|| careless(method, path, &answer))
        });
        wrong.buffered(16).filter_map(async |line| line).collect().await
    }
}

/// What is wrong with an answer's headers: no browser may guess its type, and no cache may store a private answer.
fn careless(method: &str, path: &str, answer: &Answer) -> Option<String> {
    if path.starts_with("/.well-known/") {
        return None;
    }
    if answer.header("x-content-type-options") != Some("nosniff") {
        return Some(format!("{method} {path}: without nosniff: {answer:?}"));
    }
    let public = ["/api/products", "/api/openapi.json", "/api/docs"].iter().any(|public| path.starts_with(public))
        && !path.ends_with("/history")
        && !path.contains("deleted=true")
        || path == "/";
    // A form of the sandbox redirects to one of these pages.
    let came_back = answer.text().starts_with("{\"ok\":");
    let public = came_back || path.starts_with("/payments/") || (public && method == "GET" && answer.status == 200);
    let expected = (!public).then_some("no-store");
    let wrong = || format!("{method} {path}: {expected:?} expected as cache-control: {answer:?}");
    (answer.header("cache-control") != expected).then(wrong)
}

#[tokio::test]
async fn every_route_admits_exactly_the_callers_in_the_table() {
    let cast = Cast::of(Shop::start().await).await;
    let wrong = cast.differences(|row| row.3).await;
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(cast.shop.host.log_count("access is open"), 0);
}

#[tokio::test]
async fn open_access_lets_everyone_in_and_the_log_says_so() {
    let cast = Cast::of(Shop::start_open().await).await;
    cast.shop.host.wait_for_log("access is open: anyone may change products").await;
    let wrong = cast.differences(|row| row.4).await;
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn only_the_value_true_opens_access() {
    for word in ["TRUE", "1", "yes", "false", ""] {
        let app = crate::harness::App::store().variable("open_access", word);
        let shop = Shop::of(app).await;
        shop.get("/api/orders", "").await.expect(401);
    }
}

#[tokio::test]
async fn the_table_has_every_route_that_the_application_describes_and_no_other() {
    let shop = Shop::start().await;
    let description = shop.get("/api/openapi.json", "").await.expect(200);
    let described: Vec<(String, String)> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys().filter(|key| *key != "parameters");
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    assert!(described.len() >= 14, "{described:?}");
    for (method, path) in &described {
        let found = path == APART || TABLE.iter().any(|row| row.0 == method && fits(path, row.1));
        assert!(found, "{method} {path} is described, and the table does not say who may use it");
    }
    for (method, path, ..) in TABLE.iter().filter(|row| row.0 != "HEAD" && row.1.starts_with("/api/")) {
        let own = matches!(*path, "/api/openapi.json" | "/api/docs");
        let answers = TABLE.iter().any(|row| (row.0, row.1) == (*method, *path) && row.4 != NO_ROUTE);
        let found = described.iter().any(|(m, p)| m == method && fits(p, path));
        assert!(own || found || !answers, "{method} {path} answers, and is not described");
    }
}

/// Whether a path of the table matches `template`, whose parameters are in braces.
fn fits(template: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap();
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len() && template.iter().zip(path).all(|(t, p)| t.starts_with('{') || *t == p)
}

#[tokio::test]
async fn another_customers_order_gets_the_same_answer_as_a_missing_order() {
    let shop = Shop::start().await;
    let (ann, bob) = (shop.customer().await, shop.customer().await);
    let (pending, _) = shop.small_order(&ann).await;
    let (paid, cents) = shop.small_order(&ann).await;
    shop.pay(&paid, cents).await;
    let none = "06c2f957-e9ca-41b2-bcae-4cb7c7a730f2";
    for (method, path, body) in [
        (Method::GET, "/api/orders/id/:id", None),
        (Method::PATCH, "/api/orders/:id", Some(json!({ "status": "CANCELLED" }))),
        (Method::PATCH, "/api/orders/:id", Some(json!({ "status": "DELIVERED" }))),
        (Method::POST, "/api/orders/:id/pay", None),
    ] {
        let ask = async |id: &str| {
            let answer = shop.send(method.clone(), &path.replace(":id", id), &bob, body.clone()).await;
            let names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
            (answer.status, names, answer.text().replace(id, ":id"))
        };
        let unknown = ask(none).await;
        assert_eq!(unknown.2, r#"{"message":"Order with id #:id not found","status":404}"#, "{method} {path}");
        for id in [&pending, &paid] {
            assert_eq!(ask(id).await, unknown, "{method} {path}");
        }
    }
    assert_eq!(shop.order_by_id(&ann, &pending).await["status"], "PENDING");
    assert_eq!(shop.order_by_id(&ann, &paid).await["status"], "PAID");
}

#[tokio::test]
async fn customers_list_their_own_orders_and_administrators_list_all() {
    let shop = Shop::start().await;
    let (ann, bob, admin) = (shop.customer().await, shop.customer().await, shop.admin().await);
    let mut of_ann = Vec::new();
    for _ in 0..3 {
        of_ann.insert(0, shop.small_order(&ann).await.0);
    }
    let of_bob = vec![shop.small_order(&bob).await.0];
    let of_admin = vec![shop.small_order(&admin).await.0];
    shop.pay(&of_ann[1], 15050).await;
    shop.pay(&of_bob[0], 15050).await;

    let all: Vec<String> = [of_admin.clone(), of_bob.clone(), of_ann.clone()].concat();
    let paid = |ids: &[&String]| ids.iter().map(|id| (*id).clone()).collect::<Vec<_>>();
    for (token, path, ids, total) in [
        (&ann, "/api/orders", of_ann.clone(), 3),
        (&ann, "/api/orders?page=2&limit=2", paid(&[&of_ann[2]]), 3),
        (&ann, "/api/orders?page=9", vec![], 3),
        (&ann, "/api/orders/PAID", paid(&[&of_ann[1]]), 1),
        (&ann, "/api/orders?status=PENDING", paid(&[&of_ann[0], &of_ann[2]]), 2),
        (&bob, "/api/orders", of_bob.clone(), 1),
        (&bob, "/api/orders/PENDING", vec![], 0),
        (&admin, "/api/orders", all, 5),
        (&admin, "/api/orders/PAID", paid(&[&of_bob[0], &of_ann[1]]), 2),
    ] {
        let list = shop.get(path, token).await.expect(200);
        let listed: Vec<&str> = list["data"].as_array().unwrap().iter().map(|o| o["id"].as_str().unwrap()).collect();
        assert_eq!(listed, ids, "{path}");
        assert_eq!(list["pagination"]["totalRecords"], total, "{path}: the count includes other customers' orders");
    }
}

#[tokio::test]
async fn internal_host_names_give_no_access() {
    let shop = Shop::start().await;
    let page = shop.order(&shop.customer().await, &[(1, 1)]).await["paymentSession"]["url"].clone();
    let id = page.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    for inside in ["stripe-sandbox", "webhook", "orders", "auth", "products", "passwords"] {
        let host = format!("{inside}.spin.internal");
        for target in [format!("/v1/checkout/sessions/{id}"), format!("http://{host}/v1/checkout/sessions/{id}")] {
            let mut stream = raw::connect(shop.host.address()).await;
            let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer sk_sandbox\r\n\r\n");
            raw::send(&mut stream, &request).await;
            let answer = raw::read_response(&mut stream).await;
            let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
            assert_eq!(body["statusCode"], 404, "{target}: {answer:?}");
            assert!(!answer.contains("amount_total"), "{target}: {answer:?}");
        }
    }
}
