//! Rows, transactions and URLs against a real SQLite and a real PostgreSQL.

use crate::connection::{Location, class};
use crate::{Database, Dialect, Error, LOCKED, NOW, Row, Statement, Value, ago, statement, time};

use souk_test::postgres;

/// A database of each kind, with an empty table.
fn both() -> [Database; 2] {
    let times = |kind: &str| format!("CREATE TABLE t (a BIGINT PRIMARY KEY, b TEXT, at {kind})");
    [
        Database::in_memory(&[&times("TEXT")]),
        Database::postgres(&postgres::Postgres::shared().database(), &[&times("timestamptz(3)")]),
    ]
}

fn count(database: &Database) -> i64 {
    database.query("SELECT count(*) FROM t", &[]).unwrap().next().unwrap().integer().unwrap()
}

const INSERT: Statement = statement!("INSERT INTO t (a) VALUES (?1)");

fn insert(database: &Database, a: i64) -> Result<(), Error> {
    database.query(INSERT, &[Value::Integer(a)]).map(drop)
}

/// The error for a row that exists already.
fn duplicate_key(database: &Database) -> Error {
    match database.dialect() {
        Dialect::Sqlite => Error::Unavailable,
        Dialect::Postgres => Error::Internal,
    }
}

#[test]
fn a_row_is_read_in_column_order() {
    let blob = Statement::each("SELECT 7, 'x', NULL, true, x'00ff'", "SELECT 7, 'x', NULL, true, '\\x00ff'::bytea");
    for db in both() {
        let mut row = db.query(blob, &[]).unwrap().next().unwrap();
        assert_eq!(row.integer::<u32>(), Ok(7));
        assert_eq!(row.text().as_deref(), Ok("x"));
        assert_eq!(row.optional_text(), Ok(None));
        assert_eq!(row.boolean(), Ok(true));
        assert_eq!(row.blob().as_deref(), Ok([0, 255].as_slice()));
        assert_eq!(row.text(), Err(Error::Internal));
    }
}

#[test]
fn a_column_of_another_type_or_range_is_an_error_and_not_a_panic() {
    let row = |value| Row::new(vec![value]);
    assert_eq!(row(Value::Integer(-1)).integer::<u64>(), Err(Error::Internal));
    assert_eq!(row(Value::Integer(1)).text(), Err(Error::Internal));
    assert_eq!(row(Value::Null).integer::<i64>(), Err(Error::Internal));
    assert_eq!(row(Value::Text("1".into())).boolean(), Err(Error::Internal));
    assert_eq!(row(Value::Text("1".into())).optional_text(), Ok(Some("1".into())));
    let [_, db] = both();
    let mut time = db.query("SELECT clock_timestamp(), 1", &[]).unwrap().next().unwrap();
    assert_eq!(time.optional_text(), Err(Error::Internal));
    assert_eq!(time.integer::<u8>(), Ok(1), "the columns after it can be read");
}

#[test]
fn parameters_keep_their_positions_and_values_in_both_dialects() {
    const ECHO: Statement = statement!(
        "SELECT ",
        (Statement::each("?2, ?1, ?3, ?4, ?11", "?2::text, ?1::bigint, ?3::bytea, ?4::float8, ?11::text")),
        (Statement::each(
            " WHERE ?5 = ?6 AND ?7 = ?8 AND ?9 = ?10",
            " WHERE ?5::int = ?6 AND ?7::bigint = ?8 AND ?9::bigint = ?10"
        ))
    );
    let text = Value::text("a'?1\"é");
    let mut parameters = vec![Value::Integer(i64::MIN), text, Value::blob([0, 255]), Value::Real(0.5)];
    parameters.extend([7; 6].map(Value::Integer));
    parameters.push(Value::Null);
    for db in both() {
        let mut row = db.query(ECHO, &parameters).unwrap().next().unwrap();
        assert_eq!((row.text().as_deref(), row.integer()), (Ok("a'?1\"é"), Ok(i64::MIN)));
        assert_eq!(row.blob().as_deref(), Ok([0, 255].as_slice()));
        assert_eq!(row.integer::<i64>(), Err(Error::Internal), "a real");
        assert_eq!(row.optional_text(), Ok(None));
    }
}

