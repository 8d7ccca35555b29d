//! The memory of an idle host.

use crate::harness::{App, Host, eventually};

const MIB: u64 = 1 << 20;
/// The most memory that an idle host of the store uses in a test build, whose program file is twice as large as the
/// release's. docs/limits.md has the value for the release.
const IDLE: u64 = 96 * MIB;

/// Requests a product, and waits until the host has freed the memory of its start; returns what is left.
async fn settled(host: &Host) -> u64 {
    host.client().get("/api/products/1").await.expect(200);
    eventually("the host gives back what its start took", || async {
        Some(host.rss_bytes()).filter(|resident| *resident < IDLE)
    })
    .await
}

#[tokio::test]
async fn a_host_that_has_compiled_its_components_keeps_no_more_memory_than_one_that_has_loaded_them() {
    let app = App::store_alone().never_compiled();
    let host = app.start().await;
    let (cold, compiled) = (settled(&host).await, modules(&app));
    assert!(compiled >= 8, "{compiled} components were compiled");
    drop(host);
    let host = app.start().await;
    let warm = settled(&host).await;
    assert_eq!(modules(&app), compiled, "the second start compiled again");
    assert!(cold < warm + 16 * MIB, "{} MiB after compiling, {} MiB without", cold / MIB, warm / MIB);
}

/// How many components are in the code cache.
fn modules(app: &App) -> usize {
    let versions = app.state().join("cache/modules").read_dir().unwrap();
    let files = versions.flat_map(|version| version.unwrap().path().read_dir().unwrap());
    files.filter(|file| file.as_ref().unwrap().path().extension().is_none()).count()
}
