//! Accounts that two hosts share: each has its own process and state folder, and they have one key-value store.

#[cfg(feature = "full")]
use crate::harness::mongodb::MongoDb;
use crate::harness::nats::Nats;
use crate::harness::postgres::Postgres;
use crate::harness::redis::Redis;
use crate::harness::store::{PASSWORD, Shop, fresh_email, token};
use crate::harness::{Answer, App, eventually};
use futures::future::{join, join_all};
use serde_json::json;

/// A host of the store, all of it, whose accounts are kept as this runtime configuration says.
async fn host(config: &str) -> Shop {
    Shop::of(App::store_alone().file("runtime-config.toml", config)).await
}

fn in_nats(url: &str) -> String {
    format!("[nats]\nservers = [\"{url}\"]\n\n[key_value_store.auth]\ntype = \"nats\"\n")
}

fn in_redis(url: &str) -> String {
    format!("[key_value_store.auth]\ntype = \"redis\"\nurl = \"{url}\"\n")
}

/// Checks that two hosts with one key-value store have the same accounts.
async fn check_shared_accounts(one: &Shop, other: &Shop) {
    for _ in 0..3 {
        let email = fresh_email();
        let register = async |shop: &Shop| join_all((0..8).map(|_| shop.register(&email))).await;
        let (here, there) = join(register(one), register(other)).await;
        let answers: Vec<Answer> = here.into_iter().chain(there).collect();
        let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
        assert_eq!(made.len(), 1, "{answers:?}");
        for answer in refused {
            assert_eq!(answer.expect(400)["message"], "User already exists");
        }
        for shop in [one, other] {
            let user = shop.login(&email, PASSWORD).await.expect(201);
            assert_eq!(user["user"]["id"], made[0].json()["user"]["id"]);
        }
    }
    // A user who registers on one host is known on the other at once, and a change by an operator there applies here.
    let email = fresh_email();
    let mine = token(&one.register(&email).await);
    other.verify(&mine).await.expect(201);
    other.call("auth", "store:auth/administration#set-role", json!({ "email": email, "role": "admin" })).await;
    let admin = token(&one.login(&email, PASSWORD).await);
    one.post("/api/products", &admin, json!({ "name": "Mug", "price": 1.5 })).await.expect(201);
    for shop in [one, other] {
        assert_eq!(shop.accounts().await.len(), 4);
    }
}

