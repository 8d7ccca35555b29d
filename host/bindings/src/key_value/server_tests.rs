//! Stores on servers, when the server goes away, is full, or is also used by other programs.

use super::bucket::settings;
use super::kinds::nats;
use super::{MAX_VALUE_BYTES, Store, StoreError, Swap, Version, open_at};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use async_nats::{HeaderMap, header};
use souk_manifest::{KeyValuePlace, RedisUrl};
use souk_test::nats::Nats;
use souk_test::redis::Redis;
use std::path::Path;
use std::time::Duration;

/// Tries until the store works again; fails the test when that takes too long.
pub(super) async fn works_again(store: &Store) {
    let again = async {
        while store.set("again".into(), b"yes".to_vec()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), again).await.expect("the store works again");
    assert_eq!(store.get("again").await.unwrap(), Some(b"yes".to_vec()));
}

/// Every operation fails with an error that names the store and contains nothing that a guest must not know.
pub(super) async fn everything_fails(store: &Store) {
    let k = || "k".to_owned();
    let failures = [
        store.get("k").await.err(),
        store.get_versioned("k").await.err(),
        store.version("k").await.err(),
        store.exists("k").await.err(),
        store.keys(None).await.err(),
        store.get_many(vec![k()]).await.err(),
        store.set(k(), vec![]).await.err(),
        store.delete_many(vec![k()]).await.err(),
        store.increment(k(), 1).await.err(),
        store.swap(k(), None, vec![]).await.err(),
    ];
    for failure in failures {
        let failure = failure.expect("an error");
        let text = failure.to_string();
        assert!(matches!(failure, StoreError::Server { .. }), "{text}");
        assert!(text.starts_with("the key-value store `auth` is not available"), "{text}");
        assert!(!text.contains("127.0.0.1"), "{text}");
    }
}

