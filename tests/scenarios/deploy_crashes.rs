//! A host that is killed at any point of a deployment starts again with exactly one version: the old or the new one.

use super::deploy::{app, body, built, digest, version, versions};
use crate::harness::{App, eventually};
use serde_json::Value;
use std::io::Write as _;
use std::os::unix::net::UnixStream;

/// The host's record of the component's versions.
fn book(app: &App) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(app.state().join("versions/web.json")).ok()?).ok()
}

/// How many files' code is in the code cache.
fn compiled(app: &App) -> usize {
    let modules = std::fs::read_dir(app.state().join("cache/modules")).into_iter().flatten().flatten();
    let files = modules.flat_map(|version| std::fs::read_dir(version.path())).flatten().flatten();
    // Beside each entry lie the facts about it.
    files.filter(|file| file.path().extension().is_none()).count()
}

/// Points in the deployment of a version with this digest and number that are visible in the state folder.
type Point = fn(app: &App, digest: &str, number: u64) -> bool;

const POINTS: [(&str, Point); 6] = [
    ("it is asked for", |_, _, _| true),
    ("its code is compiled", |app, _, number| compiled(app) as u64 >= number),
    ("its file is being written", |app, digest, _| {
        let files = app.state().join("versions/files");
        ["new", "wasm"].iter().any(|end| files.join(digest).with_extension(end).exists())
    }),
    ("its file is kept", |app, digest, _| {
        app.state().join("versions/files").join(digest).with_extension("wasm").exists()
    }),
    ("it is written down", |app, _, number| book(app).is_some_and(|book| book["last"] == number)),
    ("it serves", |app, _, number| book(app).is_some_and(|book| book["active"] == number)),
];

#[tokio::test]
async fn a_host_that_is_killed_while_it_deploys_starts_with_one_of_the_two_versions() {
    let seeds = std::env::var("CRASH_SEEDS").map_or(1, |text| text.parse().expect("CRASH_SEEDS is a number"));
    let app = app().never_compiled();
    for round in 0..seeds * POINTS.len() {
        let (point, reached) = POINTS[round % POINTS.len()];
        let host = app.start().await;
        let before = body(&host.client(), "/").await.1;
        let number = book(&app).unwrap()["last"].as_u64().unwrap() + 1;
        let next = format!("good-{}", round + 10);
        let (file, digest) = (built(&app, &next), digest(&version(&next)));
        let arguments = ["web", &file];
        let kill = async {
            eventually(point, async || reached(&app, &digest, number).then_some(())).await;
            host.signal("KILL");
        };
        let (output, ()) = futures::join!(app.souk("deploy", &arguments), kill);
        drop(host);
        let host = app.start().await;
        let after = body(&host.client(), "/").await.1;
        assert!(after == before || after == next, "killed when {point}: {before} -> {next}: {after}");
        if output.status.success() || point == "it serves" {
            assert_eq!(after, next, "killed when {point}");
        }
        let line = host.wait_for_log("version web: version ").await;
        let serving = versions(&app).await.iter().find(|one| one["state"] == "active").unwrap()["number"].clone();
        assert!(line.contains(&format!("web: version {serving}, ")), "killed when {point}: {line}");
        let active = versions(&app).await.iter().filter(|version| version["state"] == "active").count();
        assert_eq!(active, 1, "killed when {point}");
        host.stop().await;
    }
}

#[tokio::test]
async fn a_deployment_goes_on_when_the_client_that_asked_for_it_goes_away() {
    let app = app();
    let host = app.start().await;
    let client = host.client();
    assert_eq!(body(&client, "/").await, (200, "good-1".to_owned()));
    let (mut socket, file) = (UnixStream::connect(app.state().join("run/control.sock")).unwrap(), version("good-2"));
    let head =
        format!("POST /v1/components/web/deploy HTTP/1.1\r\nhost: souk\r\ncontent-length: {}\r\n\r\n", file.len());
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(&file).unwrap();
    host.wait_for_log("asks to deploy web").await;
    drop(socket);
    eventually("the new version serves", async || {
        (body(&client, "/").await == (200, "good-2".to_owned())).then_some(())
    })
    .await;
}
