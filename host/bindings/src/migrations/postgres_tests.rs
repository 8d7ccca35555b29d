//! Migrations on a real PostgreSQL.

use super::super::standing::MigrationState;
use super::*;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use souk_test::postgres::{PASSWORD, Postgres, name_of};

/// Folders of migrations with their own database.
struct Fixture {
    folder: tempfile::TempDir,
    url: String,
    retired: Vec<i32>,
    additive: Vec<i32>,
}

impl Fixture {
    fn new(files: &[(&str, &str)]) -> Self {
        let fixture = Fixture {
            folder: tempfile::tempdir().unwrap(),
            url: Postgres::shared().database(),
            retired: Vec::new(),
            additive: Vec::new(),
        };
        for (file, sql) in files {
            fixture.write("one", file, sql);
        }
        fixture
    }

    fn dir(&self, component: &str) -> PathBuf {
        self.folder.path().join(component)
    }

    fn write(&self, component: &str, file: &str, sql: &str) {
        let folder = self.dir(component).join("postgres");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file), sql).unwrap();
    }

    fn address(&self) -> PostgresAddress {
        PostgresAddress::parse(&self.url).unwrap()
    }

    async fn run(&self, component: &str) -> Result<Report, MigrationError> {
        run(&self.address(), component, &self.dir(component), &self.retired, &self.additive).await
    }

    async fn applied(&self, component: &str) -> Vec<String> {
        self.run(component).await.unwrap().applied
    }

    async fn error(&self, component: &str) -> String {
        let error = self.run(component).await.unwrap_err().to_string();
        assert!(error.contains("\n  fix: ") && !error.contains(PASSWORD) && !error.contains(&self.url), "{error}");
        error
    }

    async fn standings(&self, component: &str) -> Vec<MigrationState> {
        let status = status(&self.address(), component, &self.dir(component), &self.retired).await.unwrap();
        status.into_iter().map(|status| status.standing).collect()
    }

    fn psql(&self, sql: &str) -> String {
        Postgres::shared().psql(name_of(&self.url), sql)
    }

    /// All tables without the host's own.
    fn tables(&self) -> Vec<String> {
        let sql = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND \
                   relname NOT LIKE 'souk_%' ORDER BY relname";
        self.psql(sql).lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn a_release_goes_on_with_a_newer_migration_that_was_declared_additive_and_with_no_other() {
    let mut f =
        Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n integer)"), ("0002_b.sql", "CREATE TABLE b (n integer)")]);
    f.applied("one").await;
    let newer = f.dir("one").join("postgres/0002_b.sql");
    fs::remove_file(&newer).unwrap();
    let error = f.error("one").await;
    assert!(error.contains("0002_b.sql") && error.contains("`additive`"), "{error}");
    f.write("one", "0002_b.sql", "CREATE TABLE b (n integer)");
    f.additive = vec![2];
    assert_eq!(f.applied("one").await, [""; 0]);
    fs::remove_file(&newer).unwrap();
    f.additive.clear();
    assert_eq!(f.run("one").await.unwrap().before, 1);
    let standings = f.standings("one").await;
    assert!(matches!(standings.as_slice(), [MigrationState::Applied(_), MigrationState::Newer(_)]), "{standings:?}");
}

#[tokio::test]
async fn files_run_once_in_the_order_of_their_numbers() {
    let f = Fixture::new(&[
        ("0010_second.sql", "INSERT INTO a VALUES (1); INSERT INTO a VALUES (2);"),
        ("0001_first.sql", "CREATE TABLE a (n integer);\n-- the end"),
    ]);
    assert_eq!(f.standings("one").await, [MigrationState::Pending, MigrationState::Pending]);
    assert_eq!(f.tables(), [""; 0], "asking for the status changes nothing");
    assert_eq!(f.psql("SELECT count(*) FROM pg_class WHERE relname LIKE 'souk_%'"), "0");
    let first = f.run("one").await.unwrap();
    assert_eq!((first.applied, first.before), (vec!["0001_first.sql".into(), "0010_second.sql".into()], 0));
    let again = f.run("one").await.unwrap();
    assert_eq!((again.applied, again.before), (vec![], 2));
    for standing in f.standings("one").await {
        assert!(
            matches!(&standing, MigrationState::Applied(at) if at.len() == 20 && at.ends_with('Z')),
            "{standing:?}"
        );
    }
    assert_eq!(f.psql("SELECT count(*) FROM a"), "2");
}

