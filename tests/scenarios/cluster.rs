//! Two environments on one NATS server: a host that does not belong to the others refuses to start, and says why.

use crate::harness::App;
use crate::harness::app::texts;
use crate::harness::nats::Nats;
use crate::harness::postgres::Postgres;

const SECRET: &str = "the secret of all hosts";

/// The store on `nats`, with its own databases.
fn store(nats: &Nats, cluster_secret: Option<&str>) -> App {
    let secret = cluster_secret.map(|secret| format!("cluster_secret = \"{secret}\"\n")).unwrap_or_default();
    let config = format!("[nats]\nservers = [\"{}\"]\n{secret}\n[key_value_store.auth]\ntype = \"nats\"\n", nats.url());
    App::store_alone()
        .shared_secrets()
        .variable("products_database_url", Postgres::shared().database())
        .variable("orders_database_url", Postgres::shared().database())
        .variable("public_url", "https://shop.example")
        .file("runtime-config.toml", config)
}

#[tokio::test]
async fn staging_beside_production_is_refused_whichever_starts_first() {
    // With a cluster secret, and without one: then the databases distinguish the two environments.
    for secrets in [[Some(SECRET), Some("the secret of staging")], [None, None]] {
        for production_first in [true, false] {
            let nats = Nats::start();
            let [production, staging] = secrets.map(|secret| store(&nats, secret));
            let (first, second) = if production_first { (production, staging) } else { (staging, production) };
            let running = first.start().await;
            let error = second.start_fails().await;
            for fragment in ["does not belong", "component `products` has its data", "fix: ", "--name store-staging"] {
                assert!(error.contains(fragment), "{fragment} is missing: {error}");
            }
            for hidden in [SECRET, "the secret of staging"] {
                assert!(!error.contains(hidden), "{error}");
            }
            // The first one continues, and the second one can run beside it under another name.
            running.client().get("/api/products/1").await.expect(200);
            let beside = second.argument("--name").argument("store-staging").start().await;
            beside.client().get("/api/products/1").await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_second_host_with_another_file_for_the_same_products_is_refused() {
    let nats = Nats::start();
    let app = App::store_alone().shared_secrets().variable("public_url", "https://shop.example").on_nats(&nats.url());
    let first = app.start_at("127.0.0.1:0", "state", &["--only", "products"]).await;
    let output = app.souk_at("state-1", "up", &["--listen", "127.0.0.1:0", "--only", "products"]).await;
    let (_, error) = texts(&output);
    assert!(!output.status.success() && error.contains("SQLite `products`, a file of the host"), "{error}");
    first.stop().await;
    // The same host may start again, and so may a host that runs other components.
    let _first = app.start_at("127.0.0.1:0", "state", &["--only", "products"]).await;
    let _other = app.start_at("127.0.0.1:0", "state-1", &["--only", "gateway,auth,passwords"]).await;
}

#[tokio::test]
async fn a_secret_that_was_rolled_is_accepted_by_an_operator_and_shown_without_its_value() {
    let nats = Nats::start();
    let app = store(&nats, Some(SECRET));
    app.start().await.stop().await;
    let rolled = app.variable("jwt_secret", "rolled-rolled-rolled-rolled-rolled-rolled");
    let error = rolled.start_fails().await;
    assert!(error.contains("the secret variable `jwt_secret` has another value"), "{error}");
    let shown = rolled.souk("cluster", &["show"]).await;
    assert!(!shown.status.success() && texts(&shown).0.contains("differs: the secret variable `jwt_secret`"));
    let accepted = rolled.souk("cluster", &["accept"]).await;
    assert!(accepted.status.success(), "{:?}", texts(&accepted));
    let shown = rolled.souk("cluster", &["show"]).await;
    let (text, _) = texts(&shown);
    assert!(shown.status.success() && text.contains("secret jwt_secret (by an operator"), "{text}");
    assert!(!text.contains("rolled-rolled") && !text.contains(SECRET), "{text}");
    rolled.start().await;
}
