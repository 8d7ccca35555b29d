//! Behaviour that only the store in a file has.

use super::*;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(dir: &TempDir) -> File {
    File::open(&dir.path().join("default.db"), "default").unwrap()
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

#[test]
fn a_file_that_is_not_a_store_is_refused_with_its_label_and_path() {
    let dir = folder();
    let path = dir.path().join("default.db");
    std::fs::write(&path, "this is no database, and long enough not to be taken for an empty one".repeat(20)).unwrap();
    let error = format!("{:#}", File::open(&path, "default").err().unwrap());
    assert!(error.contains("`default`") && error.contains("default.db"), "{error}");
    assert!(File::open(&dir.path().join("absent/default.db"), "default").is_err());
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

#[tokio::test]
async fn what_fails_in_the_middle_of_a_transaction_leaves_no_trace() {
    let dir = folder();
    let store = File::open_bounded(&dir.path().join("small.db"), "small", 64).unwrap();
    let one = |key: &str, bytes| vec![(key.to_owned(), vec![1; bytes])];
    let entries = (0..8).map(|n| (format!("k{n}"), vec![7; 40_000])).collect();
    assert!(matches!(store.set_many(entries).await, Err(StoreError::Full)));
    assert_eq!(store.keys(None).unwrap(), Page::default());
    // A store that is full still serves, and a deletion makes room again.
    store.set_many(one("a", 150_000)).await.unwrap();
    assert!(matches!(store.set_many(one("b", 150_000)).await, Err(StoreError::Full)));
    assert_eq!(store.get_versioned("a").unwrap().unwrap().0.len(), 150_000);
    store.delete_many(vec!["a".into()]).await.unwrap();
    store.set_many(one("b", 150_000)).await.unwrap();
}

#[tokio::test]
async fn the_log_says_once_each_time_that_a_store_is_nearly_full() {
    let log = crate::tests::Log::capture();
    let dir = folder();
    let store = File::open_bounded(&dir.path().join("small.db"), "small", 64).unwrap();
    let set = async |key: &str, bytes| store.set_many(vec![(key.to_owned(), vec![1; bytes])]).await.unwrap();
    let said = || log.lines().iter().filter(|line| line.contains("key-value store `small` is nearly full")).count();
    set("a", 100_000).await;
    assert_eq!(said(), 0, "{:?}", log.lines());
    set("b", 120_000).await;
    set("c", 10).await;
    assert_eq!(said(), 1, "{:?}", log.lines());
    // The file does not shrink, but free space in it counts as free.
    store.delete_many(vec!["b".into()]).await.unwrap();
    assert_eq!(said(), 1);
    set("b", 120_000).await;
    assert_eq!(said(), 2, "{:?}", log.lines());
}

#[tokio::test]
async fn a_backup_that_does_not_end_cannot_make_the_log_grow_without_bound() {
    let dir = folder();
    let path = dir.path().join("small.db");
    let store = File::open_bounded(&path, "small", 64).unwrap();
    let backup = Connection::open(&path).unwrap();
    backup.execute_batch("BEGIN; SELECT count(*) FROM entry").unwrap();
    let set = async || store.set_many(vec![("a".to_owned(), vec![1; 50_000])]).await;
    let log = dir.path().join("small.db-wal");
    let refused = loop {
        assert!(std::fs::metadata(&log).unwrap().len() < 5 * 64 * PAGE_SIZE);
        if let Err(e) = set().await {
            break e;
        }
    };
    assert!(matches!(refused, StoreError::LogFull), "{refused:?}");
    drop(backup);
    set().await.unwrap();
    assert!(std::fs::metadata(&log).unwrap().len() <= 64 * PAGE_SIZE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_write_in_a_group_leaves_nothing_and_the_others_stay() {
    let dir = folder();
    let store = Arc::new(open(&dir));
    store.set_many(vec![("text".to_owned(), b"no number".to_vec())]).await.unwrap();
    let held = store.writer.clone().lock_owned().await;
    let swap = |key: &str| {
        let (store, key) = (store.clone(), key.to_owned());
        tokio::spawn(async move { store.swap(key, None, vec![1]).await })
    };
    let alone: Vec<_> = (0..6).map(|n| swap(&format!("k{n}"))).collect();
    let rivals = [swap("one"), swap("one")];
    let refused = store.clone();
    let refused = tokio::spawn(async move { refused.increment("text".into(), 1).await });
    // The caller of this write has gone, so it is not done.
    let gone = swap("gone");
    while store.waiting.len() < 10 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(store.waiting.len(), 9, "and its value takes no memory");
    drop(held);
    for swapped in alone {
        assert_eq!(swapped.await.unwrap().unwrap(), Swap::Done);
    }
    let mut done = 0;
    for rival in rivals {
        done += usize::from(rival.await.unwrap().unwrap() == Swap::Done);
    }
    assert_eq!(done, 1);
    assert!(matches!(refused.await.unwrap(), Err(StoreError::NotANumber)));
    assert_eq!(store.keys(None).unwrap().keys, ["k0", "k1", "k2", "k3", "k4", "k5", "one", "text"]);
    assert_eq!(store.waiting.len(), 0);
}
