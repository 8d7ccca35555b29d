//! Recorded calls: a replay gives the same results without side effects, and shows where a changed component differs.

use super::golden;
use crate::harness::app::texts;
use crate::harness::store::{JWT_SECRET, STRIPE_SECRET, Shop, stripe_down};
use crate::harness::{App, eventually};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const COMPONENTS: [&str; 8] =
    ["auth", "gateway", "orders", "passwords", "payments", "products", "stripe-sandbox", "webhook"];

/// `app`, with recording for all its components.
fn recorded(app: App) -> App {
    let manifest = fs::read_to_string(app.path("spin.toml")).unwrap();
    COMPONENTS.iter().fold(app, |app, component| {
        let table = format!("[component.{component}.tool.souk]\n");
        match manifest.contains(&table) {
            true => app.replace(&table, &format!("{table}record = true\n")),
            false => app.append(&format!("{table}record = true\n")),
        }
    })
}

/// Runs `souk replay`; returns whether all calls ran as recorded, and its output.
fn replay(app: &App, arguments: &[&str]) -> (bool, String) {
    let output = app.command("replay").args(arguments).output().expect("souk runs");
    let (out, err) = texts(&output);
    (output.status.success(), format!("{out}{err}"))
}

/// The files of the application's data.
fn data(state: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let folders = ["sqlite", "key_value", "durable"].map(|folder| fs::read_dir(state.join(folder)).unwrap());
    let files = folders.into_iter().flatten().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort_unstable();
    files
}

#[tokio::test]
async fn every_call_of_the_golden_record_replays_byte_equal_and_without_effect() {
    let shop = golden::replay(Shop::of(recorded(App::store_alone().variable("open_access", true))).await).await;
    let Shop { app, host, .. } = shop;
    host.stop().await;
    let folder = app.state().join("recordings");
    let mut components = BTreeSet::new();
    for file in fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
        let text = fs::read_to_string(&path).unwrap();
        for secret in [JWT_SECRET, STRIPE_SECRET] {
            assert!(!text.contains(secret), "{} holds a secret", path.display());
        }
        let recording: serde_json::Value = serde_json::from_str(&text).unwrap();
        components.insert(recording["head"]["component"].as_str().unwrap().to_owned());
    }
    assert_eq!(components, COMPONENTS.map(str::to_owned).into(), "calls of all components are recorded");
    let before = data(&app.state());
    let check = |app: &App, component: &str| {
        let (same, said) = replay(app, &["--all", "--component", component]);
        let wrong: Vec<_> = said.lines().filter(|line| !line.contains(": as recorded (")).take(40).collect();
        assert!(same, "{}", wrong.join("\n"));
    };
    COMPONENTS.iter().filter(|component| **component != "payments").for_each(|component| check(&app, component));
    // A part of the golden record runs with an API key, which no recording may contain.
    let app = stripe_down(app);
    check(&app, "payments");
    assert_eq!(data(&app.state()), before, "a replay has changed the application's data");
}

#[tokio::test]
async fn a_changed_component_shows_where_it_differs_first() {
    let shop = Shop::of(recorded(App::store_alone())).await;
    let answer = shop.get("/api/products/1", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = answer.header("x-request-id").unwrap().to_owned();
    shop.host.wait_for_log("calls of `products` are recorded").await;
    let (same, said) = replay(&shop.app, &[&id, "--component", "products"]);
    assert!(same && said.contains("as recorded (") && said.contains("1 of 1 calls as recorded"), "{said}");

    // The component with another SQL statement of the same length.
    let (from, to) = (b"FROM products", b"FROM Products");
    let mut code = fs::read(shop.app.path("target/wasm32-wasip2/debug/products.wasm")).unwrap();
    let mut changed = 0;
    for at in 0..code.len() - from.len() {
        if code[at..].starts_with(from) {
            code[at..at + to.len()].copy_from_slice(to);
            changed += 1;
        }
    }
    assert!(changed > 0, "the component has no such statement");
    let file = shop.app.path("changed.wasm");
    fs::write(&file, code).unwrap();
    let (same, said) = replay(&shop.app, &[&id, "--component", "products", "--with", file.to_str().unwrap()]);
    assert!(!same && said.contains("differs at import"), "{said}");
    let line = |begins: &str| said.lines().find(|line| line.trim_start().starts_with(begins)).unwrap().to_owned();
    assert!(line("recorded:").contains("FROM products") && line("now:").contains("FROM Products"), "{said}");

    let (same, said) = replay(&shop.app, &["no-such-request"]);
    assert!(!same && said.contains("nothing matching is recorded"), "{said}");
    let (same, said) = replay(&shop.app, &["--list"]);
    assert!(same && said.contains(&format!("{id} gateway GET")), "{said}");
}

#[tokio::test]
async fn each_call_of_a_recorded_component_has_a_fresh_instance() {
    let app = App::alone("rogue").append("[component.rogue.tool.souk]\nrecord = true\n");
    // Recordings do not contain what a component reads from its files.
    let app = app.replace("files = [\"granted.txt\"]\n", "");
    let host = app.start().await;
    let client = host.client();
    // An instance counts its calls. One that is reused goes on with the count, as that of `other` does.
    for n in 1..=3 {
        assert_eq!(client.get("/other/count").await.expect(200), n);
        assert_eq!(client.get("/rogue/count").await.expect(200), 1);
    }
    // Without what an earlier call left, each runs again as it ran.
    eventually("the calls are recorded", || async {
        let (same, said) = replay(&app, &["--all", "--component", "rogue"]);
        assert!(same || said.contains("nothing matching is recorded"), "{said}");
        said.contains("3 of 3 calls as recorded").then_some(())
    })
    .await;
}

#[tokio::test]
async fn recorded_calls_are_not_in_a_backup_and_are_deleted_after_a_day() {
    let shop = Shop::of(recorded(App::store_alone())).await;
    shop.get("/api/products/1", "").await;
    let to = shop.app.path("backup");
    let output = shop.app.command("backup").arg(&to).output().unwrap();
    assert!(output.status.success(), "{:?}", texts(&output));
    let list = fs::read_to_string(to.join("backup.json")).unwrap();
    assert!(!list.contains("recordings"), "{list}");
    let folder = shop.app.state().join("recordings");
    let old = folder.join("00000000000001-00000000-products.json");
    fs::write(&old, "{}").unwrap();
    // The next start deletes it.
    let shop = shop.restart(|app| app).await;
    assert!(!old.exists());
    drop(shop);
}
