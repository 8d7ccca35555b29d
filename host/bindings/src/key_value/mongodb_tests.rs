//! What only a store in MongoDB promises: it can share a server with other programs, and survives outages.

use super::mongodb::is_full;
use super::server_tests::{everything_fails, works_again};
use super::{MAX_VALUE_BYTES, Store, StoreError, Swap};
use mongodb::bson::{Document, doc};
use souk_manifest::MongoUrl;
use souk_test::mongodb::MongoDb;

async fn open(url: &str, collection: &str) -> anyhow::Result<Store> {
    Store::in_mongodb(&MongoUrl::parse(url).unwrap(), collection, "auth").await
}

#[test]
fn a_store_is_full_when_its_quota_is_used_up_and_not_when_a_right_is_missing_or_the_disk_is_full() {
    assert!(is_full(8000, "you are over your space quota, using 513 MB of 512 MB"));
    assert!(!is_full(8000, "user is not allowed to do action [insert] on [shop.auth]"));
    assert!(!is_full(14031, "available disk space of 5000 bytes is less than required minimum of 524288000"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_mongodb_fails_while_its_server_is_away_and_works_when_it_is_back() {
    let mut server = MongoDb::start();
    let store = open(&server.database(), "souk_auth").await.unwrap();
    store.set("kept".into(), b"1".to_vec()).await.unwrap();
    server.kill();
    everything_fails(&store).await;
    server.resume();
    works_again(&store).await;
    assert_eq!(store.get("kept").await.unwrap(), Some(b"1".to_vec()));
    assert_eq!(store.get("k").await.unwrap(), None, "nothing was written later that was refused before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_no_change_that_it_acknowledged_and_makes_none_twice() {
    let mut server = MongoDb::start();
    let url = server.database();
    let mut writers = Vec::new();
    for n in 0..4_u8 {
        let store = open(&url, "souk_auth").await.unwrap();
        writers.push(tokio::spawn(async move {
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
            }
        }));
    }
    server.kill();
    server.resume();
    for writer in writers {
        writer.await.unwrap();
    }
    let list = open(&url, "souk_auth").await.unwrap().get("list").await.unwrap().unwrap();
    let mut kept: Vec<[u8; 2]> = list.chunks(2).map(|mark| [mark[0], mark[1]]).collect();
    kept.sort_unstable();
    let all: Vec<[u8; 2]> = (0..4).flat_map(|n| (0..10).map(move |round| [n, round])).collect();
    assert_eq!(kept, all);
}

#[tokio::test]
async fn documents_of_others_are_refused_and_left_as_they_are() {
    let url = MongoDb::shared().database();
    let database = mongodb::Client::with_uri_str(&url).await.unwrap().default_database().unwrap();
    let users = database.collection::<Document>("User");
    users.insert_one(doc! { "email": "ann@example.com" }).await.unwrap();
    let error = open(&url, "User").await.err().unwrap().to_string();
    assert!(error.contains("collection User has documents that no store has written"), "{error}");

    // A foreign document that was added later.
    let store = open(&url, "souk_auth").await.unwrap();
    store.set("mine".into(), vec![1]).await.unwrap();
    let mixed = database.collection::<Document>("souk_auth");
    mixed.insert_one(doc! { "_id": "theirs", "value": "text" }).await.unwrap();
    for error in [
        store.get("theirs").await.err(),
        store.get_versioned("theirs").await.err(),
        store.version("theirs").await.err(),
        store.get_many(vec!["mine".into(), "theirs".into()]).await.err(),
        store.increment("theirs".into(), 1).await.err(),
        store.swap("theirs".into(), None, vec![2]).await.err(),
    ] {
        let Some(StoreError::Server { cause, .. }) = error else { panic!("{error:?}") };
        assert!(cause.contains("another shape"), "{cause}");
    }
    let left = mixed.find_one(doc! { "_id": "theirs" }).await.unwrap().unwrap();
    assert_eq!(left.get_str("value").unwrap(), "text");
    assert_eq!(store.get("mine").await.unwrap(), Some(vec![1]));
}

#[tokio::test]
async fn a_batch_of_the_largest_size_is_written_by_several_commands() {
    let store = open(&MongoDb::shared().database(), "souk_auth").await.unwrap();
    let entries: Vec<_> = (0..16_u8).map(|n| (format!("k{n:02}"), vec![n; MAX_VALUE_BYTES])).collect();
    store.set_many(entries.clone()).await.unwrap();
    let found = store.get_many(entries.iter().map(|(key, _)| key.clone()).collect()).await.unwrap();
    for ((key, value), (found, there)) in entries.iter().zip(&found) {
        assert!(key == found && Some(value) == there.as_ref(), "{key}");
    }
}

#[tokio::test]
async fn a_key_that_is_deleted_and_made_again_is_not_taken_for_the_one_before() {
    let store = open(&MongoDb::shared().database(), "souk_auth").await.unwrap();
    store.set("k".into(), vec![1]).await.unwrap();
    let (_, before) = store.get_versioned("k").await.unwrap().unwrap();
    store.delete_many(vec!["k".into()]).await.unwrap();
    store.set("k".into(), vec![1]).await.unwrap();
    let swapped = store.swap("k".into(), Some(before), vec![2]).await.unwrap();
    assert!(matches!(swapped, Swap::Stale(Some(now)) if now != before), "{swapped:?}");
}

#[tokio::test]
async fn what_the_driver_cannot_read_is_not_repeated() {
    for wrong in ["mongodb://ann:s3cret@127.0.0.1:1/shop?s3cret=1", "mongodb://ann:s3cret@127.0.0.1:port/shop"] {
        let error = format!("{:#}", open(wrong, "souk_auth").await.err().unwrap());
        assert!(!error.contains("s3cret") && error.contains("url"), "{error}");
    }
}
