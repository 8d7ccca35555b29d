//! One variable says where a component's database is: it decides which migrations run and what the component may
//! access.

use crate::harness::app::texts;
use crate::harness::postgres::{PASSWORD, Postgres, name_of};
use crate::harness::{App, Host};

/// A component with migrations for both kinds of databases.
const SHOP: &str = r#"
spin_manifest_version = 2

[application]
name = "shop"

[variables]
shop_url = { default = "sqlite:shop", secret = true }

[component.shop]
source = "shop.wasm"
sqlite_databases = ["shop"]

[component.shop.tool.souk]
migrations = "migrations"
database_url = "{{ shop_url }}"
"#;

fn shop() -> App {
    App::inline(SHOP)
        .component("shop.wasm", "(component)")
        .file("migrations/sqlite/0001_shop.sql", "CREATE TABLE shop (id INTEGER PRIMARY KEY);")
        .file("migrations/postgres/0001_shop.sql", "CREATE TABLE shop (id bigint PRIMARY KEY);")
        .file("migrations/postgres/0002_first.sql", "INSERT INTO shop VALUES (1);")
}

/// The grants of the components, as the host printed them.
fn grants(host: &Host) -> Vec<String> {
    let log = host.log();
    let start = log.iter().position(|line| line == "Components:").expect("the block of components");
    log[start + 1..].iter().take_while(|line| !line.is_empty()).map(|line| line.trim().to_owned()).collect()
}

