//! The store in a browser: what a customer sees between ordering and the receipt, and the API's description.
//!
//! The programs in `tests/browser` drive Debian's Chromium. A step that is not possible fails there; the programs
//! report what they saw as JSON, and these tests check it. The programs write a screenshot of every page to
//! `screenshots` in the target folder.

use crate::harness::admin::Api;
use crate::harness::app::texts;
use crate::harness::debian;
use crate::harness::store::{PASSWORD, order_body, send, token};
use crate::harness::{App, Client, Host, WAIT_TIMEOUT, build, eventually};
use http::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

#[tokio::test]
async fn without_account_or_configuration_an_order_is_paid_in_a_browser_and_has_its_receipt() {
    let (_host, client) = start().await;
    let ann = json!({ "name": "Ann", "email": "ann@example.com", "password": PASSWORD });
    send(&client, Method::POST, "/api/auth/register", "", Some(ann)).await.expect(201);
    let proof = json!({ "email": "ann@example.com", "password": PASSWORD });
    let ann = token(&send(&client, Method::POST, "/api/auth/login", "", Some(proof)).await);
    let list = client.get("/api/products?limit=2").await.expect(200);
    let products = list["data"].as_array().unwrap();
    assert_eq!(products.len(), 2, "{list}");

    let lines: Vec<_> = products.iter().map(|product| (product["id"].as_u64().unwrap(), 1)).collect();
    let made = send(&client, Method::POST, "/api/orders", &ann, Some(order_body(&lines))).await.expect(201);
    let order = &made["order"];
    assert_eq!((&order["status"], &order["paid"]), (&json!("PENDING"), &json!(false)), "{made}");
    assert_eq!(order["totalAmount"], 225.25, "{made}");

    let seen = browse("checkout.mjs", &[("CHECKOUT", checkout(&made)), ("HOW", "mouse")]).await;
    assert_eq!(seen["checkout"]["title"], "Pay USD\u{a0}225.25 – payment sandbox", "{seen}");
    assert_eq!((&seen["cancelled"]["heading"], &seen["success"]["heading"]), (&json!("Not paid"), &json!("Thank you")));
    let back = seen["success"]["text"].as_str().unwrap();
    assert!(back.contains(&format!("Order {}: paid.", order["id"].as_str().unwrap())), "{seen}");
    assert_eq!(seen["paid"], "Paid", "{seen}");

    let order = paid(&client, &ann, order["id"].as_str().unwrap()).await;
    assert_eq!(order["paid"], true, "{order}");
    assert_eq!(order["receiptUrl"], seen["receipt"]["url"], "{order}");
    let receipt = seen["receipt"]["text"].as_str().unwrap();
    for part in [&order["id"], &order["stripeChargeId"], &products[0]["name"], &products[1]["name"]] {
        assert!(receipt.contains(part.as_str().unwrap()), "{part} is missing in {receipt}");
    }
    assert!(receipt.contains("USD\u{a0}225.25"), "{receipt}");
}

#[tokio::test]
async fn an_order_is_paid_with_nothing_but_a_keyboard() {
    let (_host, client) = start().await;
    let (token, made) = order(&client).await;
    let seen = browse("checkout.mjs", &[("CHECKOUT", checkout(&made)), ("HOW", "keyboard")]).await;
    assert_eq!(seen["success"]["heading"], "Thank you", "{seen}");
    let order = paid(&client, &token, made["order"]["id"].as_str().unwrap()).await;
    assert_eq!(order["receiptUrl"], seen["receipt"]["url"], "{order}");
}

