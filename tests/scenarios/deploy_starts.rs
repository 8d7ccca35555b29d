//! Which version a start runs: new code that cannot start is refused before anything has changed, and a start that is
//! refused or interrupted leaves exactly the version that served.

use super::deploy::{MANIFEST, body, built, deploy, digest, version, versions};
use super::type_changes::HANDLER;
use crate::harness::app::texts;
use crate::harness::{App, eventually};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::ExitStatus;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

/// A component that answers requests, if an instance of it could be created: its module starts with this.
pub(super) fn starting(module: &str) -> Vec<u8> {
    let named = "(core module $handler-module";
    wat::parse_str(format!("(component {})", HANDLER.replace(named, &format!("{named} {module}")))).unwrap()
}

/// Modules of which no instance can be created, and what a host says about each.
fn no_starters() -> [(&'static str, Vec<u8>, &'static str); 3] {
    [
        ("traps", starting("(func $s unreachable) (start $s)"), "trapped"),
        ("loops", starting("(func $s (loop $l (br $l))) (start $s)"), "deadline passed"),
        ("is too large", starting("(memory 1024)"), "could not be instantiated"),
    ]
}

const MIGRATED: &str = r#"
    sqlite_databases = ["default"]
    [component.web.tool.souk]
    migrations = "migrations"
    [component.web.tool.souk.limits]
    call_deadline = "3s"
"#;

fn app() -> App {
    App::inline(&MANIFEST.replace("[component.web.tool.souk.limits]\n", MIGRATED.trim_start()))
        .file("web.wasm", version("good-1"))
        .file("migrations/sqlite/0001_first.sql", "CREATE TABLE first (id INTEGER);")
}

/// The record of the component's versions, and the names of their files.
fn kept(app: &App) -> (String, Vec<String>) {
    let folder = app.state().join("versions");
    let files = fs::read_dir(folder.join("files")).into_iter().flatten();
    let mut files: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.sort_unstable();
    (fs::read_to_string(folder.join("web.json")).unwrap_or_default(), files)
}

fn has_table(app: &App, table: &str) -> bool {
    let database = rusqlite::Connection::open(app.state().join("sqlite/default.db")).unwrap();
    let count = "SELECT count(*) FROM sqlite_schema WHERE name = ?1";
    database.query_row(count, [table], |row| row.get::<_, i64>(0)).unwrap() > 0
}

#[tokio::test]
async fn a_changed_file_of_which_no_instance_can_be_created_is_refused_by_the_start_and_nothing_has_changed() {
    let mut app = app();
    let host = app.start().await;
    let said = deploy(&app, &["web", &built(&app, "good-2")]).await;
    assert!(said.contains("version 2 serves"), "{said}");
    host.stop().await;
    let (before, deployed) = (kept(&app), digest(&version("good-2")));
    app = app.file("migrations/sqlite/0002_second.sql", "CREATE TABLE second (id INTEGER);");
    for (name, file, failure) in no_starters() {
        app = app.file("web.wasm", file);
        let refusal = app.start_fails().await;
        for fragment in [
            "component `web`",
            failure,
            "it would be version 3, because ",
            "web.wasm has changed since version 2, which served last",
            "nothing was started, and nothing has changed",
            "fix: correct it; or start version 2 again: copy ",
            &format!("versions/files/{deployed}.wasm to "),
        ] {
            assert!(refusal.contains(fragment), "{name}: {fragment} is missing: {refusal}");
        }
        assert_eq!(kept(&app), before, "{name}");
        assert!(!has_table(&app, "second"), "{name}: no migration has run");
    }
    // What the refusal says is tried.
    fs::copy(app.state().join(format!("versions/files/{deployed}.wasm")), app.path("web.wasm")).unwrap();
    let host = app.start().await;
    assert_eq!(body(&host.client(), "/").await, (200, "good-2".to_owned()));
    host.wait_for_log("web: version 2, which served before").await;
    assert!(has_table(&app, "second"));
    host.stop().await;

    // The same code as before is not refused: what it was given has changed, and other components serve.
    let app = app.replace("memory = \"16MiB\"", "memory = \"1MiB\"");
    let host = app.start().await;
    let line = host.wait_for_log("could not be instantiated").await;
    assert!(line.contains("ERROR") && line.contains("fix: correct the component, or its limits"), "{line}");
    assert_eq!(body(&host.client(), "/").await.0, 500);
    let states: Vec<_> = versions(&app).await.iter().map(|one| (one["number"].clone(), one["state"].clone())).collect();
    let expected = [(1, "previous"), (2, "active")];
    assert_eq!(states, expected.map(|(number, state)| (Value::from(number), Value::from(state))));
}