fn assert_shows_no_password(text: &str) {
    for secret in [PASSWORD, "p%40ss", "souk:"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn one_variable_moves_a_component_to_postgresql_with_its_grant_and_its_migrations() {
    let server = Postgres::shared();
    let url = server.database();
    let app = shop().variable("shop_url", &url);
    let place = format!("postgres://127.0.0.1:{}/{}", server.port(), name_of(&url));

    let (before, err) = texts(&app.souk("migrate", &["--status"]).await);
    assert!(before.contains(&format!("shop (database `{place}`)")), "{before}\n{err}");
    assert_eq!(before.matches("pending").count(), 2, "{before}");
    let (doctor, _) = texts(&app.souk("doctor", &["--limits"]).await);
    assert!(
        doctor.contains(&format!("postgres  {place}")) && doctor.contains("How long start-up waits for a server"),
        "{doctor}"
    );
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(server.psql(name_of(&url), tables), "0", "commands that only read must change nothing");

    let host = app.start().await;
    let grant = format!("outbound  postgres://127.0.0.1:{}", server.port());
    assert_eq!(grants(&host), ["shop", "sqlite    shop", &format!("postgres  {place}"), &grant]);
    assert_eq!(server.psql(name_of(&url), "SELECT id FROM shop"), "1");
    let (after, err) = texts(&app.souk("migrate", &["--status"]).await);
    assert_eq!(after.matches("applied").count(), 2, "{after}\n{err}");
    let said = host.log().join("\n");
    drop(host);
    let (again, err) = texts(&app.souk("migrate", &[]).await);
    assert_eq!(again, "shop: 0 applied\n", "{err}");
    for text in [before, doctor, after, said] {
        assert_shows_no_password(&text);
    }

    // Without the variable, the same component uses SQLite and may access no server.
    let host = shop().start().await;
    assert_eq!(grants(&host), ["shop", "sqlite    shop"]);
}

#[tokio::test]
async fn hosts_that_start_together_on_one_database_run_its_migrations_once() {
    let url = Postgres::shared().database();
    let apps = [(); 3].map(|()| shop().variable("shop_url", &url));
    let [a, b, c] = &apps;
    let _hosts = tokio::join!(a.start(), b.start(), c.start());
    assert_eq!(Postgres::shared().psql(name_of(&url), "SELECT count(*) FROM shop"), "1");
}

#[tokio::test]
async fn a_database_that_refuses_stops_start_up_with_one_message_and_without_the_password() {
    let url = Postgres::shared().database();
    for (url, reason, fix) in [
        (url.replace("p%40ss", "swordfish"), "password authentication failed", "fix: correct user and password"),
        (format!("{url}_nowhere"), "does not exist", "fix: create the database"),
        (format!("{url}?sslrootcert=/etc/swordfish"), "`sslrootcert`", "fix: change the value of `shop_url`"),
        ("mysql://swordfish".to_owned(), "spin.toml:16: component `shop`: `database_url`", "sqlite:LABEL"),
    ] {
        let message = shop().variable("shop_url", url).start_fails().await;
        assert!(message.contains("component `shop`") && message.contains(reason), "{message}");
        assert!(message.contains(fix) && !message.contains("swordfish"), "{message}");
        assert_shows_no_password(&message);
    }
}

#[tokio::test]
async fn a_component_without_migrations_for_its_kind_of_database_does_not_start() {
    let url = Postgres::shared().database();
    let app = App::inline(SHOP).component("shop.wasm", "(component)").variable("shop_url", url);
    let app = app.file("migrations/sqlite/0001_shop.sql", "CREATE TABLE shop (id INTEGER PRIMARY KEY);");
    let message = app.start_fails().await;
    assert!(message.contains("migrations/postgres: the folder does not exist"), "{message}");
    assert!(message.contains("component `shop`") && message.contains("fix: put the migrations"), "{message}");
}

/// Two components, each with migrations of its own.
const TWO: &str = r#"
spin_manifest_version = 2

[application]
name = "two"

[component.one]
source = "one.wasm"
sqlite_databases = ["one"]

[component.one.tool.souk]
migrations = "one"

[component.other]
source = "other.wasm"
sqlite_databases = ["other"]

[component.other.tool.souk]
migrations = "other"
"#;

#[tokio::test]
async fn changed_migrations_of_two_components_are_reported_together_with_lines_and_fixes() {
    let mut app = App::inline(TWO).component("one.wasm", "(component)").component("other.wasm", "(component)");
    for name in ["one", "other"] {
        app = app.file(&format!("{name}/sqlite/0001_first.sql"), "CREATE TABLE t (a INTEGER);");
    }
    app.start().await.stop().await;
    for name in ["one", "other"] {
        app = app.file(&format!("{name}/sqlite/0001_first.sql"), "CREATE TABLE t (b INTEGER);");
    }
    let message = app.start_fails().await;
    for (line, name) in [(7, "one"), (14, "other")] {
        let words = format!("spin.toml:{line}: component `{name}`: migration 0001_first.sql of database `{name}` ");
        assert!(message.contains(&words), "{words}: {message}");
    }
    let (_, error) = message.split_once("error: ").unwrap();
    assert_eq!(error.matches("was changed after it ran").count(), 2, "{message}");
    assert_eq!(error.matches("\n  fix: ").count(), 2, "{message}");
}

#[tokio::test]
async fn what_is_wrong_with_the_migrations_of_two_components_is_told_together_with_lines_and_fixes() {
    let app = App::inline(&TWO.replace(r#"["other"]"#, r#"["a", "b"]"#))
        .component("one.wasm", "(component)")
        .component("other.wasm", "(component)");
    let app = app.file("one/sqlite/first.sql", "").file("other/sqlite/0001_first.sql", "");
    let message = app.start_fails().await;
    for fragment in [
        "spin.toml:7: component `one`: migration ",
        "one/sqlite/first.sql: the name must be NNNN_name.sql",
        "fix: rename the file",
        "spin.toml:14: component `other`: has migrations for SQLite, but several databases (a, b)",
        "fix: in [component.other] grant it one database",
    ] {
        assert!(message.contains(fragment), "{fragment}: {message}");
    }
    let output = app.souk("migrate", &[]).await;
    let (_, error) = texts(&output);
    assert!(!output.status.success(), "{error}");
    for line in ["spin.toml:7: component `one`: migration ", "spin.toml:14: component `other`: has migrations"] {
        assert!(error.contains(line), "{line}: {error}");
    }
}

#[tokio::test]
async fn a_release_starts_beside_a_newer_migration_that_was_declared_additive_and_may_try_out_the_version_that_brings_it()
 {
    let postgres = Postgres::shared().database();
    for url in ["sqlite:shop".to_owned(), postgres] {
        let app = shop().variable("shop_url", &url).component("next.wasm", r#"(component (core module))"#);
        let host = app.start().await;
        for kind in ["sqlite", "postgres"] {
            std::fs::write(app.path(&format!("migrations/{kind}/0003_note.sql")), "CREATE TABLE note (id bigint);")
                .unwrap();
        }
        let next = app.path("next.wasm").to_str().unwrap().to_owned();
        let canary = ["shop", &next, "--canary", "5%", "--for", "60s"];
        let (_, error) = texts(&app.souk("deploy", &canary).await);
        assert!(error.contains("0003_note.sql would run first") && error.contains("`additive`"), "{error}");
        // A migration declared additive runs, and its version is tried out beside the one that serves.
        let manifest = std::fs::read_to_string(app.path("spin.toml")).unwrap();
        std::fs::write(app.path("spin.toml"), format!("{manifest}additive = [\"0003\"]\n")).unwrap();
        let (applied, error) = texts(&app.souk("reload", &[]).await);
        assert!(applied.contains("component `shop`: additive"), "{applied}{error}");
        let (said, error) = texts(&app.souk("deploy", &canary).await);
        assert!(said.contains("gets 5 % of the calls"), "{said}{error}");
        let (status, _) = texts(&app.souk("migrate", &["--status"]).await);
        assert!(status.lines().any(|line| line.contains("0003_note.sql") && line.contains("applied")), "{status}");
        host.stop().await;
        // The previous release has neither the migration file nor the key `additive`.
        std::fs::write(app.path("spin.toml"), manifest).unwrap();
        for kind in ["sqlite", "postgres"] {
            std::fs::remove_file(app.path(&format!("migrations/{kind}/0003_note.sql"))).unwrap();
        }
        let host = app.start().await;
        host.wait_for_log("a newer release has run 0003_note.sql here").await;
        let (status, _) = texts(&app.souk("migrate", &["--status"]).await);
        assert!(status.contains("of a newer release"), "{status}");
    }
}

#[tokio::test]
async fn a_start_with_a_migration_that_fails_has_run_none_so_that_the_release_before_starts_again() {
    let postgres = Postgres::shared().database();
    for url in ["sqlite:shop".to_owned(), postgres] {
        let app = shop().variable("shop_url", &url);
        app.start().await.stop().await;
        let files = [("0003_note.sql", "CREATE TABLE note (id bigint);"), ("0004_bad.sql", "CREATE TABEL bad;")];
        let paths = ["sqlite", "postgres"].map(|kind| app.path(&format!("migrations/{kind}")));
        for (file, sql) in files {
            paths.iter().for_each(|folder| std::fs::write(folder.join(file), sql).unwrap());
        }
        let refused = app.start_fails().await;
        for fragment in ["component `shop`: migration 0004_bad.sql", "TABEL", "fix: correct the file"] {
            assert!(refused.contains(fragment), "{fragment} is missing: {refused}");
        }
        let (status, _) = texts(&app.souk("migrate", &["--status"]).await);
        for (file, _) in files {
            let line = status.lines().find(|line| line.contains(file)).unwrap_or_else(|| panic!("{file}: {status}"));
            assert!(line.contains("pending"), "{line}");
            paths.iter().for_each(|folder| std::fs::remove_file(folder.join(file)).unwrap());
        }
        app.start().await.stop().await;
    }
}