#[tokio::test]
async fn a_failing_migration_leaves_nothing_and_names_file_and_line() {
    let f = Fixture::new(&[
        ("0001_a.sql", "CREATE TABLE a (n integer)"),
        ("0002_b.sql", "CREATE TABLE b (n integer);\nINSERT INTO b VALUES (1);\n\nCREATE TABEL c (n integer);\n"),
        ("0003_d.sql", "CREATE TABLE d (n integer)"),
    ]);
    let error = f.error("one").await;
    for part in ["component `one`", "0002_b.sql", "`postgres://127.0.0.1:", "line 4", "TABEL", "rolled back"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(f.tables(), ["a"]);
    assert_eq!(f.standings("one").await[1], MigrationState::Pending);
    f.write("one", "0002_b.sql", "CREATE TABLE b (n integer);\nINSERT INTO\n nowhere VALUES (1)");
    assert!(f.error("one").await.contains("line 3: relation \"nowhere\" does not exist"));
    assert_eq!(f.tables(), ["a"]);
    f.write("one", "0002_b.sql", "CREATE TABLE b (n integer)");
    assert_eq!(f.applied("one").await, ["0002_b.sql", "0003_d.sql"]);
}

#[tokio::test]
async fn a_constraint_that_fails_at_the_commit_is_the_migrations_error_too() {
    let f = Fixture::new(&[(
        "0001_a.sql",
        "CREATE TABLE a (n integer PRIMARY KEY);
         CREATE TABLE b (n integer REFERENCES a DEFERRABLE INITIALLY DEFERRED); INSERT INTO b VALUES (7);",
    )]);
    let error = f.error("one").await;
    assert!(error.contains("0001_a.sql") && error.contains("violates foreign key"), "{error}");
    assert_eq!(f.tables(), [""; 0]);
    assert_eq!(f.standings("one").await, [MigrationState::Pending]);
}

#[tokio::test]
async fn what_ran_must_stay_as_it_was() {
    type Change = fn(&Fixture);
    let cases: [(Change, &str, &str, MigrationState); 4] = [
        (
            |f| f.write("one", "0002_b.sql", "SELECT 2"),
            "0002_b.sql",
            "was changed after it ran",
            MigrationState::Changed,
        ),
        (
            |f| {
                fs::remove_file(f.dir("one").join("postgres/0002_b.sql")).unwrap();
                f.write("one", "0002_c.sql", "CREATE TABLE b (n integer)");
            },
            "0002_c.sql",
            "was changed after it ran",
            MigrationState::Changed,
        ),
        (
            |f| fs::remove_file(f.dir("one").join("postgres/0002_b.sql")).unwrap(),
            "0002_b.sql",
            "its file is gone",
            MigrationState::Missing,
        ),
        (|f| f.write("one", "0001_a.sql", "SELECT 1"), "0001_a.sql", "but a later one has", MigrationState::Late),
    ];
    for (change, file, reason, standing) in cases {
        let f = Fixture::new(&[("0002_b.sql", "CREATE TABLE b (n integer)"), ("0003_c.sql", "SELECT 1")]);
        f.run("one").await.unwrap();
        change(&f);
        f.write("one", "0004_d.sql", "CREATE TABLE d (n integer)");
        let error = f.error("one").await;
        assert!(error.contains(file) && error.contains(reason), "{error}");
        assert_eq!(f.standings("one").await[0], standing);
        assert_eq!(f.tables(), ["b"], "nothing runs beside it");
    }
}

#[tokio::test]
async fn a_retired_migration_is_no_fault_where_it_ran_and_runs_nowhere_else() {
    let mut f =
        Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n integer)"), ("0002_b.sql", "CREATE TABLE b (n integer)")]);
    assert!(f.run("one").await.unwrap().was_new);
    fs::remove_file(f.dir("one").join("postgres/0002_b.sql")).unwrap();
    f.retired = vec![2];
    f.write("one", "0003_c.sql", "CREATE TABLE c (n integer)");
    let report = f.run("one").await.unwrap();
    assert_eq!((report.applied, report.before, report.was_new), (vec!["0003_c.sql".into()], 1, false));
    assert!(matches!(f.standings("one").await[1], MigrationState::Retired(_)));
    assert_eq!(f.tables(), ["a", "b", "c"], "what it did stays");
}