#[tokio::test]
async fn a_build_at_the_start_and_a_first_start_with_code_that_cannot_start_are_refused_too() {
    let build = "[component.web.build]\ncommand = \"cp source.wasm web.wasm\"\nwatch = [\"source.wasm\"]\n";
    for argument in ["--build", "--watch"] {
        let mut app = app().append(build).file("source.wasm", version("good-1")).argument(argument);
        let mut host = app.start().await;
        for (name, file, failure) in no_starters() {
            app = app.file("source.wasm", file);
            if argument == "--watch" {
                host.wait_for_log(failure).await;
                assert_eq!(body(&host.client(), "/").await, (200, "good-1".to_owned()), "{name}");
            }
            host.stop().await;
            let refusal = app.start_fails().await;
            assert!(refusal.contains(failure) && refusal.contains("since version 1"), "{argument}: {name}: {refusal}");
            app = app.file("source.wasm", version("good-1")).file("web.wasm", version("good-1"));
            host = app.start().await;
            host.wait_for_log("web: version 1, which served before").await;
        }
    }
    for (name, file, failure) in no_starters() {
        let app = app().file("web.wasm", file);
        let refusal = app.start_fails().await;
        assert!(refusal.contains(failure) && refusal.contains("it would be version 1, the first"), "{name}: {refusal}");
        assert_eq!(kept(&app), (String::new(), Vec::new()), "{name}");
    }
}

/// Runs a start until `reached` is printed, then does `change`; returns how it ended, and what it printed.
async fn changed_during_start(app: &App, reached: &str, change: impl FnOnce()) -> (ExitStatus, String) {
    let mut host = app.spawn();
    let mut lines = BufReader::new(host.stderr.take().unwrap()).lines();
    let mut printed = String::new();
    while !printed.contains(reached) {
        let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("not reached: {printed}"));
        printed.push_str(&(line + "\n"));
    }
    change();
    lines.into_inner().read_to_string(&mut printed).await.unwrap();
    (host.wait().await.unwrap(), printed)
}

