//! Readiness: 503 as long as a component that a route needs lacks something, and then 200 again without a restart.

use crate::harness::admin::Api;
use crate::harness::database::{Database, on_server};
use crate::harness::disk::Disk;
use crate::harness::nats::Nats;
use crate::harness::postgres::Postgres;
use crate::harness::{App, Host, eventually};
use http::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long readiness may take to turn, on a machine that is busy with other scenarios; it usually takes a second.
const MAX_WAIT: Duration = Duration::from_secs(10);

const PUBLIC: &str = "/.well-known/souk/ready";

/// Waits until both listeners answer with `status`; returns the report of `/readyz`.
async fn wait_for(host: &Host, api: &Api, status: u16) -> Value {
    let start = Instant::now();
    let what = format!("readiness is {status}");
    let turned = eventually(&what, || async {
        let answer = api.get("/readyz").await;
        (answer.status == status).then(|| answer.json())
    });
    let report =
        tokio::time::timeout(MAX_WAIT, turned).await.unwrap_or_else(|_| panic!("not {status} in {MAX_WAIT:?}"));
    println!("readiness is {status} after {} ms", start.elapsed().as_millis());
    eventually(&format!("public readiness is {status}"), || async { (public(host).await == status).then_some(()) })
        .await;
    assert_eq!((&report["ready"], &report["draining"]), (&json!(status == 200), &json!(false)), "{report}");
    report
}

/// The status of readiness on the public listener, whose answer never has a body.
pub(super) async fn public(host: &Host) -> u16 {
    let answer = host.client().open(Method::GET, PUBLIC).send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let status = answer.status().as_u16();
    assert_eq!(answer.text().await.unwrap(), "");
    status
}

/// The components that lack this according to a report, in alphabetical order.
fn lacking(report: &Value, what: &str) -> Vec<String> {
    let lacks =
        report["lacks"].as_array().unwrap().iter().filter(|lack| lack["lacks"].as_str().unwrap().contains(what));
    let mut names = Vec::new();
    for lack in lacks {
        assert!(lack["since"].as_str().unwrap().ends_with('Z'), "{lack}");
        assert!(lack.get("why").is_none(), "the report must not show the reason: {lack}");
        names.push(lack["component"].as_str().unwrap().to_owned());
    }
    names.sort();
    names
}

#[tokio::test]
async fn a_host_without_its_postgresql_is_not_ready_until_that_is_back() {
    let mut server = Postgres::start();
    let app = on_server(App::store_alone(), &server).administered();
    let host = app.start().await;
    let (api, socket) = (Api::of(&host), Api::on_socket(&app));
    assert_eq!(wait_for(&host, &api, 200).await["lacks"], json!([]));
    server.stop();
    // The host notices the two components one after the other.
    eventually("both components lack it", || async {
        let report = wait_for(&host, &api, 503).await;
        (lacking(&report, "PostgreSQL at 127.0.0.1:") == ["orders", "products"]).then_some(())
    })
    .await;
    let why = socket.get("/v1/readiness").await.expect(200);
    assert!(why["lacks"][0]["why"].as_str().unwrap().contains("cannot connect"), "{why}");
    assert!(!why.to_string().contains("p@ss") && !why.to_string().contains("p%40ss"), "{why}");
    // The host still passes the liveness check.
    assert_eq!(api.get("/livez").await.status, 200);
    assert_eq!(host.client().get("/.well-known/spin/health").await.status, 200);
    host.wait_for_log("this host is not ready: PostgreSQL").await;
    server.resume();
    wait_for(&host, &api, 200).await;
    host.wait_for_log("can serve again: PostgreSQL").await;
    let metrics = api.get("/metrics").await.text();
    for series in ["db_client_connection_count{", "db_client_connection_max{"] {
        assert!(metrics.contains(series), "{series} is missing: {metrics}");
    }
}

#[tokio::test]
async fn a_component_that_readiness_ignores_takes_no_host_out() {
    let mut server = Postgres::start();
    let app = on_server(App::store_alone(), &server).administered();
    let app = app
        .replace("[component.orders.tool.souk]", "[component.orders.tool.souk]\nreadiness = \"ignore\"")
        .replace("[component.products.tool.souk]", "[component.products.tool.souk]\nreadiness = \"ignore\"");
    let host = app.start().await;
    let api = Api::of(&host);
    wait_for(&host, &api, 200).await;
    server.stop();
    eventually("the store is down", || async {
        (host.client().get("/api/products/1").await.status == 503).then_some(())
    })
    .await;
    assert_eq!(api.get("/readyz").await.expect(200)["lacks"], json!([]));
    assert_eq!(public(&host).await, 200);
}

