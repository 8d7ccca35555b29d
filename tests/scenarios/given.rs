//! The options that `souk up` shares with `spin up`: variables, keys, SQL statements and a choice of components.

use crate::harness::App;
use http::Method;

fn app() -> App {
    App::alone("wasi-0-2")
}

#[tokio::test]
async fn variables_keys_and_statements_of_the_command_line_are_there_before_the_first_request() {
    let app = app().file("seed.sql", "CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (9, 'zebra');");
    let file = app.path("seed.sql").display().to_string();
    let app = app.file("greeting", "from a file");
    let greeting = format!("greeting=@{}", app.path("greeting").display());
    let host = app
        .variable("greeting", "from the environment")
        .argument("--variable")
        .argument(greeting)
        .argument("--key-value")
        .argument("zeta=s3cret")
        .argument("--sqlite")
        .argument(format!("@{file}"))
        .argument("--sqlite")
        .argument("INSERT INTO t VALUES (10, 'zebu')")
        .start()
        .await;
    let client = host.client();
    assert_eq!(client.get("/variable?greeting").await.text(), "from a file");
    assert!(client.get("/key-value").await.text().contains("\"zeta\""));
    assert!(client.get("/sqlite").await.text().contains("zebu"));
    assert_eq!(host.log_count("s3cret"), 0);
}

#[tokio::test]
async fn invalid_options_are_refused_without_showing_their_values() {
    for (option, value, says) in [
        ("--variable", "s3cret", "value 1 of --variable is not NAME=VALUE"),
        ("--variable", "greting=s3cret", "the application has no variable `greting`"),
        ("--env", "s3cret", "value 1 of --env is not NAME=VALUE"),
        ("--key-value", "s3cret", "value 1 of --key-value is not NAME=VALUE"),
        ("--sqlite", "INSERT INTO none VALUES ('s3cret')", "no such table"),
        ("--sqlite", "@no-such-file", "no-such-file cannot be read"),
        ("--component-id", "spin-6", "component `spin-6` does not exist"),
    ] {
        let said = app().argument(option).argument(value).start_fails().await;
        assert!(said.contains(says) && said.contains("fix: ") && !said.contains("s3cret"), "{option}: {said}");
    }
}

#[tokio::test]
async fn a_component_that_is_not_chosen_does_not_run() {
    let host = app().argument("--component-id").argument("spin-5").start().await;
    let client = host.client();
    assert_eq!(client.get("/variable?greeting").await.text(), "hello");
    let answer = client.open(Method::GET, "/fetch?http://newer.spin.internal/there").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 502);
}