#[test]
fn times_have_one_form_and_are_compared_as_times() {
    const ADD: Statement =
        statement!("INSERT INTO t (a, at) VALUES (?1, ", (Statement::each("?2", "?2::text::timestamptz")), ")");
    const ADD_NOW: Statement = statement!("INSERT INTO t (a, at) VALUES (?1, ", NOW, ")");
    const YOUNG: Statement = statement!("SELECT a, ", (time!("at")), " FROM t WHERE at > ", (ago!("1 hours")), LOCKED);
    const ALL: Statement = statement!("SELECT ", (time!("at")), " FROM t ORDER BY a");
    for db in both() {
        let old = "2024-02-27T15:50:27.545Z";
        db.query(ADD, &[Value::Integer(1), old.into()]).unwrap();
        db.query(ADD_NOW, &[Value::Integer(2)]).unwrap();
        let all: Vec<String> = db.query(ALL, &[]).unwrap().map(|mut row| row.text().unwrap()).collect();
        assert_eq!(all[0], old);
        assert_eq!((all[1].len(), all[1].as_bytes()[10], all[1].as_bytes()[23]), (24, b'T', b'Z'));
        let mut young = db.query(YOUNG, &[]).unwrap();
        assert_eq!(young.len(), 1);
        assert_eq!(young.next().unwrap().integer(), Ok(2));
    }
}

#[test]
fn a_successful_transaction_is_stored() {
    for db in both() {
        let done: Result<i64, Error> = db.transaction(|t| {
            insert(t, 1)?;
            insert(t, 2)?;
            Ok(count(t))
        });
        assert_eq!((done, count(&db)), (Ok(2), 2));
    }
}

#[test]
fn a_transaction_that_fails_leaves_nothing_and_the_next_one_works() {
    for db in both() {
        let refused: Result<(), Error> = db.transaction(|t| {
            insert(t, 1)?;
            Err(Error::Internal)
        });
        assert_eq!((refused, count(&db)), (Err(Error::Internal), 0));
        let failed: Result<(), Error> = db.transaction(|t| {
            insert(t, 1)?;
            insert(t, 1)
        });
        assert_eq!((failed, count(&db)), (Err(duplicate_key(&db)), 0));
        assert_eq!(db.transaction(|t| insert(t, 1)), Ok(()));
        assert_eq!(count(&db), 1);
    }
}

#[test]
fn a_failed_statement_fails_its_transaction_whatever_comes_after_it() {
    for db in both() {
        let continued: Result<(), Error> = db.transaction(|t| {
            insert(t, 1)?;
            assert_eq!(insert(t, 1), Err(duplicate_key(t)));
            assert_eq!(insert(t, 2), Err(duplicate_key(t)));
            Ok(())
        });
        assert_eq!((continued, count(&db)), (Err(duplicate_key(&db)), 0));
    }
}

#[test]
fn a_transaction_inside_another_is_refused_and_the_outer_one_goes_on() {
    for db in both() {
        let outer: Result<(), Error> = db.transaction(|t| {
            assert_eq!(t.transaction(|inner| insert(inner, 1)), Err(Error::Internal));
            insert(t, 2)
        });
        assert_eq!((outer, count(&db)), (Ok(()), 1));
    }
}

#[test]
fn a_constraint_that_is_checked_at_the_commit_fails_the_transaction() {
    for db in both() {
        db.query("CREATE TABLE u (a BIGINT REFERENCES t (a) DEFERRABLE INITIALLY DEFERRED)", &[]).unwrap();
        let dangling = db.transaction(|t| t.query("INSERT INTO u VALUES (9)", &[]).map(drop));
        assert_eq!(dangling, Err(duplicate_key(&db)));
        assert_eq!(db.transaction(|t| insert(t, 1)), Ok(()));
        assert_eq!(db.query("SELECT 1 FROM u", &[]).unwrap().len(), 0);
    }
}

