//! The promises that every kind of store keeps: each of these tests runs on a file, NATS, Redis and MongoDB.

use super::super::kinds::TestStore;
use super::super::types::KEYS_PAGE;
use super::*;
use std::collections::BTreeSet;
use std::sync::Arc;

macro_rules! on_every_kind {
    ($($test:ident)*) => {
        on_every_kind!(@kind file File $($test)*);
        on_every_kind!(@kind nats Nats $($test)*);
        on_every_kind!(@kind redis Redis $($test)*);
        #[cfg(feature = "mongodb")]
        on_every_kind!(@kind mongodb Mongo $($test)*);
    };
    (@kind $module:ident $kind:ident $($test:ident)*) => {
        mod $module {
            use super::super::super::kinds::{Kind, TestStore};
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(&TestStore::new(Kind::$kind).await).await;
            })*
        }
    };
}

on_every_kind! {
    a_value_is_read_back_by_every_opening
    every_key_that_text_can_be_is_kept_apart_and_listed
    keys_are_listed_by_pages_each_key_once
    a_cursor_leads_on_and_a_page_has_keys
    a_batch_keeps_the_order_of_its_keys_and_nothing_is_written_where_one_is_refused
    keys_values_and_batches_have_bounds_and_the_bound_itself_is_allowed
    concurrent_increments_lose_nothing
    an_increment_refuses_what_is_not_its_number_and_what_would_overflow
    a_number_is_kept_as_digits_and_the_form_of_release_0_1_0_is_read_and_replaced
    exactly_one_of_several_concurrent_swaps_wins
    changes_by_swap_of_eight_writers_lose_nothing
    a_swap_is_refused_after_a_change_and_after_a_deletion
}

fn many(count: usize) -> Vec<(String, Vec<u8>)> {
    (0..count).map(|n| (format!("key {n:05}"), n.to_string().into_bytes())).collect()
}

/// All keys, page by page.
async fn listed(store: &Store) -> Vec<String> {
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.keys(cursor.as_deref()).await.unwrap();
        keys.extend(page.keys);
        cursor = page.next;
        if cursor.is_none() {
            return keys;
        }
    }
}

async fn a_value_is_read_back_by_every_opening(place: &TestStore) {
    let (store, other) = (place.open().await, place.open().await);
    assert_eq!(store.get("k").await.unwrap(), None);
    assert_eq!(other.version("k").await.unwrap(), None);
    store.set("k".into(), b"one".to_vec()).await.unwrap();
    store.set("k".into(), b"two".to_vec()).await.unwrap();
    store.set(String::new(), Vec::new()).await.unwrap();
    assert_eq!(other.get("k").await.unwrap(), Some(b"two".to_vec()));
    assert!(other.exists("k").await.unwrap() && other.exists("").await.unwrap());
    drop((store, other));
    let store = place.open().await;
    assert_eq!(store.get("k").await.unwrap(), Some(b"two".to_vec()));
    assert_eq!(store.get("").await.unwrap(), Some(Vec::new()));
    store.delete_many(vec!["k".into(), "absent".into()]).await.unwrap();
    assert_eq!(store.version("k").await.unwrap(), None);
    assert!(!store.exists("k").await.unwrap());
    let bytes: Vec<u8> = (0..=255).collect();
    store.set("bytes".into(), bytes.clone()).await.unwrap();
    assert_eq!(store.get("bytes").await.unwrap(), Some(bytes));
}

async fn every_key_that_text_can_be_is_kept_apart_and_listed(place: &TestStore) {
    let store = place.open().await;
    let mut keys: Vec<String> = [
        "", " ", ".", "..", "a.b", "a..b", ".a", "a.", "=", "=2E", ">", "*", "a/b", "A", "a", "é", "日本", "\0", "\n",
        "$KV",
    ]
    .map(str::to_owned)
    .into();
    keys.push("é".repeat(MAX_KEY_BYTES / 2));
    store.set_many(keys.iter().map(|key| (key.clone(), key.clone().into_bytes())).collect()).await.unwrap();
    for key in &keys {
        assert_eq!(store.get(key).await.unwrap().as_deref(), Some(key.as_bytes()), "{key:?}");
    }
    assert_eq!(BTreeSet::from_iter(listed(&store).await), BTreeSet::from_iter(keys.clone()));
    store.delete_many(keys).await.unwrap();
    assert_eq!(listed(&store).await, Vec::<String>::new());
}

