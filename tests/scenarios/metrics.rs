//! Metrics: Prometheus can parse them, and clients cannot increase the number of series.

use crate::harness::admin::Api;
use crate::harness::nats::Nats;
use crate::harness::store::Shop;
use crate::harness::{App, Client, build, debian, eventually};
use futures::StreamExt as _;
use http::Method;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The number of requests in the soak test; `SOUK_SOAK_MINUTES` says for how long it sends more.
const REQUESTS: usize = 10_000;

/// The text of `/metrics`.
async fn metrics(api: &Api) -> String {
    let answer = api.get("/metrics").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; version=0.0.4")));
    answer.text()
}

/// The names of all series, each with its labels.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// The value of the series that begins with this text.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(series));
    line.unwrap_or_else(|| panic!("{series} is missing:\n{text}")).rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn prometheus_parser_accepts_the_metrics_of_a_store() {
    let app = App::store_alone().administered();
    let shop = Shop::of(app).await;
    let api = Api::of(&shop.host);
    let ann = shop.customer().await;
    let (order, cents) = shop.small_order(&ann).await;
    shop.pay(&order, cents).await;
    shop.wait_for_events().await;
    shop.client.get("/api/products/1").await.expect(200);
    let text = metrics(&api).await;
    for wanted in [
        "http_server_request_duration_seconds_count{error_type=\"\",http_request_method=\"POST\",\
         http_response_status_code=\"201\",http_route=\"/api/...\",souk_component=\"gateway\"",
        "rpc_server_call_duration_seconds_count{error_type=\"\",rpc_method=\"store:products/catalog@",
        "db_client_operation_duration_seconds_count{db_namespace=\"\",db_system_name=\"sqlite\",error_type=\"\",\
         souk_component=\"orders\"}",
        "db_client_operation_duration_seconds_count{db_namespace=\"auth\",db_system_name=\"sqlite\"",
        "http_client_request_duration_seconds_count{error_type=\"\",http_request_method=\"POST\"",
        "messaging_client_operation_duration_seconds_count{error_type=\"\"",
        "messaging_process_duration_seconds_count{error_type=\"\",rpc_method=\"\",souk_component=\"orders\"",
        "souk_instances{souk_component=\"gateway\",souk_instance_state=\"idle\"}",
        "souk_instances_limit{souk_component=\"passwords\"}",
        "souk_callers_waiting{souk_component=\"passwords\"}",
        "souk_component_memory_bytes{souk_component=\"gateway\"}",
        "souk_component_cpu_seconds_total{souk_component=\"passwords\"}",
        "souk_sqlite_wal_bytes{db_namespace=\"orders\"}",
        "souk_ready",
        "souk_messages{souk_message_state=\"dead\"}",
        "souk_messages_known",
        "souk_oldest_message_age_seconds",
        "souk_log_lost_lines_total",
    ] {
        let found = value(&text, wanted);
        assert!(found >= 0.0, "{wanted}: {found}");
    }
    assert!(
        value(&text, "souk_component_cpu_seconds_total{souk_component=\"passwords\"}") > 0.0,
        "argon2 costs nothing"
    );
    assert!(value(&text, "souk_component_memory_bytes{souk_component=\"gateway\"}") > 0.0);
    for secret in [ann.as_str(), order.as_str(), "@example.com", &app_folder(&shop)] {
        assert!(!text.contains(secret), "{secret} is in the metrics");
    }
    check(&text);
    let page = std::fs::read_to_string(build::root().join("docs/observe.md")).unwrap();
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(page.contains(&format!("`{name}`")), "docs/observe.md does not have {name}");
    }
}

/// The folder of the application, which no metric may contain.
fn app_folder(shop: &Shop) -> String {
    shop.app.state().display().to_string()
}

/// Prometheus' own parser and linter.
fn promtool() -> Command {
    let folder = build::target().join("debian");
    Command::new(debian::found_or_unpacked("promtool", "prometheus", "usr/bin/promtool", &folder))
}

/// Checks the text with `promtool`.
fn check(text: &str) {
    let mut check = promtool();
    let check = check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().unwrap();
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool: {said}\n{text}");
}

