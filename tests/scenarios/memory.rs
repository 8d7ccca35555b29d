//! The memory of an idle host, and of one whose process has few addresses.

use crate::harness::{App, Host, eventually};

const MIB: u64 = 1 << 20;
/// The most memory that an idle host of the store keeps: 75 MiB were measured, and 118 if the host compiles by itself.
const IDLE: u64 = 96 * MIB;

/// Requests a product, and waits until the host has freed the memory of its start.
async fn settles(host: &Host) {
    host.client().get("/api/products/1").await.expect(200);
    eventually("the host gives back what its start took", || async { (host.rss_bytes() < IDLE).then_some(()) }).await;
}

#[tokio::test]
async fn a_host_keeps_no_memory_of_compiling_its_components() {
    let app = App::store_alone().never_compiled();
    let host = app.start().await;
    settles(&host).await;
    let compiled = modules(&app);
    assert!(compiled >= 8, "{compiled} components were compiled");
    drop(host);
    settles(&app.start().await).await;
    assert_eq!(modules(&app), compiled, "the second start compiled again");
}

#[tokio::test]
async fn where_a_process_has_few_addresses_each_instance_maps_its_own_memory_within_its_limit() {
    // As many as a kernel with 39 bits gives: the pool of this application reserves three times as many.
    let prlimit = ["prlimit", &format!("--as={}", 1u64 << 39)].map(str::to_owned).to_vec();
    let app = App::alone("rogue").replace("\"32MiB\"", "\"160MiB\"").inside(prlimit);
    let host = app.start().await;
    host.wait_for_log("cannot be kept ready").await;
    let client = host.client();
    // Memories that move when they grow, at the same time.
    let (one, other) = futures::join!(client.get("/rogue/grow/100"), client.get("/rogue/grow/120"));
    assert_eq!((one.expect(200), other.expect(200)), (100.into(), 120.into()));
    client.get("/rogue/grow/4096").await.expect_unavailable();
    client.get("/rogue/boom").await.expect_unavailable();
    assert_eq!(client.get("/rogue/answer/1").await.expect(200), 1);
    assert_eq!(client.get("/other/answer/7").await.expect(200), 7);
}

/// How many components are in the code cache.
fn modules(app: &App) -> usize {
    let versions = app.state().join("cache/modules").read_dir().unwrap();
    let files = versions.flat_map(|version| version.unwrap().path().read_dir().unwrap());
    files.filter(|file| file.as_ref().unwrap().path().extension().is_none()).count()
}