#[tokio::test]
async fn a_host_without_nats_is_not_ready_until_that_is_back() {
    let mut server = Nats::start();
    let app = Database::Postgres.configure(App::store_alone()).shared_secrets().on_nats(&server.url()).administered();
    let host = app.variable("public_url", "https://shop.example").start().await;
    let api = Api::of(&host);
    wait_for(&host, &api, 200).await;
    server.kill(0);
    let report = wait_for(&host, &api, 503).await;
    assert_eq!(
        lacking(&report, "durable messages on NATS"),
        ["auth", "orders", "stripe-sandbox", "webhook"],
        "{report}"
    );
    assert!(api.get("/metrics").await.text().contains("souk_nats_connected 0"));
    server.resume(0);
    wait_for(&host, &api, 200).await;
    let metrics = api.get("/metrics").await.text();
    assert!(
        metrics.contains("souk_nats_connected 1") && !metrics.contains("souk_nats_reconnects_total 0"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_host_that_nats_no_longer_accepts_is_not_ready() {
    const OLD: &str = "authorization { user: u, password: \"old\" }";
    const NEW: &str = "authorization { user: u, password: \"new\" }";
    let mut server = Nats::start_with(OLD);
    let url = server.url().replace("://", "://u:old@");
    let host = App::alone("durable").on_nats(&url).administered().start().await;
    let api = Api::of(&host);
    wait_for(&host, &api, 200).await;
    server.stop(0);
    server.reconfigure(0, OLD, NEW);
    server.resume(0);
    let report = wait_for(&host, &api, 503).await;
    assert_eq!(lacking(&report, "durable messages on NATS"), ["sender"], "{report}");
    server.stop(0);
    server.reconfigure(0, NEW, OLD);
    server.resume(0);
    wait_for(&host, &api, 200).await;
}

#[tokio::test]
async fn a_host_is_not_ready_while_no_host_runs_what_its_routes_need() {
    let server = Nats::start();
    let app = App::alone("rogue").on_nats(&server.url()).administered();
    let front = app.start_at("127.0.0.1:0", "front", &["--only", "front,other,calm,hasty,front-fresh,fresh"]);
    let front = front.await;
    let api = Api::of(&front);
    let report = wait_for(&front, &api, 503).await;
    assert_eq!(lacking(&report, "a host that runs `rogue`"), ["rogue"], "{report}");
    let rogue = app.start_at("127.0.0.1:0", "rogue", &["--only", "rogue"]).await;
    wait_for(&front, &api, 200).await;
    rogue.stop().await;
    wait_for(&front, &api, 503).await;
}

#[tokio::test]
async fn a_host_whose_disk_is_full_is_not_ready_until_there_is_room() {
    let (mut disk, app) = Disk::under(App::alone("rogue").administered(), 64);
    let host = app.start().await;
    let api = Api::of(&host);
    wait_for(&host, &api, 200).await;
    disk.fill();
    let report = wait_for(&host, &api, 503).await;
    assert_eq!(lacking(&report, "room on the disk of the state folder"), ["calm", "rogue"], "{report}");
    disk.make_room();
    wait_for(&host, &api, 200).await;
    disk.limit_files(true);
    let report = wait_for(&host, &api, 503).await;
    assert_eq!(lacking(&report, "room on the disk of the state folder"), ["calm", "rogue"], "{report}");
    disk.limit_files(false);
    wait_for(&host, &api, 200).await;
}

#[tokio::test]
async fn a_host_that_drains_says_so_until_it_ends_and_begins_nothing_new() {
    let app = App::alone("rogue").administered();
    let host = app.start().await;
    let (api, client) = (Api::of(&host), host.client());
    wait_for(&host, &api, 200).await;
    let call = r#"{"component":"rogue","function":"souk-test:rogue/deeds#answer","arguments":{"n":41}}"#;
    let socket = Api::on_socket(&app);
    let held = tokio::spawn(async move { client.get("/other/self/hold/3000").await });
    host.wait_for_log("holding on").await;
    host.terminate();
    let report = eventually("it says that it drains", || async {
        let answer = api.get("/readyz").await;
        (answer.status == 503).then(|| answer.json())
    })
    .await;
    assert_eq!((&report["ready"], &report["draining"], &report["lacks"]), (&json!(false), &json!(true), &json!([])));
    assert_eq!(api.get("/livez").await.status, 200);
    let metrics = api.get("/metrics").await.text();
    assert!(metrics.contains("souk_draining 1\n") && metrics.contains("souk_ready 0\n"), "{metrics}");
    let refused = socket.send(Method::POST, "/v1/call", &[], call).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(held.await.unwrap().status, 200);
    assert!(host.wait().await.success());
}

#[tokio::test]
async fn readiness_is_read_with_get_alone_and_has_no_body() {
    let app = App::alone("rogue");
    let host = app.start().await;
    let client = host.client();
    eventually("it is ready", || async { (public(&host).await == 200).then_some(()) }).await;
    assert_eq!(client.send(Method::HEAD, PUBLIC, &[], None).await.status, 200);
    client.send(Method::POST, PUBLIC, &[], None).await.expect(405);
}
