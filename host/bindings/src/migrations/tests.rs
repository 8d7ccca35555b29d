//! Migrations of SQLite, and the choice of the database.

use super::sqlite::{run, status};
use super::*;
use crate::sqlite::{Connection as GuestConnection, Database, Error, Value};
use rusqlite::Connection;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// A component's folder of migrations, and a database.
struct Fixture {
    folder: tempfile::TempDir,
    database: Arc<Database>,
    retired: Vec<i32>,
    additive: Vec<i32>,
}

impl Fixture {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("state/sqlite/shop.db"), "shop", 1 << 30).unwrap();
        let fixture = Fixture { folder, database, retired: Vec::new(), additive: Vec::new() };
        for (file, sql) in files {
            fixture.write("one", file, sql);
        }
        fixture
    }

    fn dir(&self, component: &str) -> PathBuf {
        self.folder.path().join(component)
    }

    fn write(&self, component: &str, file: &str, sql: &str) {
        let folder = self.dir(component).join("sqlite");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file), sql).unwrap();
    }

    fn run(&self, component: &str) -> Result<Report, MigrationError> {
        run(&self.database, component, &self.dir(component), &self.retired, &self.additive)
    }

    fn status(&self, component: &str) -> Vec<Status> {
        status(&self.database, component, &self.dir(component), &self.retired).unwrap()
    }

    fn tables(&self) -> Vec<String> {
        let connection = Connection::open(self.database.path()).unwrap();
        let mut statement = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'souk_%' ORDER BY name")
            .unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }
}

fn message<T: std::fmt::Debug>(result: Result<T, MigrationError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn files_run_once_in_the_order_of_their_numbers() {
    let f = Fixture::new(&[
        ("0010_second.sql", "INSERT INTO a VALUES (1); INSERT INTO a VALUES (2);"),
        ("0001_first.sql", "CREATE TABLE a (n INTEGER) STRICT;"),
    ]);
    assert_eq!(f.status("one").iter().map(|s| &s.standing).collect::<Vec<_>>(), [&MigrationState::Pending; 2]);
    let first = f.run("one").unwrap();
    assert_eq!(first.applied, ["0001_first.sql", "0010_second.sql"]);
    assert_eq!(first.before, 0);
    let again = f.run("one").unwrap();
    assert_eq!((again.applied, again.before), (vec![], 2));
    for status in f.status("one") {
        assert!(matches!(&status.standing, MigrationState::Applied(at) if at.ends_with('Z')), "{status:?}");
    }
}

#[test]
fn a_migration_added_later_runs_alone() {
    let f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n)")]);
    f.run("one").unwrap();
    f.write("one", "0002_b.sql", "CREATE TABLE b (n)");
    assert_eq!(f.run("one").unwrap().applied, ["0002_b.sql"]);
    assert_eq!(f.tables(), ["a", "b"]);
}

#[test]
fn a_failing_migration_leaves_nothing_and_names_file_and_line() {
    let f = Fixture::new(&[
        ("0001_a.sql", "CREATE TABLE a (n)"),
        ("0002_b.sql", "CREATE TABLE b (n);\nINSERT INTO b VALUES (1);\n\nCREATE TABEL c (n);\n"),
        ("0003_d.sql", "CREATE TABLE d (n)"),
    ]);
    let error = message(f.run("one"));
    for part in ["component `one`", "0002_b.sql", "`shop`", "line 4", "TABEL"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(f.tables(), ["a"]);
    assert_eq!(f.status("one")[1].standing, MigrationState::Pending);
    f.write("one", "0002_b.sql", "CREATE TABLE b (n)");
    assert_eq!(f.run("one").unwrap().applied, ["0002_b.sql", "0003_d.sql"]);
}

#[test]
fn a_failing_constraint_is_named() {
    let f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n UNIQUE); INSERT INTO a VALUES (1), (1);")]);
    assert!(message(f.run("one")).contains("UNIQUE constraint failed: a.n"));
    assert_eq!(f.tables(), [""; 0]);
}