async fn keys_are_listed_by_pages_each_key_once(place: &TestStore) {
    let store = place.open().await;
    let entries = many(2 * KEYS_PAGE + 3);
    for chunk in entries.chunks(MAX_BATCH_KEYS / 2) {
        store.set_many(chunk.to_vec()).await.unwrap();
    }
    let mut keys = listed(&store).await;
    keys.sort();
    assert_eq!(keys, entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>());
}

async fn a_cursor_leads_on_and_a_page_has_keys(place: &TestStore) {
    let store = place.open().await;
    assert_eq!(store.keys(None).await.unwrap(), Page::default());
    store.set_many(many(2 * KEYS_PAGE)).await.unwrap();
    let first = store.keys(None).await.unwrap();
    // Redis does not keep the page size exactly.
    assert!(!first.keys.is_empty() && first.keys.len() < 2 * KEYS_PAGE, "{}", first.keys.len());
    let next = store.keys(first.next.as_deref()).await.unwrap();
    assert!(next.keys.iter().all(|key| !first.keys.contains(key)));
    // A file accepts any key as a cursor; where a cursor is a number, any other text is refused.
    let odd = store.keys(Some("zzz")).await;
    assert!(matches!(odd, Err(StoreError::Cursor)) || odd.unwrap() == Page::default());
}

async fn a_batch_keeps_the_order_of_its_keys_and_nothing_is_written_where_one_is_refused(place: &TestStore) {
    let store = place.open().await;
    store.set_many(many(3)).await.unwrap();
    let found = store.get_many(vec!["key 00002".into(), "absent".into(), "key 00000".into()]).await.unwrap();
    let expected = [("key 00002", Some(&b"2"[..])), ("absent", None), ("key 00000", Some(b"0"))];
    assert_eq!(found.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect::<Vec<_>>(), expected);

    let entries = vec![("new".to_owned(), vec![1]), ("x".repeat(MAX_KEY_BYTES + 1), vec![2])];
    assert!(matches!(store.set_many(entries).await, Err(StoreError::KeyTooLong(256))));
    assert_eq!(store.get("new").await.unwrap(), None);
    store.set_many(vec![("twice".into(), vec![1]), ("twice".into(), vec![2])]).await.unwrap();
    assert_eq!(store.get("twice").await.unwrap(), Some(vec![2]));
    store.set_many(Vec::new()).await.unwrap();
    store.delete_many(Vec::new()).await.unwrap();
    assert_eq!(store.get_many(Vec::new()).await.unwrap(), Vec::new());
}

