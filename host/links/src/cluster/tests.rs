//! A second host joins the record of the first.

use super::*;
use proptest::prelude::*;
use souk_manifest::{HostValues, LoadOptions};
use souk_test::nats::Nats as Server;
use std::path::Path;

const MANIFEST: &str = r#"spin_manifest_version = 2
[application]
name = "shop"
[variables]
products_url = { required = true, secret = true }
key = { required = true, secret = true }
[[trigger.http]]
route = "/..."
component = "products"
[component.products]
source = "products.wasm"
sqlite_databases = ["products"]
key_value_stores = ["cache"]
variables = { key = "{{ key }}" }
[component.products.tool.souk]
database_url = "{{ products_url }}"
"#;

/// An application with its products at `url`, with this `key`, and with `secret` as its `cluster_secret`.
pub(super) fn application(server: &str, url: &str, key: &str, secret: Option<&str>) -> Application {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("spin.toml"), MANIFEST).unwrap();
    let secret = secret.map(|secret| format!("cluster_secret = \"{secret}\"\n")).unwrap_or_default();
    let servers = server.replace(',', "\", \"");
    std::fs::write(folder.path().join("runtime-config.toml"), format!("[nats]\nservers = [\"{servers}\"]\n{secret}"))
        .unwrap();
    let values = [("products_url", url), ("key", key)];
    let options = LoadOptions {
        manifest: folder.path().join("spin.toml"),
        variables: values.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..LoadOptions::default()
    };
    let secrets = souk_manifest::state::secrets_of(Path::new("none"));
    let host = HostValues { url: "http://127.0.0.1".into(), secrets };
    souk_manifest::read(&options).unwrap().fill_in(&host).unwrap().application
}

pub(super) const SECRET: &str = "a secret of the cluster";
const POSTGRES: &str = "postgres://me:s3cret@db.test/shop";

pub(super) async fn connected(server: &Server, application: &Application) -> Nats {
    let _ = server;
    Nats::connect(application.nats.as_ref().unwrap(), &application.name).await.unwrap()
}

async fn joined(server: &Server, application: &Application, state: &str) -> Result<(), String> {
    let nats = connected(server, application).await;
    join(&nats, application, &Places::of(application, state), &format!("host {state}")).await.map_err(|e| e.to_string())
}

#[tokio::test]
async fn a_host_that_differs_is_refused_whichever_came_first_and_no_secret_is_shown() {
    for (url, key, secret, words) in [
        ("postgres://me:0ther@db.test/staging", "k3y", Some(SECRET), ["products", "db.test:5432/staging"]),
        ("sqlite:products", "k3y", Some(SECRET), ["products", "state folder staging"]),
        (POSTGRES, "0therkey", Some(SECRET), ["secret variable `key`", "host "]),
        (POSTGRES, "k3y", Some("an0ther secret of it"), ["`cluster_secret`", "differs"]),
        (POSTGRES, "k3y", None, ["`cluster_secret`", "set here"]),
    ] {
        for production_first in [true, false] {
            let server = Server::start();
            let hosts = [
                (application(&server.url(), POSTGRES, "k3y", Some(SECRET)), "production"),
                (application(&server.url(), url, key, secret), "staging1"),
            ];
            let (first, second) = if production_first { (&hosts[0], &hosts[1]) } else { (&hosts[1], &hosts[0]) };
            joined(&server, &first.0, first.1).await.unwrap();
            let error = joined(&server, &second.0, second.1).await.unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)) && error.contains("souk cluster accept"), "{error}");
            for hidden in ["s3cret", "0ther", "k3y", SECRET] {
                assert!(!error.contains(hidden), "{error}");
            }
            // The first host can still join, and so can a host with the same configuration.
            joined(&server, &first.0, first.1).await.unwrap();
        }
    }
}

#[tokio::test]
async fn hosts_without_a_cluster_secret_compare_places_and_no_secrets() {
    let server = Server::start();
    let host = |url: &str, key: &str| application(&server.url(), url, key, None);
    joined(&server, &host(POSTGRES, "one"), "a").await.unwrap();
    joined(&server, &host(POSTGRES, "two"), "b").await.unwrap();
    let nats = connected(&server, &host(POSTGRES, "one")).await;
    let stored = Records::open(&nats, BUCKET).await.unwrap().get(KEY).await.unwrap().value.unwrap();
    let stored = String::from_utf8(stored.to_vec()).unwrap();
    assert!(stored.contains("db.test") && !stored.contains("s3cret") && !stored.contains("\"key\""), "{stored}");
    joined(&server, &host("postgres://me:pw@db.test/other", "one"), "a").await.unwrap_err();
}

#[tokio::test]
async fn of_hosts_that_start_at_once_with_two_databases_only_those_of_one_start() {
    let server = Server::start();
    let one = application(&server.url(), POSTGRES, "k", Some(SECRET));
    let other = application(&server.url(), "postgres://me:pw@db.test/other", "k", Some(SECRET));
    let ends = loop {
        let starts = (0..8).map(|n| joined(&server, if n % 2 == 0 { &one } else { &other }, "x"));
        let ends = futures::future::join_all(starts).await;
        // On a busy machine the server may answer too late; the hosts are started again then.
        if !ends.iter().any(|end| end.as_ref().is_err_and(|error| error.contains("does not answer"))) {
            break ends;
        }
    };
    let started: Vec<bool> = ends.iter().map(Result::is_ok).collect();
    assert!(started == [true, false].repeat(4) || started == [false, true].repeat(4), "{ends:?}");
}

#[tokio::test]
async fn a_change_that_is_accepted_is_what_the_others_must_have_from_then_on() {
    let server = Server::start();
    let old = application(&server.url(), POSTGRES, "k3y", Some(SECRET));
    let new = application(&server.url(), "postgres://me:pw@new.test/shop", "n3w", Some("a secret that was rolled"));
    joined(&server, &old, "a").await.unwrap();
    let nats = connected(&server, &new).await;
    let changed = accept(&nats, &new, &Places::of(&new, "a"), "an operator").await.unwrap();
    assert_eq!(changed.len(), 2, "the cluster's secret and the place: {changed:?}");
    joined(&server, &new, "a").await.unwrap();
    joined(&server, &old, "a").await.unwrap_err();
    let (record, differences) = compare(&nats, &new, &Places::of(&new, "a")).await.unwrap().unwrap();
    assert_eq!(differences, []);
    let shown = record.to_string();
    assert!(shown.contains("new.test") && shown.contains("secret key (by an operator)"), "{shown}");
    assert!(!shown.contains("n3w") && !shown.contains("rolled"), "{shown}");
}

#[tokio::test]
async fn a_record_that_is_garbled_stops_the_start_and_an_operator_can_replace_it() {
    let server = Server::start();
    let host = application(&server.url(), POSTGRES, "k", None);
    let nats = connected(&server, &host).await;
    let records = Records::open(&nats, BUCKET).await.unwrap();
    assert!(records.replace(KEY, "{".into(), 0).await.unwrap());
    let error = joined(&server, &host, "a").await.unwrap_err();
    assert!(error.contains("`souk_shop_cluster`") && error.contains("souk cluster accept"), "{error}");
    accept(&nats, &host, &Places::of(&host, "a"), "an operator").await.unwrap();
    joined(&server, &host, "a").await.unwrap();
}

proptest! {
    #[test]
    fn bytes_of_strangers_are_read_or_refused(bytes: Vec<u8>) {
        let _ = Identity::read(&bytes);
    }
}
