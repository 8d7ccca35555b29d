use super::*;
use std::collections::BTreeSet;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(dir: &TempDir) -> Store {
    Store::open(&dir.path().join("default.db"), "default").unwrap()
}

fn many(count: usize) -> Vec<(String, Vec<u8>)> {
    (0..count).map(|n| (format!("key {n:05}"), n.to_string().into_bytes())).collect()
}

#[tokio::test]
async fn a_value_is_read_back_and_survives_a_restart() {
    let dir = folder();
    let store = open(&dir);
    assert_eq!(store.get("k").unwrap(), None);
    store.set("k".into(), b"one".to_vec()).await.unwrap();
    store.set("k".into(), b"two".to_vec()).await.unwrap();
    store.set(String::new(), Vec::new()).await.unwrap();
    assert_eq!(store.get("k").unwrap(), Some(b"two".to_vec()));
    drop(store);
    let store = open(&dir);
    assert_eq!(store.get("k").unwrap(), Some(b"two".to_vec()));
    assert_eq!(store.get("").unwrap(), Some(Vec::new()));
    store.delete_many(vec!["k".into(), "absent".into()]).await.unwrap();
    assert_eq!(store.version("k").unwrap(), None);
}

#[test]
fn a_write_is_on_disk_before_it_is_acknowledged() {
    let dir = folder();
    let store = open(&dir);
    let writer = store.writer.blocking_lock();
    let pragma =
        |name: &str| writer.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0));
    assert_eq!(pragma("journal_mode").unwrap(), "wal".to_owned().into());
    assert_eq!(pragma("synchronous").unwrap(), 2.into());
    assert_eq!(pragma("max_page_count").unwrap(), 262_144.into());
}