#[test]
fn a_changed_migration_is_refused_by_name() {
    let f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n)")]);
    f.run("one").unwrap();
    f.write("one", "0001_a.sql", "CREATE TABLE a (n, m)");
    f.write("one", "0002_b.sql", "CREATE TABLE b (n)");
    let error = message(f.run("one"));
    assert!(error.contains("0001_a.sql") && error.contains("was changed after it ran"), "{error}");
    assert_eq!(f.status("one")[0].standing, MigrationState::Changed);
    assert_eq!(f.tables(), ["a"], "nothing runs beside a changed migration");
}

#[test]
fn a_renamed_migration_counts_as_changed() {
    let f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n)")]);
    f.run("one").unwrap();
    fs::rename(f.dir("one").join("sqlite/0001_a.sql"), f.dir("one").join("sqlite/0001_b.sql")).unwrap();
    assert!(message(f.run("one")).contains("was changed"));
}

#[test]
fn a_missing_migration_is_refused_by_name() {
    let f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n)"), ("0002_b.sql", "CREATE TABLE b (n)")]);
    f.run("one").unwrap();
    fs::remove_file(f.dir("one").join("sqlite/0001_a.sql")).unwrap();
    let error = message(f.run("one"));
    assert!(error.contains("0001_a.sql") && error.contains("its file is gone"), "{error}");
    assert_eq!(f.status("one")[0].standing, MigrationState::Missing);
}

#[test]
fn a_retired_migration_is_no_fault_where_it_ran_and_runs_nowhere_else() {
    let mut f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n)"), ("0002_b.sql", "CREATE TABLE b (n)")]);
    assert!(f.run("one").unwrap().was_new);
    f.retired = vec![2];
    let error = message(f.run("one"));
    assert!(error.contains("0002_b.sql") && error.contains("`retired`"), "{error}");
    fs::remove_file(f.dir("one").join("sqlite/0002_b.sql")).unwrap();
    f.write("one", "0003_c.sql", "CREATE TABLE c (n)");
    let report = f.run("one").unwrap();
    assert_eq!((report.applied, report.before, report.was_new), (vec!["0003_c.sql".into()], 1, false));
    assert!(matches!(f.status("one")[1].standing, MigrationState::Retired(_)));
    assert_eq!(f.tables(), ["a", "b", "c"], "what it did stays");
    let mut new = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n)"), ("0003_c.sql", "CREATE TABLE c (n)")]);
    new.retired = vec![2];
    assert_eq!(new.run("one").unwrap().applied, ["0001_a.sql", "0003_c.sql"]);
    assert_eq!(new.run("one").unwrap().before, 2);
}

#[test]
fn a_release_goes_on_with_a_newer_migration_that_was_declared_additive_and_with_no_other() {
    let mut f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n)"), ("0002_b.sql", "ALTER TABLE a ADD COLUMN m")]);
    f.run("one").unwrap();
    let newer = f.dir("one").join("sqlite/0002_b.sql");
    fs::remove_file(&newer).unwrap();
    let error = message(f.run("one"));
    assert!(error.contains("0002_b.sql") && error.contains("`additive`"), "{error}");
    // The newer release can declare it before or after it has run.
    f.write("one", "0002_b.sql", "ALTER TABLE a ADD COLUMN m");
    f.additive = vec![2];
    assert_eq!(f.run("one").unwrap().applied, [""; 0]);
    f.write("one", "0003_c.sql", "CREATE TABLE c (n)");
    f.additive = vec![2, 3];
    assert_eq!(f.run("one").unwrap().applied, ["0003_c.sql"]);
    // Back to the older release.
    for file in ["sqlite/0002_b.sql", "sqlite/0003_c.sql"] {
        fs::remove_file(f.dir("one").join(file)).unwrap();
    }
    f.additive.clear();
    assert_eq!(f.run("one").unwrap().before, 1);
    let standings: Vec<MigrationState> = f.status("one").into_iter().map(|status| status.standing).collect();
    assert!(
        matches!(
            standings.as_slice(),
            [MigrationState::Applied(_), MigrationState::Newer(_), MigrationState::Newer(_)]
        ),
        "{standings:?}"
    );
    // And forward again; a migration that is missing in the middle does not count as newer.
    f.write("one", "0003_c.sql", "CREATE TABLE c (n)");
    assert!(
        message(f.run("one")).contains("0002_b.sql has run, but its file is gone")
            || f.status("one")[1].standing == MigrationState::Missing
    );
    f.write("one", "0002_b.sql", "ALTER TABLE a ADD COLUMN m");
    assert_eq!(f.run("one").unwrap().before, 3);
    f.additive = vec![4];
    let error = message(f.run("one"));
    assert!(error.contains("no file with the number 0004"), "{error}");
}

