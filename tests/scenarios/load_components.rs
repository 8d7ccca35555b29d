//! Attacks from inside: a component that takes as much memory, files, disk, log and CPU time as it can get, beside
//! components that behave well.

use crate::harness::load::{self, Bounds, endure};
use crate::harness::{App, Client, Host};
use futures::future::join_all;

/// The bystanders: a component alone, one that calls another component, and one that writes to its database.
const OTHERS: &[&str] = &["/other/self/hello", "/other/answer/7", "/other/insert-row/good"];

/// `callers` clients request `paths` without pause, and ignore the answers.
async fn attack(client: Client, paths: &'static [&'static str], callers: usize) {
    let client = &client;
    join_all((0..callers).map(|caller| async move {
        loop {
            // Refusals and broken connections are expected.
            let _ = client.try_get(paths[caller % paths.len()]).await;
        }
    }))
    .await;
}

async fn withstand(name: &str, app: App, paths: &'static [&'static str], callers: usize, bounds: Bounds) -> Host {
    let host = app.start().await;
    for path in OTHERS {
        host.client().get(path).await.expect(200);
    }
    let (good, bad) = (host.client(), host.client());
    let ask = |number: usize| {
        let good = good.clone();
        async move {
            let path = OTHERS[number % OTHERS.len()];
            let answer = good.get(path).await;
            assert_eq!(answer.status, 200, "{path} answered {answer:?}");
            path
        }
    };
    endure(name, &app, &host, bounds, ask, attack(bad, paths, callers)).await;
    host
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_hoards_headers_takes_a_bounded_part_of_the_hosts_memory() {
    let bounds = Bounds { mib: 640, descriptors: 100 };
    withstand("headers", App::alone("rogue"), &["/rogue/hoard-headers/16000/120000"], 8, bounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_sends_requests_without_end_takes_a_bounded_part_of_the_hosts_memory() {
    let bounds = Bounds { mib: 640, descriptors: 100 };
    let app = App::alone("rogue").replace("allowed_outbound_hosts = [", "allowed_outbound_hosts = [\"http://self\", ");
    withstand("requests", app, &["/rogue/hoard-requests/10000/120000"], 8, bounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_opens_a_file_in_a_loop_leaves_descriptors_to_others() {
    let bounds = Bounds { mib: 320, descriptors: 8 * 160 + 100 };
    let paths = &["/rogue/hoard-files/100000", "/rogue/hoard-file-streams/100000", "/rogue/hoard-opens/3000"];
    let host = withstand("files", App::alone("rogue"), paths, 8, bounds).await;
    host.wait_for_log("files open").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_reads_folders_without_end_leaves_threads_and_descriptors_to_others() {
    let bounds = Bounds { mib: 320, descriptors: 100 };
    // wasmtime's own stream of a folder with two entries keeps a thread until it is read.
    let app =
        App::alone("rogue").replace("files = [\"granted.txt\"]", "files = [\"granted.txt\", \"migrations/**/*\"]");
    withstand("folders", app, &["/rogue/hoard-directories/1000"], 8, bounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_begins_lists_of_keys_without_end_takes_a_bounded_part_of_the_hosts_memory() {
    let bounds = Bounds { mib: 640, descriptors: 100 };
    withstand("lists of keys", App::alone("rogue"), &["/rogue/hoard-keys/10000"], 8, bounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_and_slow_readers_together_leave_a_log_of_bounded_size() {
    let app = App::alone("rogue");
    let log = app.state().join("sqlite/default.db-wal");
    let paths = &["/rogue/strain/write/300", "/rogue/strain/scan/3000000", "/rogue/strain/scan/2000000"];
    let _host = withstand("SQLite's log", app, paths, 6, Bounds { mib: 320, descriptors: 100 }).await;
    let bytes = std::fs::metadata(&log).map_or(0, |log| log.len());
    assert!(bytes <= 256 << 20, "the log has {} MiB", bytes >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_sorts_more_than_fits_in_memory_leaves_others_theirs() {
    let bounds = Bounds { mib: 480, descriptors: 200 };
    withstand("sorts", App::alone("rogue"), &["/rogue/strain/sort/300000"], 8, bounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_lists_over_links_fail_alone() {
    let bounds = Bounds { mib: 640, descriptors: 100 };
    let paths = &["/rogue/big/2500000", "/rogue/big/300000"];
    withstand("large lists", App::alone("rogue"), paths, 24, bounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_prints_without_end_leaves_the_log_to_others() {
    let bounds = Bounds { mib: 320, descriptors: 100 };
    let host = withstand("printing", App::alone("rogue"), &["/rogue/print-lines/100000/100"], 8, bounds).await;
    let lines = host.log().iter().filter(|line| line.contains("xxxxxxxxxxxxxxxx")).map(String::len).sum::<usize>();
    let seconds = 2 + load::duration().as_secs() as usize * 4;
    assert!(lines <= seconds * 512 * 1024, "{lines} bytes were printed");
    host.wait_for_log("dropped").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_that_take_all_the_memory_they_may_stay_within_the_applications_bound() {
    let app = App::alone("rogue").replace(
        "[component.front]\n",
        "[application.tool.souk.limits]\napplication_memory = \"192MiB\"\n\n[component.front]\n",
    );
    withstand("memory", app, &["/rogue/grow/4096", "/rogue/grow/20"], 16, Bounds { mib: 320, descriptors: 100 }).await;
}
