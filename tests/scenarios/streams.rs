//! A guest reads the host's streams in every possible way: it gets each item once, and the host continues to work.
//!
//! The scenarios read the keys of a key-value store and the rows of a query: the host chooses the size of the batches
//! in which the guest gets them.

use crate::harness::{Answer, App, Client, Host};

/// Numbers of items around the size of a page of keys (256), a batch of rows, and the growing reads of an SDK's
/// `collect()`.
const COUNTS: &[u32] = &[0, 1, 2, 7, 10, 100, 207, 256, 257, 1000];
/// More rows than the host buffers, so that a thread must read rows while the guest does.
const MANY_ROWS: u32 = 20_000;

/// The ways to read a stream of `count` items: the way's name, and how many items at a time.
fn ways(count: u32) -> Vec<(&'static str, u32)> {
    let mut sizes = vec![1, 2, 3, count.saturating_sub(1).max(1), count.max(1), count + 1];
    sizes.sort_unstable();
    sizes.dedup();
    let by = ["by", "peek", "cancel"].into_iter().flat_map(|way| sizes.iter().map(move |n| (way, *n)));
    by.chain([("next", 0), ("collect", 0)]).collect()
}

fn items(answer: &Answer) -> Vec<String> {
    let mut items: Vec<String> = serde_json::from_value(answer.expect(200)).unwrap();
    // A key-value server has its own order of keys.
    items.sort_unstable();
    items
}

fn numbers(count: u32) -> Vec<String> {
    (0..count).map(|n| format!("{n:04}")).collect()
}

/// Reads the stream of `count` items under `path` in every way.
async fn read_in_every_way(host: &Host, client: &Client, path: &str, count: u32) {
    for (way, n) in ways(count) {
        let path = format!("{path}/{way}/{n}");
        assert_eq!(items(&client.get(&path).await), numbers(count), "{path}");
    }
    for n in [0, 1, count / 2] {
        let path = format!("{path}/early/{n}");
        let read = items(&client.get(&path).await);
        assert_eq!(read.len(), n.min(count) as usize, "{path}");
        assert!(read.iter().all(|item| numbers(count).contains(item)), "{path}");
    }
    for n in [1, count + 1] {
        // The component model traps a guest that reads again after the end; an SDK may remember the end and not read.
        let path = format!("{path}/again/{n}");
        let answer = client.get(&path).await;
        if answer.status == 200 {
            assert_eq!(items(&answer), numbers(count), "{path}");
        } else {
            answer.expect_unavailable();
        }
    }
    client.get("/other/self/hello").await.expect(200);
    assert!(!host.log().iter().any(|line| line.contains("panicked")), "{count}: the host panicked");
}

#[tokio::test]
async fn a_guest_that_lists_keys_gets_each_once_however_it_reads_them() {
    let host = App::new("rogue").start().await;
    let client = host.client();
    for count in COUNTS {
        client.get(&format!("/other/set-keys/{count}")).await.expect(200);
        read_in_every_way(&host, &client, "/other/read-keys", *count).await;
    }
}

#[tokio::test]
async fn a_guest_that_reads_rows_gets_each_once_however_it_reads_them() {
    let host = App::new("rogue").start().await;
    let client = host.client();
    for count in COUNTS {
        read_in_every_way(&host, &client, &format!("/other/read-rows/{count}"), *count).await;
    }
}

#[tokio::test]
async fn a_guest_may_read_many_rows_at_its_own_pace_or_leave_most_unread() {
    let host = App::new("rogue").start().await;
    let client = host.client();
    for way in ["by/1999", "peek/1999", "cancel/1999", "collect/0"] {
        let path = format!("/other/read-rows/{MANY_ROWS}/{way}");
        let read: Vec<String> = serde_json::from_value(client.get(&path).await.expect(200)).unwrap();
        assert_eq!(read, numbers(MANY_ROWS), "{path}");
    }
    for _ in 0..20 {
        let path = format!("/other/read-rows/{MANY_ROWS}/early/3");
        assert_eq!(items(&client.get(&path).await), numbers(3));
    }
}