#[test]
fn a_panic_in_a_transaction_rolls_it_back() {
    for db in both() {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            db.transaction(|t| -> Result<(), Error> {
                insert(t, 1)?;
                panic!("on purpose")
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(count(&db), 0);
    }
}

#[test]
fn after_a_lost_session_everything_is_unavailable_until_the_next_call() {
    let server = postgres::Postgres::shared();
    let url = server.database();
    let db = Database::postgres(&url, &["CREATE TABLE t (a BIGINT PRIMARY KEY)"]);
    let ended: Result<(), Error> = db.transaction(|t| {
        insert(t, 1)?;
        server.psql(
            postgres::name_of(&url),
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        insert(t, 2)
    });
    assert_eq!(ended, Err(Error::Unavailable));
    assert_eq!(insert(&db, 3), Err(Error::Unavailable), "until the next call");
    assert_eq!(db.transaction(|t| insert(t, 3)), Err(Error::Unavailable));
    assert!(db.failed.get(), "the connection is not kept");
    assert_eq!(server.psql(postgres::name_of(&url), "SELECT count(*) FROM t"), "0");
}

#[test]
fn a_deadlock_makes_one_of_the_two_unavailable() {
    const LOCK: Statement = statement!("SELECT 1 FROM t WHERE a = ?1", LOCKED);
    let url = postgres::Postgres::shared().database();
    let table = "CREATE TABLE t (a BIGINT PRIMARY KEY); INSERT INTO t VALUES (1), (2)";
    let db = Database::postgres(&url, &[table]);
    let both_hold_one = std::sync::Barrier::new(2);
    let in_turn = |db: &Database, first: i64, second: i64| -> Result<(), Error> {
        db.transaction(|t| {
            t.query(LOCK, &[Value::Integer(first)])?;
            both_hold_one.wait();
            t.query(LOCK, &[Value::Integer(second)]).map(drop)
        })
    };
    let ended = std::thread::scope(|scope| {
        let other = scope.spawn(|| in_turn(&Database::postgres(&url, &[]), 2, 1));
        [in_turn(&db, 1, 2), other.join().unwrap()]
    });
    assert!(ended.contains(&Ok(())) && ended.contains(&Err(Error::Unavailable)), "{ended:?}");
}

#[test]
fn a_transaction_has_the_documented_isolation_level_whatever_the_default_is() {
    let [_, db] = both();
    db.query("SET default_transaction_isolation = 'serializable'", &[]).unwrap();
    let level = db.transaction(|t| t.query("SHOW transaction_isolation", &[])).unwrap().next().unwrap().text();
    assert_eq!(level.as_deref(), Ok("read committed"));
}

#[test]
fn a_sqlstate_says_whether_the_same_call_may_succeed_later() {
    for later in ["08006", "53100", "53300", "57014", "57P01", "40001", "40P01", "55P03", "25006", "42P01"] {
        assert_eq!(class(later), Error::Unavailable, "{later}");
    }
    for never in ["23505", "23503", "42601", "22021", "28P01", "3D000", "25P02", "40002", "XX000", "", "5"] {
        assert_eq!(class(never), Error::Internal, "{never}");
    }
}

#[test]
fn statements_are_joined_for_each_dialect() {
    const COLUMNS: Statement = statement!("a, ", (time!("at")));
    const READ: Statement = statement!("SELECT ", COLUMNS, " FROM t WHERE a = ?1 AND b = '?' AND a < ?10", LOCKED);
    assert_eq!(READ.text(Dialect::Sqlite), "SELECT a, at FROM t WHERE a = ?1 AND b = '?' AND a < ?10");
    assert_eq!(
        READ.text(Dialect::Postgres),
        "SELECT a, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM t WHERE a = $1 AND b = '?' \
         AND a < $10 FOR NO KEY UPDATE"
    );
}

#[test]
fn a_url_names_a_sqlite_label_or_a_postgresql_database() {
    let location = |url: &str| Location::parse(url.to_owned());
    assert!(location("sqlite:orders") == Ok(Location::Sqlite("orders".into())));
    for url in ["postgres://u:p@h/d", "postgresql://h/d"] {
        assert!(location(url) == Ok(Location::Postgres(url.into())), "{url}");
    }
    for url in ["", "sqlite:", "orders", "mysql://x", "postgres:x", "host=h"] {
        assert!(location(url) == Err(Error::Internal), "{url}");
    }
}