#[test]
fn a_migration_slipped_in_before_one_that_ran_is_refused() {
    let f = Fixture::new(&[("0002_b.sql", "CREATE TABLE b (n)")]);
    f.run("one").unwrap();
    f.write("one", "0001_a.sql", "CREATE TABLE a (n)");
    let error = message(f.run("one"));
    assert!(error.contains("0001_a.sql") && error.contains("a later one has"), "{error}");
    assert_eq!(f.status("one")[0].standing, MigrationState::Late);
}

#[test]
fn components_that_share_a_database_have_a_history_each() {
    let f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n)")]);
    f.write("two-b", "0001_x.sql", "CREATE TABLE x (n)");
    assert_eq!(f.run("one").unwrap().applied, ["0001_a.sql"]);
    assert_eq!(f.run("two-b").unwrap().applied, ["0001_x.sql"]);
    assert_eq!(f.run("one").unwrap().before, 1);
    assert_eq!(f.tables(), ["a", "x"]);
}

#[test]
fn names_that_are_not_understood_are_refused() {
    for file in ["1_a.sql", "0001-a.sql", "0001_a.txt", "0001_.sql", "0001_a b.sql", "README.md", "V1__a.sql"] {
        let f = Fixture::new(&[(file, "SELECT 1")]);
        let error = message(f.run("one"));
        assert!(error.contains(file) && error.contains("NNNN_name.sql"), "{error}");
    }
}

#[test]
fn two_migrations_with_one_number_are_refused() {
    let f = Fixture::new(&[("0001_a.sql", "SELECT 1"), ("0001_b.sql", "SELECT 1")]);
    let error = message(f.run("one"));
    assert!(error.contains("0001_a.sql") && error.contains("0001_b.sql"), "{error}");
}

#[test]
fn a_folder_without_sqlite_migrations_is_fine_and_a_missing_folder_is_not() {
    let f = Fixture::new(&[]);
    assert!(message(f.run("one")).contains("cannot be read"));
    fs::create_dir_all(f.dir("one").join("postgres")).unwrap();
    assert_eq!(f.run("one").unwrap().before, 0);
}

#[test]
fn a_migration_cannot_leave_its_transaction() {
    for sql in [
        "CREATE TABLE a (n); COMMIT; CREATE TABLE b (n); nonsense",
        "COMMIT; CREATE TABLE a (n);",
        "CREATE TABLE a (n); ROLLBACK; CREATE TABLE b (n);",
        "CREATE TABLE a (n); END; BEGIN; nonsense",
        "ATTACH 'other.db' AS other; CREATE TABLE other.a (n);",
        "CREATE TABLE a (n); DELETE FROM souk_migrations_two;",
        "CREATE TABLE a (n); PRAGMA journal_mode = off;",
    ] {
        let f = Fixture::new(&[("0001_a.sql", sql)]);
        f.write("two", "0001_t.sql", "SELECT 1");
        f.run("two").unwrap();
        let error = message(f.run("one"));
        assert!(error.contains("not authorized") && error.contains("\n  fix: correct the file"), "{sql}: {error}");
        let own = ["COMMIT", "ROLLBACK", "END"].iter().any(|word| sql.contains(word));
        assert_eq!(error.contains("a migration may not"), own, "{sql}: {error}");
        assert_eq!(f.tables(), [""; 0], "{sql}");
        assert_eq!(f.status("one")[0].standing, MigrationState::Pending, "{sql}");
    }
}