/// While the server is down, logins get 503 at once and the rest of the store works; after it is back, logins work
/// again.
async fn an_outage_ends_by_itself(shops: [&Shop; 2], email: &str, resume: impl FnOnce()) {
    for shop in shops {
        shop.login(email, PASSWORD).await.expect(503);
        shop.get("/api/products", "").await.expect(200);
        shop.host.wait_for_log("the key-value store `auth` is not available").await;
    }
    resume();
    for shop in shops {
        eventually("a login works again", || async {
            let answer = shop.login(email, PASSWORD).await;
            (answer.status == 201).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn two_hosts_share_accounts_in_nats_and_survive_an_outage_of_it() {
    let mut server = Nats::start();
    let config = in_nats(&server.url());
    // Hosts on one NATS serve each other's calls, so both must use the same databases, and only one of them runs the
    // sandbox.
    let (products, orders) = (Postgres::shared().database(), Postgres::shared().database());
    let host = || {
        let app =
            App::store_alone().file("runtime-config.toml", &config).variable("public_url", "https://shop.example");
        app.variable("products_database_url", &products).variable("orders_database_url", &orders)
    };
    let without_sandbox = "gateway,auth,passwords,products,orders,payments,webhook";
    let (one, other) = join(Shop::of(host()), Shop::of(host().argument("--only").argument(without_sandbox))).await;
    check_shared_accounts(&one, &other).await;
    let email = fresh_email();
    one.register(&email).await.expect(201);
    server.kill(0);
    an_outage_ends_by_itself([&one, &other], &email, || server.resume(0)).await;
}

#[tokio::test]
async fn two_hosts_share_accounts_in_redis_and_survive_an_outage_of_it() {
    let mut server = Redis::start(&[]);
    let config = in_redis(&server.database());
    let (one, other) = join(host(&config), host(&config)).await;
    check_shared_accounts(&one, &other).await;
    let email = fresh_email();
    one.register(&email).await.expect(201);
    server.kill();
    an_outage_ends_by_itself([&one, &other], &email, || server.resume()).await;
}

#[tokio::test]
async fn a_store_whose_server_is_not_there_stops_start_up_with_one_message() {
    let server = Redis::start(&["--requirepass", "s3cret"]);
    let address = format!("127.0.0.1:{}", server.port());
    let refuses = async |config: String| App::store_alone().file("runtime-config.toml", config).start_fails().await;

    let wrong = refuses(in_redis(&format!("redis://:not-s3cret@{address}"))).await;
    let place = format!("key-value store `auth` in redis://{address}/0 cannot be opened: ");
    assert!(wrong.contains(&place) && wrong.contains("\n  fix: ") && !wrong.contains("s3cret"), "{wrong}");
    drop(server);
    let gone = refuses(in_redis(&format!("redis://:s3cret@{address}"))).await;
    assert!(gone.contains(&place) && gone.contains("refused") && !gone.contains("s3cret"), "{gone}");

    let none = refuses("[key_value_store.auth]\ntype = \"nats\"\n".to_owned()).await;
    assert!(none.contains("runtime-config.toml:1: [key_value_store.auth] is kept in NATS, and no server"), "{none}");
}

#[cfg(feature = "full")]
fn in_mongodb(url: &str) -> String {
    format!("[key_value_store.auth]\ntype = \"mongodb\"\nurl = \"{url}\"\n")
}

#[cfg(feature = "full")]
#[tokio::test]
async fn two_hosts_share_accounts_in_mongodb_and_survive_an_outage_of_it() {
    let mut server = MongoDb::start();
    let config = in_mongodb(&server.database());
    let (one, other) = join(host(&config), host(&config)).await;
    check_shared_accounts(&one, &other).await;
    let email = fresh_email();
    one.register(&email).await.expect(201);
    server.kill();
    an_outage_ends_by_itself([&one, &other], &email, || server.resume()).await;
}

#[cfg(feature = "full")]
#[tokio::test]
async fn a_mongodb_crash_during_registrations_neither_loses_nor_duplicates_accounts() {
    let mut server = MongoDb::start();
    let config = in_mongodb(&server.database());
    let (one, other) = join(host(&config), host(&config)).await;
    let emails: Vec<String> = (0..12).map(|_| fresh_email()).collect();
    // Each is registered on both hosts, again and again, until one of them says that the account is there.
    let register = async |email: &String| {
        let mut made = Vec::new();
        for shop in [&one, &other].into_iter().cycle() {
            let answer = shop.register(email).await;
            match answer.status {
                201 => made.push(answer.json()["user"]["id"].clone()),
                400 => return made,
                _ => drop(answer.expect(503)),
            }
        }
        made
    };
    let all = join_all(emails.iter().map(register));
    let outage = async {
        eventually("some are registered", || async { (!one.accounts().await.is_empty()).then_some(()) }).await;
        tokio::task::spawn_blocking(move || {
            server.kill();
            server.resume();
            server
        })
        .await
        .unwrap()
    };
    let (made, _server) = join(all, outage).await;
    let accounts = one.accounts().await;
    assert_eq!(accounts.len(), emails.len(), "{accounts:?}");
    for (email, made) in emails.iter().zip(made) {
        assert!(made.len() <= 1, "{email}: {made:?}");
        let user = one.login(email, PASSWORD).await.expect(201);
        assert!(made.iter().all(|id| *id == user["user"]["id"]), "{email}: {made:?}");
    }
}
