//! Components that use Redis, PostgreSQL, MySQL and MQTT servers through Spin's interfaces: those of SDK 5 (WASI 0.2,
//! under `/2/`) and those of SDK 7 (WASI 0.3, under `/3/`). Connections, grants and errors are the same.

use crate::harness::{Answer, App, Client, eventually};
use http::Method;
use souk_test::mariadb::MariaDb;
use souk_test::mosquitto::Mosquitto;
use souk_test::postgres::Postgres;
use souk_test::redis::Redis;

fn app() -> App {
    App::alone("outbound")
}

/// Lets a component use the server at `address`.
async fn ask(client: &Client, path: &str, address: &str, text: &str, body: &[u8]) -> Answer {
    client.send(Method::POST, path, &[("address", address), ("text", text)], Some(body.to_vec())).await
}

async fn blocking<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(start).await.unwrap()
}

#[tokio::test]
async fn values_of_every_size_go_to_redis_and_come_back_by_both_interfaces() {
    let host = app().start().await;
    let (client, url) = (host.client(), Redis::shared().database());
    for (one, other) in [("2", "3"), ("3", "2")] {
        for length in [0, 1, 70_000, 5_000_000] {
            let value = vec![b'a' + u8::try_from(length % 26).unwrap(); length];
            let set = ask(&client, &format!("/{one}/redis/set"), &url, "key", &value).await;
            assert_eq!((set.status, set.text()), (200, "done".to_owned()));
            let got = ask(&client, &format!("/{other}/redis/get"), &url, "key", b"").await;
            assert!(got.status == 200 && got.body == value, "{length}: {}", got.status);
        }
        let pushed = ask(&client, &format!("/{one}/redis/execute"), &url, "RPUSH list a b", b"").await;
        assert_eq!(pushed.status, 200, "{}", pushed.text());
        let list = ask(&client, &format!("/{other}/redis/execute"), &url, "LRANGE list 0 1", b"").await.text();
        assert_eq!(list.matches("97").count() + list.matches("98").count(), 2, "{list}");
    }
}

#[tokio::test]
async fn statements_reach_postgresql_by_its_two_older_interfaces() {
    let host = app().start().await;
    let (client, url) = (host.client(), Postgres::shared().database());
    let sql = "SELECT 7::int8, 'text', NULL::int4, 0.5::float8, '\\x00ff'::bytea, now()::date, 1.5::numeric";
    for (path, date) in [("/2/postgres-2", "DbValue::Unsupported"), ("/2/postgres-3", "DbValue::Date(")] {
        let answer = ask(&client, path, &url, sql, b"").await;
        let text = answer.text();
        assert_eq!(answer.status, 200, "{text}");
        for value in [
            "DbValue::Int64(7)",
            "DbValue::Str(\"text\")",
            "DbValue::DbNull",
            "DbValue::Floating64(0.5)",
            "[0, 255]",
            date,
        ] {
            assert!(text.contains(value), "{value} is missing: {text}");
        }
        let wrong = ask(&client, path, &url, "SELEC", b"").await;
        assert!(wrong.status == 502 && wrong.text().contains("syntax error"), "{}", wrong.text());
    }
}

#[tokio::test]
async fn statements_reach_mysql_by_both_interfaces() {
    let url = blocking(|| MariaDb::shared().database()).await;
    let host = app().start().await;
    let client = host.client();
    for path in ["/2/mysql", "/3/mysql"] {
        for (sql, expected) in [
            ("CREATE OR REPLACE TABLE t (n BIGINT, s VARCHAR(20))", "[]"),
            ("INSERT INTO t VALUES (7, 'text'), (NULL, '')", "[]"),
            ("SELECT n, s FROM t WHERE n = 7", "[[DbValue::Int64(7), DbValue::Str(\"text\")]]"),
        ] {
            let answer = ask(&client, path, &url, sql, b"").await;
            assert_eq!((answer.status, answer.text()), (200, expected.to_owned()), "{path} {sql}");
        }
        let large = ask(&client, path, &url, "SELECT REPEAT('x', 5000000)", b"").await;
        assert!(large.status == 200 && large.body.len() > 5_000_000, "{path}: {}", large.status);
        let wrong = ask(&client, path, &url, "SELEC", b"").await;
        assert!(wrong.status == 502 && wrong.text().contains("SQL syntax"), "{}", wrong.text());
    }
}