async fn keys_values_and_batches_have_bounds_and_the_bound_itself_is_allowed(place: &TestStore) {
    let store = place.open().await;
    let most = store.max_value();
    let key = "k".repeat(MAX_KEY_BYTES);
    store.set(key.clone(), vec![0; most]).await.unwrap();
    let (value, version) = store.get_versioned(&key).await.unwrap().unwrap();
    assert_eq!(value.len(), most);
    assert_eq!(store.swap(key.clone(), Some(version), vec![1; most]).await.unwrap(), Swap::Done);
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    assert!(matches!(store.get(&long).await, Err(StoreError::KeyTooLong(_))));
    assert!(matches!(store.exists(&long).await, Err(StoreError::KeyTooLong(_))));
    assert!(matches!(store.version(&long).await, Err(StoreError::KeyTooLong(_))));
    assert!(matches!(store.get_versioned(&long).await, Err(StoreError::KeyTooLong(_))));
    assert!(matches!(store.increment(long.clone(), 1).await, Err(StoreError::KeyTooLong(_))));
    assert!(matches!(store.swap(long.clone(), None, vec![]).await, Err(StoreError::KeyTooLong(_))));
    assert!(matches!(store.delete_many(vec![long.clone()]).await, Err(StoreError::KeyTooLong(_))));
    assert!(matches!(store.get_many(vec![long]).await, Err(StoreError::KeyTooLong(_))));
    let large = vec![0; most + 1];
    assert!(matches!(store.set("k".into(), large.clone()).await, Err(StoreError::ValueTooLarge { .. })));
    assert!(matches!(store.swap("k".into(), None, large).await, Err(StoreError::ValueTooLarge { .. })));
    assert!(matches!(store.set_many(many(MAX_BATCH_KEYS + 1)).await, Err(StoreError::BatchTooLong(_))));
    let keys = vec!["k".to_owned(); MAX_BATCH_KEYS + 1];
    assert!(matches!(store.get_many(keys.clone()).await, Err(StoreError::BatchTooLong(_))));
    assert!(matches!(store.delete_many(keys).await, Err(StoreError::BatchTooLong(_))));
    let heavy = vec![key; MAX_BATCH_BYTES / MAX_VALUE_BYTES + 1];
    assert!(matches!(store.get_many(heavy.clone()).await, Err(StoreError::BatchTooLarge)));
    let entries = heavy.into_iter().map(|key| (key, vec![0; most])).collect();
    assert!(matches!(store.set_many(entries).await, Err(StoreError::BatchTooLarge)));
}

async fn concurrent_increments_lose_nothing(place: &TestStore) {
    let stores = [Arc::new(place.open().await), Arc::new(place.open().await)];
    let tasks = (0..60).map(|n| {
        let store = stores[n % 2].clone();
        tokio::spawn(async move { store.increment("count".into(), 1).await.unwrap() })
    });
    let sums: BTreeSet<i64> = futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(sums, (1..=60).collect(), "each increment returned a sum of its own");
    assert_eq!(stores[0].increment("count".into(), 0).await.unwrap(), 60);
}

async fn an_increment_refuses_what_is_not_its_number_and_what_would_overflow(place: &TestStore) {
    let store = place.open().await;
    store.set("text".into(), b"five".to_vec()).await.unwrap();
    assert!(matches!(store.increment("text".into(), 1).await, Err(StoreError::NotANumber)));
    assert_eq!(store.get("text").await.unwrap(), Some(b"five".to_vec()));
    assert_eq!(store.increment("n".into(), i64::MAX).await.unwrap(), i64::MAX);
    assert!(matches!(store.increment("n".into(), 1).await, Err(StoreError::Overflow)));
    assert_eq!(store.increment("n".into(), i64::MIN).await.unwrap(), -1);
    // The bytes that `increment` wrote, stored under another key, are a number again.
    let number = store.get("n").await.unwrap().unwrap();
    store.set("moved".into(), number).await.unwrap();
    assert_eq!(store.increment("moved".into(), 3).await.unwrap(), 2);
}

async fn a_number_is_kept_as_digits_and_the_form_of_release_0_1_0_is_read_and_replaced(place: &TestStore) {
    let store = place.open().await;
    for number in [0_i64, 41, -1, i64::MIN, 12_345_678] {
        let key = format!("n{number}");
        store.set(key.clone(), number.to_le_bytes().to_vec()).await.unwrap();
        assert_eq!(store.increment(key.clone(), 1).await.unwrap(), number + 1);
        assert_eq!(store.get(&key).await.unwrap(), Some((number + 1).to_string().into_bytes()));
        assert_eq!(store.increment(key, -1).await.unwrap(), number);
    }
    for text in ["+1", "007", " 7", "7 ", "1e3", "", "9223372036854775808"] {
        store.set("text".into(), text.as_bytes().to_vec()).await.unwrap();
        assert!(matches!(store.increment("text".into(), 1).await, Err(StoreError::NotANumber)), "{text:?}");
    }
}

