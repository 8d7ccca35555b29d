//! The shortener, on SQLite, on PostgreSQL and on two hosts.

use souk_test::nats::Nats;
use souk_test::postgres::Postgres;
use souk_test::{App, Value, json};

const PAGE: &str = "https://example.com/a?long=path";

/// Shortens a URL, follows it, and reads how often.
fn shortens_and_counts(app: &App) {
    let made = app.post("/", PAGE);
    assert_eq!(made.status, 201, "{}", made.text());
    let link = made.text().trim().to_owned();
    assert_eq!(app.post("/", PAGE).text().trim(), link, "one URL has one code");
    for _ in 0..3 {
        let followed = app.get(&link);
        assert_eq!((followed.status, followed.header("location")), (302, Some(PAGE)));
    }
    app.wait_for_deliveries();
    assert_eq!(app.get(&format!("{link}/clicks")).text(), "3\n");
}

#[test]
fn a_link_leads_to_its_url_and_is_counted_in_sqlite() {
    let app = App::start();
    shortens_and_counts(&app);
    let app = app.restart();
    assert_eq!(app.get("/3/clicks").text(), "3\n", "both are kept");
}

#[test]
fn a_link_leads_to_its_url_and_is_counted_in_postgresql() {
    let database = Postgres::shared().database();
    let app = App::builder();
    let app = app.variable("links_database_url", &database).variable("clicks_database_url", &database).start();
    shortens_and_counts(&app);
}

#[test]
fn a_link_leads_to_its_url_and_is_counted_across_two_hosts() {
    let (nats, database) = (Nats::start(), Postgres::shared().database());
    let host = |only: &str| {
        let app = App::builder().argument("--nats").argument(nats.url()).argument("--only").argument(only);
        app.variable("links_database_url", &database).variable("clicks_database_url", &database).start()
    };
    let _others = host("links,clicks");
    shortens_and_counts(&host("web"));
}

#[test]
fn the_page_alone_is_tested_with_the_links_answered_by_the_test() {
    let links = |function: &str, arguments: Value| match function {
        "acme:links/store@0.1.0#find" if arguments["code"] == "a" => json!({ "ok": PAGE }),
        "acme:links/store@0.1.0#find" => json!({ "err": { "unavailable": "they are being tested" } }),
        other => panic!("nobody calls {other}"),
    };
    let app = App::builder().component("links", links).start();
    app.wait_for_log("the calls of `links` go to the stand-in");
    assert_eq!(app.get("/a").header("location"), Some(PAGE));
    assert_eq!(app.get("/b").status, 503);
}

#[test]
fn a_click_that_could_not_be_counted_is_counted_later() {
    let mut database = Postgres::start();
    let app = App::builder().variable("clicks_database_url", database.database()).start();
    let link = app.post("/", PAGE).text().trim().to_owned();
    database.kill();
    assert_eq!(app.get(&link).status, 302, "the visitor notices nothing");
    let has_failed = |click: &Value| click["state"] == "pending" && click["attempts"] != 0;
    assert!((0..1000).any(|_| app.events().iter().any(has_failed)), "{:?}", app.events());
    database.resume();
    app.let_time_pass();
    app.wait_for_deliveries();
    assert_eq!(app.get(&format!("{link}/clicks")).text(), "1\n");
}

#[test]
fn what_is_no_url_is_refused_and_what_is_no_link_is_not_found() {
    let app = App::start();
    for wrong in ["", "example.com", "ftp://example.com", "https://example.com/a b"] {
        assert_eq!(app.post("/", wrong).status, 400, "{wrong}");
    }
    for path in ["/", "/nothing", "/2", "/-", "/3/other"] {
        assert_eq!(app.get(path).status, 404, "{path}");
    }
}

#[test]
fn a_click_that_comes_twice_counts_once() {
    let app = App::start();
    for _ in 0..2 {
        let click = json!({ "id": "a", "code": "3" });
        assert_eq!(app.call("clicks", "acme:clicks/counter#count", click), Ok(json!(null)));
    }
    assert_eq!(app.call("clicks", "acme:clicks/reading#total", json!({ "code": "3" })), Ok(json!(1)));
}
