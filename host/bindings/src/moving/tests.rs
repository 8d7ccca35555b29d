//! The same tables in SQLite and PostgreSQL, each with its own types.

use super::{Move, MoveError, Owner, copy, copy_file, has_rows, must_be_empty};
use souk_manifest::PostgresAddress;
use souk_test::postgres::Postgres;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const SQLITE: &str = "
CREATE TABLE customers (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, open INTEGER NOT NULL, photo BLOB) STRICT;
CREATE TABLE bills (customer INTEGER NOT NULL REFERENCES customers (id), at TEXT NOT NULL, share REAL, PRIMARY KEY (customer, at)) STRICT, WITHOUT ROWID;
CREATE TABLE a_count (slot INTEGER PRIMARY KEY, bills INTEGER NOT NULL) STRICT;
INSERT INTO a_count VALUES (0, 0);
CREATE TRIGGER counted AFTER INSERT ON bills BEGIN UPDATE a_count SET bills = bills + 1; END;";

const POSTGRES: &str = "
CREATE TABLE customers (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT NOT NULL UNIQUE, open BOOLEAN NOT NULL, photo BYTEA);
CREATE TABLE bills (customer BIGINT NOT NULL REFERENCES customers (id), at TIMESTAMPTZ(3) NOT NULL, share DOUBLE PRECISION, PRIMARY KEY (customer, at));
CREATE TABLE counts (kind TEXT PRIMARY KEY, n BIGINT NOT NULL);
INSERT INTO counts VALUES ('bills', 0);
CREATE FUNCTION count_bill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE counts SET n = n + 1; RETURN NULL; END $$;
CREATE TRIGGER counted AFTER INSERT ON bills FOR EACH ROW EXECUTE FUNCTION count_bill();";

struct Fixture {
    dir: TempDir,
    components: Vec<Owner>,
    url: String,
}

impl Fixture {
    fn new(postgres: &str) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let migrations = dir.path().join("migrations");
        let folder = migrations.join("postgres");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("0001_tables.sql"), postgres).unwrap();
        let sqlite = rusqlite::Connection::open(dir.path().join("one.db")).unwrap();
        sqlite.execute_batch("PRAGMA journal_mode = wal").unwrap();
        sqlite.execute_batch(SQLITE).unwrap();
        let components = vec![Owner { name: "one".to_owned(), migrations, retired: vec![], additive: vec![] }];
        Fixture { dir, components, url: Postgres::shared().database() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("one.db")
    }

    fn sqlite(&self, sql: &str) {
        rusqlite::Connection::open(self.file()).unwrap().execute_batch(sql).unwrap();
    }

    async fn copy(&self, resumed: bool) -> Result<Vec<(String, u64)>, MoveError> {
        let to = PostgresAddress::parse(&self.url).unwrap();
        let the = Move { components: &self.components, from: &self.file(), to: &to, resumed };
        Ok(copy(the, |_, _| {}).await?.into_iter().map(|moved| (moved.table, moved.rows)).collect())
    }

    async fn psql(&self, sql: &'static str) -> String {
        use sqlx::{Connection as _, Row as _};
        let mut connection = sqlx::postgres::PgConnection::connect(&self.url).await.unwrap();
        match sqlx::query(sql).fetch_optional(&mut connection).await.unwrap() {
            Some(row) => row.get(0),
            None => String::new(),
        }
    }
}

const ROWS: &str = "
INSERT INTO customers VALUES (3, 'Ann', 1, x'00ff'), (7, 'Bob''s ✓', 0, NULL), (9, 'gone', 0, NULL);
DELETE FROM customers WHERE id = 9;
INSERT INTO bills VALUES (3, '2024-02-27T15:50:27.545Z', 0.1), (3, '2024-02-27T15:50:28.000Z', 1e21), (7, '1999-12-31T23:59:59.999Z', NULL);";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_every_type_are_copied_and_compared_and_triggers_keep_what_is_theirs() {
    let f = Fixture::new(POSTGRES);
    assert!(!has_rows(&f.file()), "what the migrations wrote is no row");
    f.sqlite(ROWS);
    assert!(has_rows(&f.file()));
    assert_eq!(f.copy(false).await.unwrap(), [("customers".to_owned(), 2), ("bills".to_owned(), 3)]);
    assert_eq!(f.psql("SELECT n::text FROM counts").await, "3");
    assert_eq!(f.psql("SELECT name || open || encode(photo, 'hex') FROM customers WHERE id = 3").await, "Anntrue00ff");
    assert_eq!(f.psql("INSERT INTO customers (name, open) VALUES ('new', true) RETURNING id::text").await, "10");
}

/// A history of names that triggers keep, and a trigger that completes the row that it is called for.
const LOG_IN_SQLITE: &str = "
CREATE TABLE names (seq INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers (id), was TEXT, name TEXT NOT NULL) STRICT;
CREATE TRIGGER named AFTER INSERT ON customers BEGIN INSERT INTO names (customer, name) VALUES (NEW.id, NEW.name); END;
CREATE TRIGGER renamed AFTER UPDATE OF name ON customers BEGIN
    INSERT INTO names (customer, was, name) VALUES (NEW.id, OLD.name, NEW.name);
    UPDATE customers SET open = 1 WHERE id = NEW.id;