async fn exactly_one_of_several_concurrent_swaps_wins(place: &TestStore) {
    let stores = [Arc::new(place.open().await), Arc::new(place.open().await)];
    let mut value = None;
    for round in 0..5 {
        // Each `Store` has its own versions.
        let mut expected = Vec::new();
        for store in &stores {
            let found = store.get_versioned("k").await.unwrap();
            assert_eq!(found.as_ref().map(|(value, _)| value), value.as_ref());
            expected.push(found.map(|(_, version)| version));
        }
        let tasks = (0..8_u8).map(|n| {
            let (store, expected) = (stores[usize::from(n) % 2].clone(), expected[usize::from(n) % 2]);
            tokio::spawn(async move { store.swap("k".into(), expected, vec![round, n]).await.unwrap() })
        });
        let outcomes: Vec<Swap> = futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).collect();
        let won: Vec<usize> = (0..8).filter(|n| outcomes[*n] == Swap::Done).collect();
        assert_eq!(won.len(), 1, "{outcomes:?}");
        for (n, outcome) in outcomes.into_iter().enumerate().filter(|(n, _)| *n != won[0]) {
            assert_eq!(outcome, Swap::Stale(stores[n % 2].version("k").await.unwrap()));
        }
        value = Some(vec![round, u8::try_from(won[0]).unwrap()]);
    }
}

async fn changes_by_swap_of_eight_writers_lose_nothing(place: &TestStore) {
    let stores = [Arc::new(place.open().await), Arc::new(place.open().await)];
    let writers = (0..8_u8).map(|n| {
        let store = stores[usize::from(n) % 2].clone();
        tokio::spawn(async move {
            for round in 0..5 {
                loop {
                    let (mut list, version) = store.get_versioned("list").await.unwrap().unzip();
                    let list = list.get_or_insert_default();
                    list.push(10 * n + round);
                    if store.swap("list".into(), version, list.clone()).await.unwrap() == Swap::Done {
                        break;
                    }
                }
            }
        })
    });
    futures::future::join_all(writers).await.into_iter().for_each(Result::unwrap);
    let mut list = stores[0].get("list").await.unwrap().unwrap();
    list.sort_unstable();
    assert_eq!(list, (0..8).flat_map(|n| (0..5).map(move |round| 10 * n + round)).collect::<Vec<u8>>());
}

async fn a_swap_is_refused_after_a_change_and_after_a_deletion(place: &TestStore) {
    let (store, other) = (place.open().await, place.open().await);
    store.set("k".into(), b"a".to_vec()).await.unwrap();
    let (_, seen) = store.get_versioned("k").await.unwrap().unwrap();
    assert_eq!(store.version("k").await.unwrap(), Some(seen));
    other.set("k".into(), b"b".to_vec()).await.unwrap();
    let Ok(Swap::Stale(Some(now))) = store.swap("k".into(), Some(seen), b"c".to_vec()).await else {
        panic!("the swap went through")
    };
    assert_eq!(store.swap("k".into(), Some(now), b"c".to_vec()).await.unwrap(), Swap::Done);
    let now = store.version("k").await.unwrap();
    other.delete_many(vec!["k".into()]).await.unwrap();
    assert_eq!(store.swap("k".into(), now, b"d".to_vec()).await.unwrap(), Swap::Stale(None));
    assert_eq!(store.swap("k".into(), None, b"d".to_vec()).await.unwrap(), Swap::Done);
    assert_eq!(other.get("k").await.unwrap(), Some(b"d".to_vec()));
    assert!(matches!(other.swap("k".into(), None, b"e".to_vec()).await, Ok(Swap::Stale(Some(_)))));
}

/// Not on Redis, which compares the value itself.
#[tokio::test]
async fn a_file_and_nats_notice_a_value_that_was_changed_and_changed_back() {
    use super::super::kinds::Kind;
    for kind in [Kind::File, Kind::Nats] {
        let place = TestStore::new(kind).await;
        let store = place.open().await;
        store.set("k".into(), b"a".to_vec()).await.unwrap();
        let (_, seen) = store.get_versioned("k").await.unwrap().unwrap();
        store.set("k".into(), b"b".to_vec()).await.unwrap();
        store.set("k".into(), b"a".to_vec()).await.unwrap();
        assert!(matches!(store.swap("k".into(), Some(seen), b"c".to_vec()).await, Ok(Swap::Stale(Some(_)))));
    }
}