#[tokio::test]
async fn every_page_is_accessible_in_light_and_dark_and_fits_a_phone() {
    let (host, client) = start().await;
    let ((_, first), (_, second)) = (order(&client).await, order(&client).await);
    let docs = format!("http://{}/api/docs", host.address());
    let pages = [("CHECKOUT", checkout(&first)), ("ENDING", checkout(&second)), ("DOCS", &docs)];
    let seen = browse("pages.mjs", &pages).await;
    assert_eq!(seen["faults"], json!([]), "{:#}", seen["faults"]);

    // The page describes the same operations as the document.
    let document = client.get("/api/openapi.json").await.expect(200);
    let paths = document["paths"].as_object().unwrap();
    let described = |(path, methods): (&String, &Value)| {
        let names = methods.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase()));
        names.collect::<Vec<_>>()
    };
    let mut operations: Vec<String> = paths.iter().flat_map(described).collect();
    let shown = seen["docs"]["operations"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    let mut shown: Vec<String> = shown.collect();
    operations.sort();
    shown.sort();
    assert!(operations.len() > 10, "{operations:?}");
    assert_eq!(shown, operations);
    let (tried, curl) = (seen["docs"]["tried"].as_str().unwrap(), seen["docs"]["curl"].as_str().unwrap());
    assert!(tried.contains("\"Teclado\"") && !tried.contains("\"Mouse\""), "{tried}");
    assert_eq!(curl, format!("curl http://{}/api/products", host.address()));
}

#[tokio::test]
async fn the_console_shows_a_call_retries_a_dead_letter_and_calls_a_function() {
    let app = App::alone("durable").administered().append("[component.rogue.tool.souk]\ntrace_arguments = true\n");
    let host = app.start().await;
    let client = host.client();
    assert_eq!(client.get("/send/reject/odd/1").await.status, 200);
    host.wait_for_log("DEAD LETTER").await;
    assert_eq!(client.get("/rogue/answer/7").await.expect(200), 7);
    assert_eq!(client.get("/rogue/boom").await.status, 503);
    let (address, err) = texts(&app.souk("admin", &["code"]).await);
    let (again, _) = texts(&app.souk("admin", &["code"]).await);
    let seen = browse("console.mjs", &[("CONSOLE", address.trim()), ("SECOND_CODE", again.trim())]).await;
    assert_eq!(seen["faults"], json!([]), "{:#}", seen["faults"]);
    assert_eq!(seen["address"], format!("{}/", Api::of(&host).url()), "the code stays in the address: {err}");
    let mut components: Vec<_> = seen["components"].as_array().unwrap().iter().collect();
    components.sort_by_key(|name| name.as_str());
    assert_eq!(json!(components), json!(["front", "rogue", "sender"]), "{seen}");
    // The last two columns of the row are the calls and errors since the start.
    let call = seen["call"].as_array().unwrap();
    assert_eq!(call[call.len() - 2..], [json!("2"), json!("1")], "{seen}");
    assert_eq!(seen["result"], 42, "{seen}");
    let busy = seen["busy"].as_array().unwrap();
    let shows = |what: &str| busy.iter().any(|text| text.as_str().unwrap().contains(what));
    assert!(shows("/s, ") && shows("errors/s") && shows("p99"), "{seen}");
    assert!(seen["called"].is_object() || seen["called"].is_array(), "{seen}");
    assert!(seen["spans"].as_u64().unwrap() >= 4, "{seen}");
    assert!(seen["parameters"].is_object(), "{seen}");
    assert!(seen["log"].as_str().unwrap().contains("DEAD LETTER"), "{seen}");
    for asked in ["asks to retry message", "asks to drop message", "asks to call souk-test:rogue/deeds"] {
        let line = host.wait_for_log(asked).await;
        assert!(line.contains("session 2 from"), "{line}");
    }
}

#[tokio::test]
async fn the_console_asks_the_applications_api_as_its_document_describes_it() {
    let app = App::store().administered();
    let host = app.start().await;
    order(&host.client()).await;
    let (address, _) = texts(&app.souk("admin", &["code"]).await);
    let seen = browse("explorer.mjs", &[("CONSOLE", address.trim())]).await;
    assert_eq!(seen["faults"], json!([]), "{:#}", seen["faults"]);
    assert_eq!(seen["product"]["id"], 1, "{seen}");
    assert_eq!(seen["refused"], "401", "{seen}");
    host.wait_for_log("asks to request GET /api/products/1").await;
}