async fn redis(server: &Redis, path: &str) -> anyhow::Result<Store> {
    let url = format!("redis://{path}").replace("HOST", &format!("127.0.0.1:{}", server.port()));
    Store::in_redis(&RedisUrl::parse(&url).unwrap(), "auth").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_redis_fails_while_its_server_is_away_and_works_when_it_is_back() {
    let mut server = Redis::start(&[]);
    let store = redis(&server, "HOST").await.unwrap();
    store.set("kept".into(), b"1".to_vec()).await.unwrap();
    server.kill();
    everything_fails(&store).await;
    server.resume();
    // The first operation succeeds; none has to fail before it.
    assert_eq!(store.get("kept").await.unwrap(), Some(b"1".to_vec()));
    works_again(&store).await;
    // A restarted server has lost its cached scripts; the operations still work.
    assert!(matches!(store.swap("kept".into(), None, vec![]).await, Ok(Swap::Stale(Some(_)))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_nats_fails_while_its_server_is_away_and_works_when_it_is_back() {
    let mut server = Nats::start();
    let store = Store::in_nats(&nats(&server.url()).await, None, "auth").await.unwrap();
    store.set("kept".into(), b"1".to_vec()).await.unwrap();
    server.kill(0);
    everything_fails(&store).await;
    server.resume(0);
    works_again(&store).await;
    assert_eq!(store.get("kept").await.unwrap(), Some(b"1".to_vec()));
    assert_eq!(store.get("k").await.unwrap(), None, "nothing was written later that was refused before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_a_server_loses_no_change_and_makes_none_twice() {
    let mut cluster = Nats::cluster();
    let url = cluster.url();
    let mut writers = Vec::new();
    for n in 0..8_u8 {
        let store = Store::in_nats(&nats(&url).await, None, "auth").await.unwrap();
        writers.push(tokio::spawn(async move {
            let mut done = Vec::new();
            for round in 0..10 {
                let mark = [n, round];
                // A change that failed may still have been made, so the test checks, as every client must.
                loop {
                    let Ok(found) = store.get_versioned("list").await else { continue };
                    let (list, version) = found.unzip();
                    let mut list = list.unwrap_or_default();
                    if list.chunks(2).any(|there| there == mark) {
                        break;
                    }
                    list.extend(mark);
                    let _ = store.swap("list".into(), version, list).await;
                }
                done.push(mark);
            }
            done
        }));
    }
    cluster.kill(0);
    let mut all: Vec<[u8; 2]> = futures::future::join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    let store = Store::in_nats(&nats(&url).await, None, "auth").await.unwrap();
    let list = store.get("list").await.unwrap().unwrap();
    let mut kept: Vec<[u8; 2]> = list.chunks(2).map(|mark| [mark[0], mark[1]]).collect();
    kept.sort_unstable();
    all.sort_unstable();
    assert_eq!(kept, all);
    // A deletion is a change too: it leaves nothing, and the key can be created again at once.
    for round in 0..3 {
        store.delete_many(vec!["list".into(), "absent".into()]).await.unwrap();
        assert_eq!(store.get("list").await.unwrap(), None);
        assert_eq!(store.swap("list".into(), None, vec![round]).await.unwrap(), Swap::Done);
        store.set("list".into(), vec![round, round]).await.unwrap();
        assert_eq!(store.get("list").await.unwrap(), Some(vec![round, round]));
    }
}

#[tokio::test]
async fn a_store_that_is_full_says_so_and_a_deletion_makes_room() {
    let (in_nats, in_redis) = (Nats::start(), Redis::start(&["--maxmemory", "8mb"]));
    let connection = nats(&in_nats.url()).await;
    connection.jetstream().create_stream(settings("small", 2 << 20, 1)).await.unwrap();
    for store in
        [Store::in_nats(&connection, Some("small"), "auth").await.unwrap(), redis(&in_redis, "HOST").await.unwrap()]
    {
        let mut written = 0;
        let error = loop {
            match store.set(format!("k{written}"), vec![7; MAX_VALUE_BYTES / 2]).await {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 100, "it is never full");
        };
        assert!(matches!(error, StoreError::Full), "{error:?}");
        assert_eq!(store.get("k0").await.unwrap().map(|value| value.len()), Some(MAX_VALUE_BYTES / 2));
        store.delete_many((0..written).map(|n| format!("k{n}")).collect()).await.unwrap();
        store.set("k".into(), vec![7; MAX_VALUE_BYTES / 2]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_fill_a_bucket_together_lose_nothing_that_was_acknowledged() {
    let server = Nats::start();
    let connections = [nats(&server.url()).await, nats(&server.url()).await];
    connections[0].jetstream().create_stream(settings("small", 4 << 20, 1)).await.unwrap();
    let fill = async |host: usize| {
        let store = Store::in_nats(&connections[host], Some("small"), "auth").await.unwrap();
        let mut kept = Vec::new();
        // The sizes decrease, so that something is tried that almost fits into every gap.
        let mut size = 64 << 10;
        while size > 0 {
            let key = format!("{host}-{}", kept.len());
            match store.set(key.clone(), vec![7; size]).await {
                Ok(()) => kept.push((key, size)),
                Err(StoreError::Full) => size /= 2,
                Err(error) => panic!("{error:?}"),
            }
        }
        (store, kept)
    };
    let ((store, mut kept), (_, others)) = futures::join!(fill(0), fill(1));
    assert!(kept.len() > 5 && others.len() > 5, "both have written: {} and {}", kept.len(), others.len());
    kept.extend(others);
    for (key, size) in &kept {
        assert_eq!(store.get(key).await.unwrap().map(|value| value.len()), Some(*size), "{key}");
    }
    // A value that needs no more room than the one it replaces is still written, and nothing else is.
    let (key, size) = kept[0].clone();
    store.set(key.clone(), vec![8; size]).await.unwrap();
    let version = store.version(&key).await.unwrap();
    assert_eq!(store.swap(key.clone(), version, vec![9; size]).await.unwrap(), Swap::Done);
    assert!(matches!(store.set(key.clone(), vec![8; 2 * size]).await, Err(StoreError::Full)));
    assert_eq!(store.get(&key).await.unwrap(), Some(vec![9; size]));
    store.delete_many(kept.into_iter().map(|(key, _)| key).collect()).await.unwrap();
    store.set("new".into(), vec![7; size]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_always_conflicts_is_given_up() {
    let cluster = Nats::cluster();
    let connection = nats(&cluster.url()).await;
    let store = Store::in_nats(&connection, None, "auth").await.unwrap();
    store.set("k".into(), vec![1]).await.unwrap();
    // A message with another key that claims to replace `k`: from now on every write of `k` conflicts.
    let Some((_, Version(revision))) = store.get_versioned("k").await.unwrap() else { panic!("no `k`") };
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_MESSAGE_ID, format!("k:{revision}"));
    let subject = "$KV.souk_test_kv_auth.other";
    connection.jetstream().publish_with_headers(subject, headers, "".into()).await.unwrap().await.unwrap();
    for failure in [store.set("k".into(), vec![2]).await.err(), store.delete_many(vec!["k".into()]).await.err()] {
        let Some(StoreError::Server { cause, .. }) = failure else { panic!("{failure:?}") };
        assert_eq!(cause, "another write of the key came first, 100 times in a row");
    }
    assert_eq!(store.get("k").await.unwrap(), Some(vec![1]));
}

#[tokio::test]
async fn redis_holds_what_spin_would_have_written_there() {
    let server = Redis::start(&[]);
    let store = redis(&server, "HOST/3").await.unwrap();
    let client = ::redis::Client::open(format!("redis://127.0.0.1:{}/3", server.port())).unwrap();
    let mut spin = client.get_multiplexed_async_connection().await.unwrap();
    ::redis::cmd("SET").arg("from spin").arg("hello").exec_async(&mut spin).await.unwrap();
    ::redis::cmd("INCRBY").arg("count").arg(41).exec_async(&mut spin).await.unwrap();
    assert_eq!(store.get("from spin").await.unwrap(), Some(b"hello".to_vec()));
    assert_eq!(store.increment("count".into(), 1).await.unwrap(), 42);
    store.set("from souk".into(), b"hello".to_vec()).await.unwrap();
    let found: (String, i64) = ::redis::cmd("MGET").arg("from souk").arg("count").query_async(&mut spin).await.unwrap();
    assert_eq!(found, ("hello".to_owned(), 42));

    // Data that only other programs can write there: a key that is not text, a larger value, another type.
    ::redis::cmd("SET").arg(b"\xff\xfe").arg("x").exec_async(&mut spin).await.unwrap();
    ::redis::cmd("SET").arg("large").arg(vec![0_u8; MAX_VALUE_BYTES + 1]).exec_async(&mut spin).await.unwrap();
    ::redis::cmd("LPUSH").arg("queue").arg("x").exec_async(&mut spin).await.unwrap();
    assert_eq!(store.keys(None).await.unwrap().keys, ["count", "from souk", "from spin", "large", "queue"]);
    assert!(
        matches!(store.get("large").await, Err(StoreError::ValueTooLarge { size, .. }) if size == MAX_VALUE_BYTES + 1)
    );
    assert!(matches!(store.get_versioned("large").await, Err(StoreError::ValueTooLarge { .. })));
    assert!(matches!(store.get("queue").await, Err(StoreError::Server { .. })));
}

#[tokio::test]
async fn a_bucket_may_be_anothers_and_its_marks_of_deletion_are_understood() {
    let server = Nats::start();
    let connection = nats(&server.url()).await;
    let store = Store::in_nats(&connection, None, "auth").await.unwrap();
    let bucket = connection.jetstream().get_key_value("souk_test_kv_auth").await.unwrap();
    assert_eq!(bucket.get("k").await.unwrap(), None);
    store.set("k".into(), b"v".to_vec()).await.unwrap();
    assert_eq!(bucket.get("k").await.unwrap().as_deref(), Some(&b"v"[..]));
    bucket.put("a.b", "not a key of the store".into()).await.unwrap();
    for deletion in ["delete", "purge"] {
        match deletion {
            "delete" => bucket.delete("k").await.unwrap(),
            _ => bucket.purge("k").await.unwrap(),
        }
        assert_eq!(store.get("k").await.unwrap(), None, "{deletion}");
        assert_eq!(store.keys(None).await.unwrap().keys, Vec::<String>::new());
        assert_eq!(store.swap("k".into(), None, b"new".to_vec()).await.unwrap(), Swap::Done);
        bucket.delete("n").await.unwrap();
        assert_eq!(store.increment("n".into(), 2).await.unwrap(), 2);
        store.delete_many(vec!["n".into()]).await.unwrap();
    }
    store.delete_many(vec!["k".into()]).await.unwrap();
    let left = bucket.stream.get_info().await.unwrap().state;
    assert_eq!(left.messages, 1, "deletions leave nothing: {left:?}");
}

#[tokio::test]
async fn a_bucket_that_keeps_a_history_or_drops_what_is_old_is_refused() {
    let server = Nats::start();
    let connection = nats(&server.url()).await;
    let config = Config { max_messages_per_subject: 5, ..settings("old", -1, 1) };
    connection.jetstream().create_stream(config).await.unwrap();
    let refused = async |bucket: &str| {
        let place = KeyValuePlace::Nats { bucket: Some(bucket.to_owned()) };
        open_at(Some(&place), Path::new("unused"), Some(&connection), "auth").await.err().unwrap().to_string()
    };
    let error = refused("old").await;
    assert!(error.contains("bucket old keeps 5 values of a key, not 1\n  fix: create it with `--history"), "{error}");
    let config = Config { discard: DiscardPolicy::Old, ..settings("leaky", 2 << 20, 1) };
    connection.jetstream().create_stream(config).await.unwrap();
    let error = refused("leaky").await;
    assert!(error.contains("bucket leaky drops its oldest") && error.contains("KV_leaky --discard=new`"), "{error}");
    assert!(error.contains("when it is full\n  fix: let it refuse new ones"), "{error}");
}

#[tokio::test]
async fn a_password_opens_redis_and_is_in_no_error() {
    let server = Redis::start(&["--requirepass", "s3cret"]);
    let store = redis(&server, ":s3cret@HOST").await.unwrap();
    store.set("k".into(), vec![1]).await.unwrap();
    for wrong in ["HOST", ":not-s3cret@HOST", "ann:s3cret@HOST"] {
        let error = format!("{:#?}", redis(&server, wrong).await.err().unwrap());
        assert!(!error.contains("s3cret"), "{error}");
    }
    let error = redis(&server, ":s3cret@HOST/9999").await.err().unwrap();
    assert!(error.to_string().contains("out of range"), "{error}");
}

/// The host's own TLS names its crypto provider; the Redis client uses the only one that is compiled in.
#[tokio::test]
async fn a_redis_server_whose_certificate_nobody_vouches_for_is_refused() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let port = souk_test::ports::free();
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let _server = Redis::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        certificate,
        "--tls-key-file",
        key,
        "--tls-ca-cert-file",
        certificate,
    ]);
    let url = RedisUrl::parse(&format!("rediss://localhost:{port}")).unwrap();
    let error = format!("{:#}", Store::in_redis(&url, "auth").await.err().unwrap());
    assert!(error.contains("certificate"), "{error}");
}