#[tokio::test]
async fn a_file_that_changes_while_the_host_starts_is_never_recorded_as_the_one_that_was_loaded() {
    let app = app();
    app.start().await.stop().await;
    let before = kept(&app);
    let app =
        app.file("web.wasm", version("good-2")).file("migrations/sqlite/0002_second.sql", "CREATE TABLE second (id);");
    // Until this is dropped, the start waits with its migrations, after it has loaded the code.
    let database = rusqlite::Connection::open(app.state().join("sqlite/default.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let path = app.path("web.wasm");
    let change = move || {
        fs::write(&path, version("good-3")).unwrap();
        drop(database);
    };
    let (status, printed) = changed_during_start(&app, "ready web", change).await;
    assert!(!status.success(), "{printed}");
    for fragment in ["component `web`", "web.wasm was changed while the host started", "fix: start it again"] {
        assert!(printed.contains(fragment), "{fragment} is missing: {printed}");
    }
    assert_eq!(kept(&app), before);
    let host = app.start().await;
    assert_eq!(body(&host.client(), "/").await, (200, "good-3".to_owned()));
    host.wait_for_log("web: version 2, because its `source` has changed").await;
}

#[tokio::test]
async fn a_deployment_that_cannot_be_stored_at_its_end_is_not_logged_as_one() {
    let app = app();
    let host = app.start().await;
    deploy(&app, &["web", &built(&app, "good-2")]).await;
    host.wait_for_log("of component `web` is deployed by").await;
    let app = app.file("migrations/sqlite/0002_second.sql", "CREATE TABLE second (id);");
    // Until this is dropped, the deployment waits with its migration, after it has recorded the version.
    let database = rusqlite::Connection::open(app.state().join("sqlite/default.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (record, file) = (app.state().join("versions/web.json"), built(&app, "good-3"));
    let spoil = async {
        let third = digest(&version("good-3"));
        let is_recorded = || fs::read_to_string(&record).unwrap().contains(&third);
        eventually("the version is recorded", async || is_recorded().then_some(())).await;
        fs::rename(&record, app.path("aside.json")).unwrap();
        fs::create_dir(&record).unwrap();
        drop(database);
    };
    let arguments = ["web", file.as_str()];
    let (output, ()) = futures::join!(app.souk("deploy", &arguments), spoil);
    let (out, error) = texts(&output);
    assert!(!output.status.success() && !out.contains("serves"), "{out}{error}");
    for words in ["its versions cannot be stored", "these migrations have run, and stay: 0002_second.sql"] {
        assert!(error.contains(words), "{words} is missing: {error}");
    }
    host.wait_for_log("it cannot be stored why version 3 does not serve").await;
    assert_eq!(host.log_count("of component `web` is deployed by"), 1, "{:#?}", host.log());
    let all = versions(&app).await;
    let states: Vec<&Value> = all.iter().map(|version| &version["state"]).collect();
    assert_eq!(states, ["previous", "active", "kept"], "{all:?}");
    assert!(all[2]["note"].as_str().is_some_and(|note| note.contains("its versions cannot be stored")), "{all:?}");
    assert_eq!(body(&host.client(), "/").await, (200, "good-2".to_owned()));
}

#[tokio::test]
async fn a_trial_that_ends_with_the_host_is_named_by_the_next_start() {
    let app = app();
    let host = app.start().await;
    let said = deploy(&app, &["web", &built(&app, "good-2"), "--canary", "50%", "--for", "10m"]).await;
    assert!(said.contains("version 2 gets 50 %"), "{said}");
    host.signal("KILL");
    host.wait().await;
    let host = app.start().await;
    let line = host.wait_for_log("version 2 of component `web` gets no more calls").await;
    assert!(line.contains("WARN") && line.contains("the host ended while it was tried out"), "{line}");
    assert_eq!(body(&host.client(), "/").await, (200, "good-1".to_owned()));
    let two = versions(&app).await.remove(1);
    assert_eq!((&two["number"], &two["state"]), (&2.into(), &"kept".into()));
    assert_eq!(two["note"], "the host ended while it was tried out");
    host.stop().await;
    let host = app.start().await;
    assert_eq!(host.log_count("gets no more calls"), 0, "it was said once");
    assert_eq!(versions(&app).await.remove(1)["note"], "the host ended while it was tried out");
}

#[tokio::test]
async fn a_stored_version_that_is_gone_or_damaged_is_named_and_repaired_by_deploying_its_file() {
    let app = app();
    let host = app.start().await;
    let second = built(&app, "good-2");
    deploy(&app, &["web", &second]).await;
    let file = |behaviour: &str| app.state().join(format!("versions/files/{}.wasm", digest(&version(behaviour))));
    let refused = async |words: &str| {
        let output = app.souk("rollback", &["web"]).await;
        let (_, error) = crate::harness::app::texts(&output);
        assert!(
            !output.status.success() && error.contains(words) && error.contains("fix: deploy that file"),
            "{error}"
        );
    };
    let spoil = |path: &Path| fs::write(path, "damaged").unwrap();
    spoil(&file("good-1"));
    refused("the file of version 1, is missing or was changed").await;
    fs::remove_file(file("good-1")).unwrap();
    refused("the file of version 1, is missing or was changed").await;
    assert_eq!(body(&host.client(), "/").await, (200, "good-2".to_owned()));
    // Deploying the bytes that serve repairs their stored file.
    spoil(&file("good-2"));
    let said = deploy(&app, &["web", &second]).await;
    assert!(said.contains("version 2 has these bytes and serves already"), "{said}");
    assert_eq!(digest(&fs::read(file("good-2")).unwrap()), digest(&version("good-2")));
    host.stop().await;

    // Without the manifest's file the stored one serves, if it is what was deployed.
    fs::remove_file(app.path("web.wasm")).unwrap();
    let host = app.start().await;
    assert_eq!(body(&host.client(), "/").await, (200, "good-2".to_owned()));
    host.stop().await;
    spoil(&file("good-2"));
    let refusal = app.start_fails().await;
    assert!(refusal.contains("its version 2 is not what was deployed") && refusal.contains("souk build"), "{refusal}");
    let app = app.file("web.wasm", version("good-2"));
    let host = app.start().await;
    host.wait_for_log("web: version 2, which served before").await;
}
