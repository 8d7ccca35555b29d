//! `souk doctor` in production: it asks the running host, lists the problems, and ends with a verdict.

use crate::harness::admin::Api;
use crate::harness::app::texts;
use crate::harness::nats::Nats;
use crate::harness::store::Shop;
use crate::harness::{App, eventually, postgres::Postgres};

#[tokio::test]
async fn doctor_asks_a_running_host_and_compiles_nothing() {
    let postgres = Postgres::start();
    let app = App::store_alone()
        .variable("products_database_url", postgres.database())
        .variable("orders_database_url", postgres.database());
    let shop = Shop::of(app).await;
    let well = eventually("the host is ready", || async {
        let output = shop.app.souk("doctor", &["--strict"]).await;
        output.status.success().then(|| texts(&output).0)
    })
    .await;
    for part in [
        "ok    host: souk",
        "ok    readiness: every route",
        "ok    versions: every component",
        "ok    clock of 127.0.0.1:",
        "ok    disk: ",
    ] {
        assert!(well.contains(part), "{part} is missing: {well}");
    }
    assert!(!well.contains("components compile and link"), "{well}");
    assert_eq!(well.lines().last(), Some("verdict: well"), "{well}");
    drop(postgres);
    let wrong = eventually("what is gone is found", || async {
        let output = shop.app.souk("doctor", &[]).await;
        (!output.status.success()).then(|| texts(&output).0)
    })
    .await;
    assert!(wrong.contains("WRONG readiness: `") && wrong.contains("lacks PostgreSQL at"), "{wrong}");
    assert!(wrong.lines().last().unwrap().starts_with("verdict: WRONG: "), "{wrong}");
}

#[tokio::test]
async fn doctor_compares_the_clock_with_that_of_nats() {
    let nats = Nats::start();
    let app = App::alone("durable").on_nats(&nats.url());
    let _host = app.start().await;
    let (out, err) = texts(&app.souk("doctor", &[]).await);
    let found = out.lines().find(|line| line.contains("clock of NATS: ")).unwrap_or_else(|| panic!("{out}{err}"));
    // An older NATS server does not report its time.
    assert!(found.starts_with("ok    clock of NATS: ") && ["as this", "unknown"].iter().any(|so| found.contains(so)));
}

#[tokio::test]
async fn a_dead_letter_is_a_warning_and_a_fault_where_that_is_asked_for() {
    let app = App::alone("durable").administered();
    let host = app.start().await;
    host.client().get("/send/reject/odd/1").await;
    let warned = eventually("the dead letter is found", || async {
        let (out, _) = texts(&app.souk("doctor", &[]).await);
        out.contains("1 dead letters").then_some(out)
    })
    .await;
    assert!(warned.ends_with("verdict: well, with 1 warning\n"), "{warned}");
    assert!(app.souk("doctor", &[]).await.status.success());
    assert_eq!(app.souk("doctor", &["--strict"]).await.status.code(), Some(1));
    let metrics = Api::of(&host).get("/metrics").await.text();
    for series in [
        "souk_messages{souk_message_state=\"dead\"} 1",
        "messaging_process_duration_seconds_count{error_type=\"dead-letter\",rpc_method=\"\",souk_component=\"rogue\"",
    ] {
        assert!(metrics.contains(series), "{series} is missing: {metrics}");
    }
    let found = Api::on_socket(&app).get("/v1/doctor").await.json();
    let dead = found.as_array().unwrap().iter().find(|found| found["level"] == "warning").unwrap();
    assert!(dead["name"] == "messages" && dead["text"].as_str().unwrap().contains("fix: "), "{found}");
}

#[tokio::test]
async fn without_a_toolchain_nothing_is_wrong() {
    let app = App::alone("rogue").inside(["env", "PATH=/nowhere"].map(str::to_owned).into());
    let output = app.souk("doctor", &[]).await;
    let (out, err) = texts(&output);
    assert!(output.status.success() && out.contains("info  toolchain: there is no rustc"), "{out}{err}");
    assert_eq!(out.lines().last(), Some("verdict: well"), "{out}");
}

#[tokio::test]
async fn doctor_checks_the_tools_that_the_build_commands_need_and_no_others() {
    let tables = |command: &str| {
        format!(
            "spin_manifest_version = 2\n[application]\nname = \"tools\"\n[component.page]\nsource = \"page.wasm\"\n\
             [component.page.build]\ncommand = {command:?}\n"
        )
    };
    for (command, needed) in [
        ("[ -d node_modules ] || npm install", &["node", "npm"][..]),
        ("python3 -m venv .venv", &["python3"]),
        ("cargo rustc --target wasm32-wasip2", &["rustc", "cargo"]),
        ("true", &[]),
    ] {
        let app = App::inline(&tables(command)).component("page.wasm", "(component)");
        let app = app.inside(["env", "PATH=/nowhere"].map(str::to_owned).into());
        let (out, err) = texts(&app.souk("doctor", &[]).await);
        let missing = out.lines().filter_map(|line| line.split_once("there is no ")).map(|(_, rest)| rest);
        let missing: Vec<&str> = missing.collect();
        let expected: Vec<String> = needed.iter().map(|tool| format!("{tool}: page cannot be built here")).collect();
        assert_eq!(missing, expected, "{command}: {out}{err}");
        assert!(!out.contains("WRONG"), "{command}: {out}{err}");
    }
}

#[tokio::test]
async fn limits_are_printed_where_they_are_asked_for_and_the_verdict_comes_last() {
    let app = App::alone("rogue");
    let (short, err) = texts(&app.souk("doctor", &[]).await);
    assert!(short.contains("`souk doctor --limits`") && !short.contains("call_deadline"), "{short}{err}");
    let (long, err) = texts(&app.souk("doctor", &["--limits"]).await);
    assert!(long.contains("call_deadline") && long.contains("Fixed limits"), "{long}{err}");
    for out in [short, long] {
        assert_eq!(out.lines().last(), Some("verdict: well"), "{out}");
    }
}

#[tokio::test]
async fn refusals_at_the_edge_are_counted_by_their_reason() {
    let app = App::alone("rogue").administered();
    let host = app.start().await;
    let client = host.client();
    assert_eq!(client.get("/nowhere").await.status, 404);
    let large = Some(vec![0; 20 << 20]);
    let _ = client.try_send(http::Method::POST, "/rogue/self/length", &[("expect", "100-continue")], large).await;
    let text = Api::of(&host).get("/metrics").await.text();
    for reason in ["no-route", "body-too-large"] {
        let line = format!("souk_http_refusals_total{{error_type=\"{reason}\"}} 1");
        assert!(text.contains(&line), "{line} is missing: {text}");
    }
}