#[tokio::test]
async fn the_console_shows_a_trace_down_to_its_statements_arguments_and_results() {
    let table = "[component.products.tool.souk]\n";
    let app = App::store_alone().administered().replace(table, &format!("{table}trace_arguments = true\n"));
    let host = app.start().await;
    order(&host.client()).await;
    let (address, _) = texts(&app.souk("admin", &["code"]).await);
    let seen = browse("trace.mjs", &[("CONSOLE", address.trim())]).await;
    assert_eq!(seen["faults"], json!([]), "{:#}", seen["faults"]);
    assert!(seen["statement"].as_str().unwrap().contains("SELECT"), "{seen}");
    assert_eq!(seen["called"]["id"], 1, "{seen}");
    assert_eq!(seen["result"]["ok"]["id"], 1, "{seen}");
}

/// The store with its default configuration and a new state folder.
async fn start() -> (Host, Client) {
    let host = App::store().start().await;
    let client = host.client();
    (host, client)
}

/// Registers a customer, who orders two of the first product; returns the token and the answer to the order.
async fn order(client: &Client) -> (String, Value) {
    let email = crate::harness::store::fresh_email();
    let user = json!({ "name": "Bob", "email": email, "password": PASSWORD });
    let token = token(&send(client, Method::POST, "/api/auth/register", "", Some(user)).await);
    let made = send(client, Method::POST, "/api/orders", &token, Some(order_body(&[(1, 2)]))).await.expect(201);
    (token, made)
}

/// The URL of an order's payment page.
fn checkout(made: &Value) -> &str {
    made["paymentSession"]["url"].as_str().expect("a page")
}

/// Waits until the order is paid, and returns it.
async fn paid(client: &Client, token: &str, id: &str) -> Value {
    let path = format!("/api/orders/id/{id}");
    eventually("the order is paid", || async {
        let order = send(client, Method::GET, &path, token, None).await.expect(200);
        (order["status"] == "PAID").then_some(order)
    })
    .await
}

/// Runs a program of `tests/browser` with these variables; returns what it saw, which must contain no problems.
async fn browse(program: &str, variables: &[(&str, &str)]) -> Value {
    static READY: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    let (node, chromium) = READY.get_or_init(prepare);
    let pictures = build::target().join("screenshots");
    std::fs::create_dir_all(&pictures).unwrap();
    let mut command = tokio::process::Command::new(node);
    command.arg(folder().join(program)).envs(variables.iter().copied());
    command.env("CHROMIUM", chromium).env("SCREENSHOTS", pictures).stdin(Stdio::null()).kill_on_drop(true);
    // Each step of a program may take WAIT_TIMEOUT, but even on a slow machine a program needs at most three of them.
    let output =
        tokio::time::timeout(3 * WAIT_TIMEOUT, command.output()).await.expect("the browser did not end").unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{program} failed:\n{out}\n{err}");
    let seen: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("not JSON ({e}): {out}\n{err}"));
    assert_eq!(seen["problems"], json!([]), "{program}: {:#}", seen["problems"]);
    seen
}

fn folder() -> PathBuf {
    build::root().join("tests/browser")
}

/// Installs what is missing; returns Node.js and the browser.
fn prepare() -> (PathBuf, PathBuf) {
    let node = debian::found_or_installed(&["node"], "nodejs");
    debian::found_or_installed(&["npm"], "npm");
    let chromium = debian::found_or_installed(&["chromium", "chromium-browser", "google-chrome"], "chromium");
    // npm keeps a copy of the lock file that it installed from.
    let changed = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let (asked, installed) = ("package-lock.json", "node_modules/.package-lock.json");
    if changed(&folder().join(installed)) < changed(&folder().join(asked)) {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]).arg(folder());
        debian::run(npm);
    }
    (node, chromium)
}