#[tokio::test]
async fn components_that_share_a_database_have_a_history_each() {
    let f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n integer)")]);
    f.write("two-b", "0001_x.sql", "CREATE TABLE x (n integer)");
    assert_eq!(f.applied("one").await, ["0001_a.sql"]);
    assert_eq!(f.applied("two-b").await, ["0001_x.sql"]);
    assert_eq!(f.run("one").await.unwrap().before, 1);
    assert_eq!(f.tables(), ["a", "x"]);
    let long = "x".repeat(48);
    f.write(&long, "0001_x.sql", "SELECT 1");
    assert!(f.error(&long).await.contains("give the component a shorter name"));
}

#[tokio::test]
async fn hosts_that_start_together_run_each_migration_once() {
    let f = Arc::new(Fixture::new(&[
        ("0001_a.sql", "CREATE TABLE a (n integer)"),
        ("0002_b.sql", "INSERT INTO a VALUES (1)"),
    ]));
    let hosts: Vec<_> = (0..6)
        .map(|_| {
            let f = f.clone();
            tokio::spawn(async move { f.run("one").await.unwrap().applied.len() })
        })
        .collect();
    let mut applied = 0;
    for host in hosts {
        applied += host.await.unwrap();
    }
    assert_eq!((applied, f.psql("SELECT count(*) FROM a")), (2, "1".into()));
}

#[tokio::test]
async fn the_wait_for_another_hosts_migrations_has_an_end() {
    let f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n integer)")]);
    let context = Context { address: &f.address(), component: "other", retired: &[] };
    let mut other = context.connect(CONNECT_TIMEOUT).await.unwrap();
    context.lock(&mut other, LOCK_TIMEOUT).await.unwrap();
    let wait = Duration::from_millis(50);
    let one = Context { address: &f.address(), component: "one", retired: &[] };
    let ran = run_within(one, &f.dir("one"), &[], CONNECT_TIMEOUT, wait).await;
    let error = ran.unwrap_err().to_string();
    assert!(error.contains("another host") && error.contains("component `one`"), "{error}");
    other.close().await.unwrap();
    assert_eq!(f.applied("one").await, ["0001_a.sql"]);
}

#[tokio::test]
async fn a_migration_cannot_leave_its_transaction() {
    for sql in [
        "CREATE TABLE a (n integer); COMMIT; CREATE TABLE b (n integer);",
        "COMMIT; CREATE TABLE a (n integer);",
        "CREATE TABLE a (n integer); ROLLBACK; CREATE TABLE b (n integer);",
        "CREATE TABLE a (n integer); END; BEGIN; CREATE TABLE b (n integer);",
        "CREATE TABLE a (n integer); SAVEPOINT s;",
        "CREATE TABLE a (n integer); $souk_0$; END $do_souk_0$; COMMIT; DO $do_souk_0$ BEGIN EXECUTE $souk_0$",
    ] {
        let f = Fixture::new(&[("0001_a.sql", sql)]);
        let error = f.error("one").await;
        assert!(error.contains("0001_a.sql") && error.contains("fix: correct the file"), "{error}");
        assert_eq!(f.tables(), [""; 0], "{sql}");
        assert_eq!(f.standings("one").await, [MigrationState::Pending], "{sql}");
    }
}

#[tokio::test]
async fn functions_triggers_types_and_a_search_path_of_its_own_are_available() {
    let f = Fixture::new(&[
        (
            "0001_a.sql",
            r"CREATE TYPE state AS ENUM ('new', 'paid');
              CREATE TABLE a (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, s state DEFAULT 'new', t text);
              CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.t := 'it''s \'; RETURN NEW; END $$;
              CREATE TRIGGER note BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION note();
              INSERT INTO a DEFAULT VALUES; SELECT * FROM a; DO $$ BEGIN PERFORM 1; END $$;
              SELECT pg_catalog.set_config('search_path', '', false);",
        ),
        ("0002_b.sql", "CREATE TABLE public.b (n integer)"),
    ]);
    assert_eq!(f.applied("one").await.len(), 2);
    assert_eq!(f.psql("SELECT s, t FROM a"), r"new|it's \");
    assert_eq!(f.run("one").await.unwrap().before, 2);
}

#[tokio::test]
async fn the_history_is_in_the_schema_that_the_address_chooses() {
    let mut f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n integer)")]);
    f.psql("CREATE SCHEMA shop");
    let plain = std::mem::take(&mut f.url);
    f.url = format!("{plain}?options=-c%20search_path%3Dnowhere");
    assert!(f.error("one").await.contains("no schema"));
    f.url = format!("{plain}?options=-c%20search_path%3Dshop");
    assert_eq!(f.applied("one").await, ["0001_a.sql"]);
    f.url = plain;
    assert_eq!(f.psql("SELECT count(*) FROM shop.a"), "0");
    assert_eq!(f.psql("SELECT count(*) FROM shop.souk_migrations_one"), "1");
}

