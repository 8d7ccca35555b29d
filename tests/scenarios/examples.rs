//! Every application of `examples/` does what its line in `examples/README.md` says.

use crate::harness::nats::Nats;
use crate::harness::{App, Client, build, eventually};
use http::Method;
use std::collections::BTreeSet;
use std::fs;

/// The status and text of a request.
async fn ask(client: &Client, method: Method, path: &str, body: &str) -> (u16, String) {
    let request = client.open(method, path).body(body.to_owned());
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn hello_answers_every_request() {
    let host = App::example("hello").start().await;
    let answer = ask(&host.client(), Method::GET, "/world", "").await;
    assert_eq!(answer, (200, "Hello from /world\n".to_owned()));
}

async fn greets(client: &Client) {
    assert_eq!(ask(client, Method::GET, "/es/Ann", "").await, (200, "¡Hola, Ann!\n".to_owned()));
    assert_eq!(ask(client, Method::GET, "/xx/Ann", "").await.0, 404);
}

#[tokio::test]
async fn linked_components_greet_through_their_contract() {
    let host = App::example("linked").start().await;
    greets(&host.client()).await;
}

#[tokio::test]
async fn the_linked_components_greet_across_two_hosts() {
    let (app, nats) = (App::example("two-hosts"), Nats::start());
    let url = nats.url();
    let greeter = app.start_at("127.0.0.1:0", "state-1", &["--nats", &url, "--only", "greeter"]).await;
    let web = app.start_at("127.0.0.1:0", "state", &["--nats", &url, "--only", "web"]).await;
    greets(&web.client()).await;
    greeter.stop().await;
    assert_eq!(ask(&web.client(), Method::GET, "/en/Ann", "").await.0, 503);
}

#[tokio::test]
async fn a_note_is_stored_first_and_delivered_to_its_keeper() {
    let host = App::example("durable").start().await;
    let client = host.client();
    assert_eq!(ask(&client, Method::PUT, "/1", "milk").await.0, 202);
    let read = || async { Some(ask(&client, Method::GET, "/1", "").await).filter(|(status, _)| *status == 200) };
    assert_eq!(eventually("the note is delivered", read).await.1, "milk\n");
}

#[tokio::test]
async fn a_value_is_kept_in_the_key_value_store_across_a_restart() {
    let app = App::example("key-value");
    let host = app.start().await;
    assert_eq!(ask(&host.client(), Method::GET, "/colour", "").await.0, 404);
    assert_eq!(ask(&host.client(), Method::PUT, "/colour", "red").await.0, 204);
    host.stop().await;
    let host = app.start().await;
    assert_eq!(ask(&host.client(), Method::GET, "/colour", "").await, (200, "red".to_owned()));
}

#[tokio::test]
async fn lines_are_in_the_table_that_the_migration_made() {
    let host = App::example("sqlite").start().await;
    for text in ["milk", "bread"] {
        assert_eq!(ask(&host.client(), Method::POST, "/", text).await.0, 201);
    }
    assert_eq!(ask(&host.client(), Method::GET, "/", "").await, (200, "milk\nbread\n".to_owned()));
}

/// The example's own tests are in its folder, and `souk test` runs them: on SQLite, on PostgreSQL and on two hosts.
#[tokio::test]
async fn the_shortener_passes_its_own_tests() {
    let mut souk = std::process::Command::new(build::SOUK);
    souk.args(["test", "-f"]).arg(build::root().join("examples/shortener"));
    let compiled = build::applications();
    souk.env("CARGO_BUILD_BUILD_DIR", &*compiled).env_remove("CARGO_TARGET_DIR");
    let output = souk.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("test result: ok. 7 passed"), "{said}");
}

#[test]
fn every_example_has_a_scenario_and_a_line_in_the_table() {
    let folder = build::root().join("examples");
    let with_manifest = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let with_manifest = with_manifest.filter(|path| path.join("spin.toml").exists());
    let names: BTreeSet<_> = with_manifest.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let table = fs::read_to_string(folder.join("README.md")).unwrap();
    let scenarios = concat!(include_str!("examples.rs"), include_str!("languages.rs"));
    assert!(!names.is_empty());
    for name in names {
        assert!(table.contains(&format!("| [{name}]({name}) |")), "examples/README.md has no line for {name}");
        let started = [format!("App::example({name:?})"), format!("App::{name}()"), format!("examples/{name}\"")];
        assert!(started.iter().any(|text| scenarios.contains(text)), "no scenario starts {name}");
    }
}
