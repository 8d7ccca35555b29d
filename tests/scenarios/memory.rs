//! The memory of an idle host.

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

/// How many components are in the code cache.
fn modules(app: &App) -> usize {
    let versions = app.state().join("cache/modules").read_dir().unwrap();
    let files = versions.flat_map(|version| version.unwrap().path().read_dir().unwrap());
    files.filter(|file| file.as_ref().unwrap().path().extension().is_none()).count()
}