#[test]
fn prometheus_takes_the_alerts_of_the_page_whose_metrics_there_are() {
    let page = std::fs::read_to_string(build::root().join("docs/observe.md")).unwrap();
    let alerts = page.split_once("useful alerts:\n\n```yaml\n").unwrap().1.split_once("```").unwrap().0;
    let rules: String = alerts.lines().map(|line| format!("  {line}\n")).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("souk.yaml");
    std::fs::write(&file, format!("groups:\n- name: souk\n  rules:\n{rules}")).unwrap();
    let output = promtool().args(["check", "rules"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("4 rules"), "{said}{rules}");
    let words = alerts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics: BTreeSet<&str> =
        words.filter(|word| word.starts_with("souk_") && *word != "souk_message_state").collect();
    assert_eq!(metrics.len(), 4, "{metrics:?}");
    for metric in metrics {
        assert!(page.contains(&format!("| `{metric}`")) || page.contains(&format!(", `{metric}`")), "{metric}");
    }
}

#[tokio::test]
async fn random_paths_methods_and_statuses_make_no_more_series() {
    let app = App::alone("rogue").administered();
    let host = app.start().await;
    let (api, client) = (Api::of(&host), host.client());
    // One request of each kind, so that every possible series exists.
    send(&client, 0..100).await;
    let before = series(&metrics(&api).await);
    send(&client, 100..REQUESTS).await;
    let minutes = std::env::var("SOUK_SOAK_MINUTES").map_or(0, |minutes| minutes.parse().unwrap());
    let (start, mut next) = (Instant::now(), REQUESTS);
    while start.elapsed() < Duration::from_secs(60 * minutes) {
        send(&client, next..next + 1_000).await;
        next += 1_000;
    }
    let after = series(&metrics(&api).await);
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{} series became {}: {new:?}", before.len(), after.len());
    assert!(!after.iter().any(|name| name.contains("user-") || name.contains("RANDOM")), "{after:?}");
}

/// Sends requests with many different paths, methods, users and answers.
async fn send(client: &Client, numbers: std::ops::Range<usize>) {
    let requests = futures::stream::iter(numbers).map(|n| async move {
        let (user, path) = (
            format!("user-{n}"),
            match n % 3 {
                0 => format!("/other/self/hello?n={n}"),
                1 => format!("/nowhere/{n}"),
                _ => format!("/rogue/answer/{n}"),
            },
        );
        let method = match n % 5 {
            0 => Method::from_bytes(format!("RANDOM{n}").as_bytes()).unwrap(),
            1 => Method::POST,
            _ => Method::GET,
        };
        client.open(method, &path).header("x-user", user).send().await.unwrap().bytes().await.unwrap();
    });
    requests.buffer_unordered(8).collect::<Vec<_>>().await;
}

#[tokio::test]
async fn messages_that_cannot_be_counted_are_reported_as_unknown_and_no_old_number_stays() {
    let mut nats = Nats::start();
    let app = App::alone("durable").on_nats(&nats.url()).administered();
    let host = app.start().await;
    let api = Api::of(&host);
    let known = async |is_known: bool| {
        let (flag, wanted) = (format!("souk_messages_known {}\n", u8::from(is_known)), is_known);
        eventually(&format!("the metrics have {flag}"), || async {
            let text = metrics(&api).await;
            let has_numbers = text.contains("souk_messages{") && text.contains("souk_oldest_message_age_seconds ");
            let has_none = !text.contains("souk_messages{") && !text.contains("souk_oldest_message_age_seconds ");
            (text.contains(&flag) && if wanted { has_numbers } else { has_none }).then_some(())
        })
        .await;
    };
    known(true).await;
    nats.kill(0);
    known(false).await;
    nats.resume(0);
    known(true).await;
    // An application without durable links has neither.
    let plain = App::alone("rogue").administered();
    let host = plain.start().await;
    assert!(!metrics(&Api::of(&host)).await.contains("souk_messages"));
}

#[tokio::test]
async fn a_trap_a_deadline_and_a_refusal_are_counted_separately() {
    let app = App::alone("rogue").administered();
    let host = app.start().await;
    let (api, client) = (Api::of(&host), host.client());
    client.get("/rogue/boom").await.expect_unavailable();
    client.get("/rogue/forever").await.expect_unavailable();
    let held: Vec<_> = (0..40).map(|_| client.get("/rogue/hold/1000")).collect();
    let statuses: Vec<_> = futures::future::join_all(held).await.iter().map(|answer| answer.status).collect();
    assert!(statuses.contains(&503), "{statuses:?}");
    let text = eventually("they are counted", || async {
        let text = metrics(&api).await;
        text.contains("error_type=\"overloaded\"").then_some(text)
    })
    .await;
    for (error, least) in [("trapped", 1.0), ("deadline", 1.0), ("overloaded", 1.0)] {
        let counted =
            value(&text, &format!("souk_component_failures_total{{error_type=\"{error}\",souk_component=\"rogue\"}}"));
        assert!(counted >= least, "{error}: {counted}");
        let calls = format!("rpc_server_call_duration_seconds_count{{error_type=\"{error}\"");
        assert!(text.contains(&calls), "{calls} is missing:\n{text}");
    }
}
