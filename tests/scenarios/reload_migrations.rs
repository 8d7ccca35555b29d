//! The migrations of components that a reload adds: what is wrong with them, and what stays of them.

use super::deploy::{MANIFEST, body, version};
use super::reload::{OTHER, reload};
use crate::harness::App;
use crate::harness::app::texts;

#[tokio::test]
async fn what_is_wrong_with_migrations_is_reported_together_with_what_is_wrong_with_components() {
    let app = App::inline(MANIFEST)
        .file("web.wasm", version("good-1"))
        .file("one.wasm", version("good-2"))
        .component("two.wasm", "(component)")
        .file("one/sqlite/0001_broken.sql", "CREATE TABEL bad;")
        .file("two/sqlite/first.sql", "CREATE TABLE good (id INTEGER);");
    let host = app.start().await;
    let new = |name: &str| {
        format!(
            "[[trigger.http]]\nroute = \"/{name}\"\ncomponent = \"{name}\"\n\
             [component.{name}]\nsource = \"{name}.wasm\"\nsqlite_databases = [\"{name}\"]\n\
             [component.{name}.tool.souk]\nmigrations = \"{name}\"\n"
        )
    };
    let app = app.append(&(new("one") + &new("two")));
    let output = app.souk("reload", &[]).await;
    let (out, err) = texts(&output);
    assert!(!output.status.success(), "{out}");
    for fragment in [
        "component `one`: migration 0001_broken.sql of database `one` failed",
        "fix: correct the file",
        "component `two`: has a route but exports neither",
        "two/sqlite/first.sql: the name must be NNNN_name.sql",
        "fix: rename the file",
    ] {
        assert!(err.contains(fragment), "{fragment} is missing: {err}");
    }
    assert_eq!(err.matches("\n  fix: ").count(), 3, "{err}");
    assert_eq!(body(&host.client(), "/one").await, (200, "good-1".to_owned()));
}

#[tokio::test]
async fn a_component_that_is_new_and_cannot_be_recorded_says_that_its_migrations_stay() {
    let app = App::inline(MANIFEST)
        .file("web.wasm", version("good-1"))
        .file("other.wasm", version("good-2"))
        .file("tables/sqlite/0001_first.sql", "CREATE TABLE first (id INTEGER);");
    let host = app.start().await;
    // The record of its versions is written there first.
    let blocked = app.state().join("versions/other.new");
    std::fs::create_dir(&blocked).unwrap();
    let database = "sqlite_databases = [\"default\"]\n[component.other.tool.souk]\nmigrations = \"tables\"\n";
    let app = app.append(&(OTHER.to_owned() + database));
    let output = app.souk("reload", &[]).await;
    let (out, err) = texts(&output);
    assert!(!output.status.success(), "{out}");
    for fragment in ["`other`: its versions cannot be stored", "the migrations of `other` have run, and stay"] {
        assert!(err.contains(fragment), "{fragment} is missing: {err}");
    }
    assert_eq!(body(&host.client(), "/other").await, (200, "good-1".to_owned()));
    std::fs::remove_dir(&blocked).unwrap();
    assert!(reload(&app).await.contains("applied: component `other`, which is new, runs"));
}