END;";

const LOG_IN_POSTGRES: &str = "
CREATE TABLE names (seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer BIGINT NOT NULL REFERENCES customers (id), was TEXT, name TEXT NOT NULL);
CREATE FUNCTION keep_name() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO names (customer, name) VALUES (NEW.id, NEW.name); RETURN NULL; END $$;
CREATE TRIGGER named AFTER INSERT ON customers FOR EACH ROW EXECUTE FUNCTION keep_name();";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_triggers_keep_tells_the_same_afterwards() {
    let f = Fixture::new(&format!("{POSTGRES}{LOG_IN_POSTGRES}"));
    f.sqlite(LOG_IN_SQLITE);
    f.sqlite("INSERT INTO customers VALUES (3, 'Ann', 0, NULL); UPDATE customers SET name = 'Anna' WHERE id = 3;");
    let tables = [("customers".to_owned(), 1), ("bills".to_owned(), 0), ("names".to_owned(), 2)];
    for resumed in [false, true] {
        assert_eq!(f.copy(resumed).await.unwrap(), tables);
        let names = "SELECT string_agg(seq || coalesce(was, '-') || name, ' ' ORDER BY seq) FROM names";
        assert_eq!(f.psql(names).await, "1-Ann 2AnnAnna");
    }
    assert_eq!(f.psql("SELECT name || open FROM customers").await, "Annatrue");
    assert_eq!(f.psql("INSERT INTO names (customer, name) VALUES (3, 'An') RETURNING seq::text").await, "3");
    // Customers from before there was a history have none.
    let f = Fixture::new(&format!("{POSTGRES}{LOG_IN_POSTGRES}"));
    f.sqlite(ROWS);
    f.sqlite(LOG_IN_SQLITE);
    assert_eq!(f.copy(false).await.unwrap().last(), Some(&("names".to_owned(), 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_has_broken_off_goes_on_and_one_into_a_database_in_use_is_refused() {
    let f = Fixture::new(POSTGRES);
    f.sqlite(ROWS);
    let to = PostgresAddress::parse(&f.url).unwrap();
    must_be_empty(&f.file(), &to).await.unwrap();
    f.copy(false).await.unwrap();
    let error = must_be_empty(&f.file(), &to).await.unwrap_err();
    assert!(matches!(&error, MoveError::NotEmpty { table, .. } if table == "customers"), "{error}");
    f.psql("DELETE FROM bills WHERE customer = 7").await;
    let error = f.copy(false).await.unwrap_err();
    assert!(matches!(&error, MoveError::NotEmpty { table, .. } if table == "customers"), "{error}");
    assert!(!error.to_string().contains(&f.url), "{error}");
    assert_eq!(f.copy(true).await.unwrap(), [("customers".to_owned(), 2), ("bills".to_owned(), 3)]);
    f.psql("UPDATE bills SET share = 0.2 WHERE share = 0.1").await;
    let error = f.copy(true).await.unwrap_err();
    assert!(matches!(&error, MoveError::Differs { table, here: 3, there: 3 } if table == "bills"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_differ_are_named_before_anything_is_copied() {
    let f = Fixture::new(&POSTGRES.replace("share DOUBLE PRECISION, ", ""));
    f.sqlite(ROWS);
    let error = f.copy(false).await.unwrap_err().to_string();
    assert!(error.contains("table `bills` has the columns [\"at\", \"customer\", \"share\"] in SQLite"), "{error}");
    assert_eq!(f.psql("SELECT count(*)::text FROM customers").await, "0");
    f.sqlite("CREATE TABLE extra (n INTEGER)");
    let error = f.copy(false).await.unwrap_err().to_string();
    assert!(error.contains("`extra` is not in the PostgreSQL database") || error.contains("`bills`"), "{error}");
    assert!(!has_rows(Path::new("/nowhere/one.db")));
}

#[test]
fn a_database_is_copied_to_another_file_with_all_that_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("one.db"), dir.path().join("two.db"));
    let sqlite = |path: &Path, sql: &str| rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
    // The target is as a start has left it that was refused.
    for path in [&from, &to] {
        sqlite(path, "PRAGMA journal_mode = wal");
    }
    sqlite(&from, SQLITE);
    sqlite(&from, ROWS);
    let tables = |moved: Vec<super::Moved>| moved.into_iter().map(|one| (one.table, one.rows)).collect::<Vec<_>>();
    let expected = [("a_count", 1), ("bills", 3), ("customers", 2)].map(|(table, rows)| (table.to_owned(), rows));
    assert_eq!(tables(copy_file(&from, &to).unwrap()), expected);
    let copied = rusqlite::Connection::open(&to).unwrap();
    let counted: i64 = copied.query_row("SELECT bills FROM a_count", [], |row| row.get(0)).unwrap();
    assert_eq!(counted, 3);
    drop(copied);
    let error = copy_file(&from, &to).unwrap_err();
    assert!(matches!(&error, MoveError::NotEmpty { .. }), "{error}");
    let error = copy_file(&dir.path().join("none.db"), &dir.path().join("three.db")).unwrap_err();
    assert!(matches!(&error, MoveError::Source { .. }), "{error}");
    assert!(!dir.path().join("three.db").exists());
}