#[tokio::test]
async fn messages_reach_an_mqtt_broker_by_both_interfaces() {
    let (broker, mut subscriber) = blocking(|| {
        let broker = Mosquitto::start();
        let subscriber = broker.subscribe("shop/#");
        (broker, subscriber)
    })
    .await;
    let host = app().start().await;
    let (client, address) = (host.client(), format!("mqtt://127.0.0.1:{}", broker.port()));
    for path in ["/2/mqtt", "/3/mqtt"] {
        let payload = vec![b'x'; 1 << 20];
        let sent = ask(&client, path, &address, "shop/orders", &payload).await;
        assert_eq!((sent.status, sent.text()), (200, "done".to_owned()));
        let received;
        (received, subscriber) = blocking(move || (subscriber.receive(), subscriber)).await;
        assert!(received == (payload, 2), "{path}: {} bytes", received.0.len());
    }
}

#[tokio::test]
async fn a_server_that_was_not_granted_is_refused_and_the_log_says_how_to_grant_it() {
    let host = app().start().await;
    let client = host.client();
    for (path, scheme, error) in [
        ("redis/get", "redis", "Error::InvalidAddress"),
        ("postgres-2", "postgres", "is not granted to this component"),
        ("postgres-3", "postgres", "is not granted to this component"),
        ("mysql", "mysql", "is not granted to this component"),
        ("mqtt", "mqtt", "is not granted to this component"),
    ] {
        for component in ["2", "3"] {
            if component == "3" && scheme == "postgres" {
                continue;
            }
            let address = format!("{scheme}://u:geheim@db{component}.test:7/0");
            let denied = ask(&client, &format!("/{component}/{path}"), &address, "x", b"").await;
            assert!(denied.status == 502 && denied.text().contains(error), "{path}: {}", denied.text());
            let entry =
                format!("add \"{scheme}://db{component}.test:7\" to allowed_outbound_hosts of [component.outbound-");
            let line = host.wait_for_log(&entry).await;
            assert!(!line.contains("geheim"), "{line}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_an_error_for_its_request_alone() {
    let mut redis = blocking(|| Redis::start(&[])).await;
    let url = redis.database();
    let host = app().start().await;
    let client = host.client();
    for component in ["2", "3"] {
        for (path, scheme) in [("redis/get", "redis"), ("mysql", "mysql"), ("mqtt", "mqtt")] {
            let address = format!("{scheme}://u:geheim@127.0.0.1:1/0");
            // For MQTT, the user is not part of the address.
            let address = if scheme == "mqtt" { "mqtt://127.0.0.1:1".to_owned() } else { address };
            let failed = ask(&client, &format!("/{component}/{path}"), &address, "x", b"").await;
            assert!(failed.status == 502 && failed.text().contains("refused"), "{path}: {}", failed.text());
            assert!(!failed.text().contains("geheim"), "{}", failed.text());
        }
    }
    let get = async || ask(&client, "/3/redis/get", &url, "key", b"").await.status;
    assert_eq!(get().await, 200);
    redis = blocking(move || {
        redis.kill();
        redis
    })
    .await;
    assert_eq!(get().await, 502);
    let _redis = blocking(move || {
        redis.resume();
        redis
    })
    .await;
    eventually("Redis answers again", async || (get().await == 200).then_some(())).await;
}

#[tokio::test]
async fn a_command_that_waits_for_ever_ends_with_its_call_and_its_connection() {
    let redis = blocking(|| Redis::start(&[])).await;
    let url = redis.database();
    let host = app().start().await;
    let client = host.client();
    for component in ["2", "3"] {
        let waits = ask(&client, &format!("/{component}/redis/execute"), &url, "BLPOP nothing 0", b"").await;
        assert_eq!(waits.status, 504, "{}", waits.text());
    }
    let blocked = async || {
        let info = ask(&client, "/2/redis/execute", &url, "CLIENT LIST", b"").await.text();
        // `CLIENT LIST` is shown as a list of bytes; these are the bytes of `blpop`.
        info.contains("98, 108, 112, 111, 112")
    };
    eventually("nobody waits at Redis", async || (!blocked().await).then_some(())).await;
}
