//! The NATS permissions in docs/run-on-several-hosts.md: enough for the store on three hosts, and not more.

use crate::harness::app::texts;
use crate::harness::nats::Nats;
use crate::harness::postgres::Postgres;
use crate::harness::spread::{ADDRESSES, Spread};
use crate::harness::store::{PASSWORD, fresh_email, order_body, send, token};
use crate::harness::{App, build, eventually};
use http::Method;
use serde_json::json;

/// The users in the documented block, in the order of the hosts.
const USERS: [(&str, &str); 3] =
    [("front", "FRONT-SECRET"), ("products", "PRODUCTS-SECRET"), ("orders", "ORDERS-SECRET")];

/// The documented block.
fn documented() -> String {
    let page = std::fs::read_to_string(build::root().join("docs/run-on-several-hosts.md")).unwrap();
    let block = page.split("```\n").find(|block| block.starts_with("FRONT = {")).expect("the block of permissions");
    block.to_owned()
}

#[tokio::test]
async fn the_documented_permissions_are_enough_for_the_tour_and_keep_hosts_from_the_rest() {
    let nats = Nats::start_with(&format!("max_payload: 8MB\n{}", documented()));
    let login = |(user, password): (&str, &str)| format!("nats://{user}:{password}@127.0.0.1:{}", nats.port(0));
    let spread = Spread::over("store", nats.url());
    let port = spread.port;
    let mut app = App::store_alone()
        .shared_secrets()
        .variable("products_database_url", Postgres::shared().database())
        .variable("orders_database_url", Postgres::shared().database())
        .variable("public_url", format!("http://127.0.0.1:{port}"));
    for user in USERS {
        let config = format!("[nats]\nservers = [\"{}\"]\n[key_value_store.auth]\ntype = \"nats\"\n", login(user));
        app = app.file(&format!("{}.toml", user.0), config);
    }
    let app = &app;
    app.seed().await;
    let parts = ADDRESSES.iter().zip((0..).map(|host| spread.only(host)));
    let start = parts.zip(USERS).map(async |((address, only), (user, _))| {
        let port = if user == "front" { port } else { 0 };
        let config = app.path(&format!("{user}.toml")).to_str().unwrap().to_owned();
        let arguments = ["--runtime-config-file", config.as_str(), "--only", only.as_str()];
        app.start_at(&format!("{address}:{port}"), user, &arguments).await
    });
    let hosts = futures::future::join_all(start).await;

    // The tour: register, order, pay.
    let front = hosts[0].client();
    let email = fresh_email();
    let account = json!({ "name": "Ann", "email": email, "password": PASSWORD });
    let ann = token(&send(&front, Method::POST, "/api/auth/register", "", Some(account)).await);
    let made = send(&front, Method::POST, "/api/orders", &ann, Some(order_body(&[(1, 2), (2, 1)]))).await.expect(201);
    let page = made["paymentSession"]["url"].as_str().unwrap();
    let page = page.strip_prefix(&format!("http://127.0.0.1:{port}")).unwrap();
    // The client follows the redirect, as the customer's browser does, to the success page.
    assert_eq!(front.send(Method::POST, page, &[], Some(Vec::new())).await.status, 200);
    let order = format!("/api/orders/id/{}", made["order"]["id"].as_str().unwrap());
    eventually("the order is paid", || async {
        let order = send(&front, Method::GET, &order, &ann, None).await.expect(200);
        (order["status"] == "PAID").then_some(())
    })
    .await;
    // An operator's commands, each on the host that it concerns.
    let souk = async |host: &str, words: &[&str]| {
        let (command, arguments) = words.split_first().unwrap();
        let output = app.souk_at(host, command, arguments).await;
        let (out, err) = texts(&output);
        (output.status.success(), format!("{out}{err}"))
    };
    let role = json!({ "email": email, "role": "admin" }).to_string();
    let (done, said) = souk("front", &["call", "auth", "store:auth/administration#set-role", &role]).await;
    assert!(done, "{said}");
    let proof = json!({ "email": email, "password": PASSWORD });
    let ann = token(&send(&front, Method::POST, "/api/auth/login", "", Some(proof)).await);
    let delivered = json!({ "status": "DELIVERED" });
    let order = order.replace("/id/", "/");
    send(&front, Method::PATCH, &order, &ann, Some(delivered)).await.expect(200);
    // Now and then the call of a schedule is there for a moment.
    eventually("there are no messages", || async {
        let (done, said) = souk("orders", &["events", "list"]).await;
        assert!(done, "{said}");
        said.contains("no messages").then_some(())
    })
    .await;
    let (done, said) = souk("orders", &["events", "drop", "--all"]).await;
    assert!(done, "{said}");
    let (done, said) = souk("products", &["call", "--list"]).await;
    assert!(done && said.contains("auth store:auth/accounts@1.0.0 (on another host)"), "{said}");
    let refused = |line: &String| line.contains("Permissions Violation") || line.contains("could not be asked");
    for host in &hosts {
        let refused: Vec<_> = host.log().into_iter().filter(refused).collect();
        assert!(refused.is_empty(), "{refused:#?}");
    }
    // Every server can answer reads of accounts while their bucket has no leader.
    let (user, password) = USERS[0];
    let options = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
    let client = options.connect(format!("nats://127.0.0.1:{}", nats.port(0))).await.unwrap();
    let bucket = async_nats::jetstream::new(client).get_stream("KV_souk_store_kv_auth").await.unwrap();
    let account = bucket.get_raw_message(bucket.cached_info().state.last_sequence).await.unwrap();
    let found = bucket.direct_get_last_for_subject(account.subject.as_str()).await.unwrap();
    assert_eq!(found.sequence, account.sequence);

    // NATS refuses what the permissions do not list, and `souk` reports it.
    let page = r#"{"from":null}"#;
    let (done, said) = souk("products", &["call", "auth", "store:auth/administration#list", page]).await;
    assert!(!done && said.contains("may not publish to `souk.store.call.auth."), "{said}");
    let (done, said) = souk("products", &["events", "list"]).await;
    assert!(!done && said.contains("may not publish to `$JS.API.STREAM.INFO.souk_store_durable`"), "{said}");
}