#[tokio::test]
async fn keys_are_listed_by_pages_each_key_once() {
    let dir = folder();
    let store = open(&dir);
    for chunk in many(2 * KEYS_PAGE + 3).chunks(MAX_BATCH_KEYS / 2) {
        store.set_many(chunk.to_vec()).await.unwrap();
    }
    let mut all = Vec::new();
    let mut sizes = Vec::new();
    loop {
        let page = store.keys(all.last().map(String::as_str)).unwrap();
        sizes.push(page.len());
        all.extend(page);
        if sizes.last() != Some(&KEYS_PAGE) {
            break;
        }
    }
    assert_eq!(sizes, [KEYS_PAGE, KEYS_PAGE, 3]);
    assert_eq!(all, many(2 * KEYS_PAGE + 3).into_iter().map(|(key, _)| key).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_keeps_the_order_of_its_keys_and_is_all_or_nothing() {
    let dir = folder();
    let store = open(&dir);
    store.set_many(many(3)).await.unwrap();
    let found = store.get_many(vec!["key 00002".into(), "absent".into(), "key 00000".into()]).await.unwrap();
    let expected = [("key 00002", Some(&b"2"[..])), ("absent", None), ("key 00000", Some(b"0"))];
    assert_eq!(found.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect::<Vec<_>>(), expected);

    // The second entry is refused, so the first is not written either.
    let entries = vec![("new".to_owned(), vec![1]), ("x".repeat(MAX_KEY + 1), vec![2])];
    assert!(matches!(store.set_many(entries).await, Err(StoreError::KeyTooLong(256))));
    assert_eq!(store.get("new").unwrap(), None);
}

#[tokio::test]
async fn what_fails_in_the_middle_of_a_transaction_leaves_no_trace() {
    let dir = folder();
    let store = Store::open_bounded(&dir.path().join("small.db"), "small", 64).unwrap();
    let entries = (0..8).map(|n| (format!("k{n}"), vec![7; 40_000])).collect();
    assert!(matches!(store.set_many(entries).await, Err(StoreError::Full)));
    assert_eq!(store.keys(None).unwrap(), Vec::<String>::new());
    // A store that is full still serves, and a deletion makes room again.
    store.set("a".into(), vec![1; 150_000]).await.unwrap();
    assert!(matches!(store.set("b".into(), vec![1; 150_000]).await, Err(StoreError::Full)));
    assert_eq!(store.get("a").unwrap().unwrap().len(), 150_000);
    store.delete_many(vec!["a".into()]).await.unwrap();
    store.set("b".into(), vec![1; 150_000]).await.unwrap();
}

#[tokio::test]
async fn keys_values_and_batches_have_bounds_and_the_bound_itself_is_allowed() {
    let dir = folder();
    let store = open(&dir);
    store.set("k".repeat(MAX_KEY), vec![0; MAX_VALUE]).await.unwrap();
    let long = "k".repeat(MAX_KEY + 1);
    assert!(matches!(store.get(&long), Err(StoreError::KeyTooLong(_))));
    assert!(matches!(store.version(&long), Err(StoreError::KeyTooLong(_))));
    assert!(matches!(store.increment(long.clone(), 1).await, Err(StoreError::KeyTooLong(_))));
    assert!(matches!(store.swap(long.clone(), None, vec![]).await, Err(StoreError::KeyTooLong(_))));
    assert!(matches!(store.delete_many(vec![long.clone()]).await, Err(StoreError::KeyTooLong(_))));
    assert!(matches!(store.get_many(vec![long]).await, Err(StoreError::KeyTooLong(_))));
    let large = vec![0; MAX_VALUE + 1];
    assert!(matches!(store.set("k".into(), large.clone()).await, Err(StoreError::ValueTooLarge(_))));
    assert!(matches!(store.swap("k".into(), None, large).await, Err(StoreError::ValueTooLarge(_))));
    assert!(matches!(store.set_many(many(MAX_BATCH_KEYS + 1)).await, Err(StoreError::BatchTooLong(_))));
    let keys = vec!["k".to_owned(); MAX_BATCH_KEYS + 1];
    assert!(matches!(store.get_many(keys.clone()).await, Err(StoreError::BatchTooLong(_))));
    assert!(matches!(store.delete_many(keys).await, Err(StoreError::BatchTooLong(_))));
    let heavy = vec!["k".repeat(MAX_KEY); MAX_BATCH_BYTES / MAX_VALUE + 1];
    assert!(matches!(store.get_many(heavy.clone()).await, Err(StoreError::BatchTooLarge)));
    let entries = heavy.into_iter().map(|key| (key, vec![0; MAX_VALUE])).collect();
    assert!(matches!(store.set_many(entries).await, Err(StoreError::BatchTooLarge)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_increments_lose_nothing_even_through_two_openings_of_the_file() {
    let dir = folder();
    let stores = [Arc::new(open(&dir)), Arc::new(open(&dir))];
    let tasks = (0..60).map(|n| {
        let store = stores[n % 2].clone();
        tokio::spawn(async move { store.increment("count".into(), 1).await.unwrap() })
    });
    let sums: BTreeSet<i64> = futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(sums, (1..=60).collect(), "each increment returned a sum of its own");
    assert_eq!(stores[0].get("count").unwrap(), Some(60_i64.to_le_bytes().to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_concurrent_swaps_from_one_state_exactly_one_wins() {
    let dir = folder();
    let store = Arc::new(open(&dir));
    let mut expected = None;
    for round in 0..5 {
        let tasks = (0..8_u8).map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.swap("k".into(), expected, vec![round, n]).await.unwrap() })
        });
        let outcomes: Vec<Swap> = futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).collect();
        let now = store.version("k").unwrap();
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Swap::Done).count(), 1, "{outcomes:?}");
        assert!(outcomes.iter().all(|outcome| *outcome == Swap::Done || *outcome == Swap::Stale(now)));
        expected = now;
    }
}

#[tokio::test]
async fn a_swap_notices_a_value_that_was_changed_and_changed_back() {
    let dir = folder();
    let store = open(&dir);
    store.set("k".into(), b"a".to_vec()).await.unwrap();
    let (_, seen) = store.get_versioned("k").unwrap().unwrap();
    store.set("k".into(), b"b".to_vec()).await.unwrap();
    store.set("k".into(), b"a".to_vec()).await.unwrap();
    assert!(matches!(store.swap("k".into(), Some(seen), b"c".to_vec()).await, Ok(Swap::Stale(Some(_)))));
    store.delete_many(vec!["k".into()]).await.unwrap();
    assert_eq!(store.swap("k".into(), Some(seen), b"c".to_vec()).await.unwrap(), Swap::Stale(None));
    assert_eq!(store.swap("k".into(), None, b"c".to_vec()).await.unwrap(), Swap::Done);
    assert_eq!(store.get("k").unwrap(), Some(b"c".to_vec()));
}

#[tokio::test]
async fn an_increment_refuses_what_is_not_its_number_and_what_would_overflow() {
    let dir = folder();
    let store = open(&dir);
    store.set("text".into(), b"5".to_vec()).await.unwrap();
    assert!(matches!(store.increment("text".into(), 1).await, Err(StoreError::NotANumber)));
    assert_eq!(store.increment("n".into(), i64::MAX).await.unwrap(), i64::MAX);
    assert!(matches!(store.increment("n".into(), 1).await, Err(StoreError::Overflow)));
    assert_eq!(store.increment("n".into(), i64::MIN).await.unwrap(), -1);
}

#[test]
fn a_file_that_is_no_store_is_refused_with_its_label_and_path() {
    let dir = folder();
    let path = dir.path().join("default.db");
    std::fs::write(&path, "this is no database, and long enough not to be taken for an empty one".repeat(20)).unwrap();
    let error = format!("{:#}", Store::open(&path, "default").err().unwrap());
    assert!(error.contains("`default`") && error.contains("default.db"), "{error}");
    assert!(Store::open(&dir.path().join("absent/default.db"), "default").is_err());
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder();
    let _store = open(&dir);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.file_name());
    }
}