#[test]
fn savepoints_triggers_and_full_text_are_available() {
    let f = Fixture::new(&[(
        "0001_a.sql",
        "CREATE TABLE a (n INTEGER PRIMARY KEY, t TEXT); SAVEPOINT s; ALTER TABLE a ADD COLUMN c INTEGER NOT NULL
         DEFAULT 0 CHECK (c >= 0); RELEASE s; CREATE VIRTUAL TABLE search USING fts5(t, content='a', content_rowid='n');
         CREATE TRIGGER keep AFTER INSERT ON a BEGIN INSERT INTO search (rowid, t) VALUES (new.n, new.t); END;
         INSERT INTO a (t) VALUES ('a shirt'); CREATE VIEW v AS SELECT * FROM a; PRAGMA user_version = 7;",
    )]);
    assert_eq!(f.run("one").unwrap().applied.len(), 1);
}

#[tokio::test]
async fn a_guest_reads_what_migrations_made_and_cannot_touch_their_history() {
    let f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n); INSERT INTO a VALUES (47);")]);
    f.run("one").unwrap();
    let guest = GuestConnection::new(f.database.clone(), crate::sqlite::Share::default(), Arc::default());
    let rows = guest.execute("SELECT n FROM a".into(), vec![]).await.unwrap().rows;
    assert_eq!(rows[0].values, [Value::Integer(47)]);
    for sql in
        ["DELETE FROM souk_migrations_one", "DROP TABLE SOUK_migrations_one", "CREATE TABLE souk_migrations_x (n)"]
    {
        let error = guest.execute(sql.into(), vec![]).await.unwrap_err();
        assert!(matches!(&error, Error::Io(e) if e.contains("record of migrations")), "{error:?}");
    }
}

#[test]
fn the_target_is_the_only_database_or_the_namesake_or_the_default() {
    let labels = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>();
    for (granted, expected) in [(&["x"][..], "x"), (&["default", "orders"], "orders"), (&["x", "default"], "default")] {
        assert_eq!(target_label("orders", &labels(granted)).unwrap(), expected);
    }
    assert!(message(target_label("orders", &labels(&["x", "y"]))).contains("several databases (x, y)"));
    assert!(message(target_label("orders", &[])).contains("no database"));
}

#[test]
fn a_start_tries_pending_migrations_out_first_and_then_none_has_run_if_one_fails() {
    let f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n INTEGER);")]);
    let prepare = || sqlite::prepare(&f.database, "one", &f.dir("one"), &f.retired, &f.additive);
    f.write("bad", "0001_bad.sql", "CREATE TABEL bad;");
    let new = sqlite::prepare(&f.database, "bad", &f.dir("bad"), &[], &[]);
    assert!(new.unwrap(), "in a new database nothing is tried out");
    assert!(prepare().unwrap());
    assert_eq!(f.tables(), [""; 0]);
    f.run("one").unwrap();
    assert!(!prepare().unwrap());
    f.write("one", "0002_b.sql", "CREATE TABLE b (n INTEGER);");
    f.write("one", "0003_c.sql", "INSERT INTO b VALUES (1); INSERT INTO nothing VALUES (1);");
    let error = message(prepare());
    assert!(error.contains("0003_c.sql") && error.contains("nothing"), "{error}");
    assert_eq!(f.tables(), ["a"], "none of them has run");
    f.write("one", "0003_c.sql", "INSERT INTO b VALUES (1);");
    assert!(prepare().unwrap());
    assert_eq!(f.tables(), ["a"]);
    assert_eq!(f.run("one").unwrap().applied, ["0002_b.sql", "0003_c.sql"]);
    let left = fs::read_dir(f.database.path().parent().unwrap()).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| !name.contains("rehearsal")), "{names:?}");
}

#[test]
fn a_copy_that_a_killed_host_has_left_is_removed_by_the_next_start() {
    let f = Fixture::new(&[("0001_a.sql", "CREATE TABLE a (n INTEGER);")]);
    f.run("one").unwrap();
    let folder = f.database.path().parent().unwrap();
    let (own, other) = (folder.join(".rehearsal-shop.db-x7Ab3c"), folder.join(".rehearsal-other.db-x7Ab3c"));
    for copy in [&own, &other] {
        fs::create_dir(copy).unwrap();
        fs::write(copy.join("copy.db"), "data of customers").unwrap();
    }
    assert!(!sqlite::prepare(&f.database, "one", &f.dir("one"), &[], &[]).unwrap());
    assert!(!own.exists() && other.exists(), "another host may be trying out the other one");
}