#[tokio::test]
async fn a_server_that_refuses_is_told_at_once_with_what_would_fix_it() {
    let mut f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n integer)")]);
    let good = f.url.clone();
    for (url, reason, fix) in [
        (good.replace("p%40ss", "wrong"), "password authentication failed", "correct user and password"),
        (format!("{good}_nowhere"), "does not exist", "create the database"),
        (format!("{good}?sslmode=require"), "TLS", "`sslmode`"),
    ] {
        f.url = url;
        let error = f.error("one").await;
        assert!(error.contains("component `one`") && error.contains(reason) && error.contains(fix), "{error}");
        assert!(!error.contains("wrong") && !error.contains("tried for"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_one_error_after_a_bounded_wait() {
    let mut f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n integer)")]);
    // A port on which nobody listens, and one that accepts connections but never answers.
    let port = souk_test::ports::free();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for port in [port, silent.local_addr().unwrap().port()] {
        f.url = Postgres::shared().url_at(port, "shop");
        let ran = {
            let one = Context { address: &f.address(), component: "one", retired: &[] };
            run_within(one, &f.dir("one"), &[], Duration::from_millis(500), LOCK_TIMEOUT).await
        };
        let error = ran.unwrap_err().to_string();
        for part in ["component `one`", &format!("postgres://127.0.0.1:{port}/shop"), "fix: start the server"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains(PASSWORD), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_starts_a_moment_later_is_waited_for() {
    let mut late = Postgres::start();
    let mut f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n integer)")]);
    f.url = late.database();
    late.stop();
    let run = tokio::spawn({
        let (address, dir) = (f.address(), f.dir("one"));
        // Longer than in production, because the test machine may be busy.
        async move {
            let one = Context { address: &address, component: "one", retired: &[] };
            run_within(one, &dir, &[], Duration::from_secs(60), LOCK_TIMEOUT).await.unwrap().applied
        }
    });
    let late = tokio::task::spawn_blocking(move || {
        late.resume();
        late
    });
    assert_eq!(run.await.unwrap(), ["0001_a.sql"]);
    drop(late.await.unwrap());
}

#[tokio::test]
async fn a_start_tries_pending_migrations_out_first_and_then_none_has_run_if_one_fails() {
    let f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n integer)")]);
    let (address, dir, wait) = (f.address(), f.dir("one"), Duration::from_millis(100));
    let prepare = || prepare(&address, "one", &dir, &[], &[], wait);
    assert!(prepare().await.unwrap());
    assert_eq!(f.tables(), [""; 0]);
    f.applied("one").await;
    assert!(!prepare().await.unwrap());
    f.write("one", "0002_b.sql", "ALTER TABLE a ADD COLUMN m integer");
    f.write("one", "0003_c.sql", "CREATE TABLE c (n integer); INSERT INTO nothing VALUES (1)");
    let error = prepare().await.unwrap_err().to_string();
    assert!(error.contains("0003_c.sql") && error.contains("nothing"), "{error}");
    assert_eq!(f.tables(), ["a"], "none of them has run");
    f.write("one", "0003_c.sql", "CREATE TABLE c (n integer)");
    assert!(prepare().await.unwrap());
    assert_eq!(f.tables(), ["a"]);

    // A table that is in use is waited for by the migration itself, and not twice.
    let mut other =
        Context { address: &address, component: "one", retired: &[] }.connect(CONNECT_TIMEOUT).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE a").execute(&mut other).await.unwrap();
    assert!(prepare().await.unwrap());
    other.close().await.unwrap();
    assert_eq!(f.applied("one").await, ["0002_b.sql", "0003_c.sql"]);

    // Hosts that start together wait for each other, and not for the end of `lock_wait`.
    f.write("one", "0004_d.sql", "ALTER TABLE a ADD COLUMN d integer");
    let all = futures::future::join_all((0..4).map(|_| prepare())).await;
    assert!(all.into_iter().all(|pending| pending.unwrap()));
}
