//! Rows, transactions and URLs against a real SQLite.

use crate::{Database, Error, Row, Value, label};

fn database() -> Database {
    Database::in_memory(&["CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT) STRICT"])
}

fn count(database: &Database) -> i64 {
    database.query("SELECT count(*) FROM t", &[]).unwrap().next().unwrap().integer().unwrap()
}

fn insert(database: &Database, a: i64) -> Result<(), Error> {
    database.query("INSERT INTO t (a) VALUES (?1)", &[Value::Integer(a)]).map(drop)
}

#[test]
fn a_row_is_read_in_the_order_of_its_columns() {
    let db = database();
    let sql = "SELECT 7, 'x', NULL, 1, x'00ff'";
    let mut row = db.query(sql, &[]).unwrap().next().unwrap();
    assert_eq!(row.integer::<u32>(), Ok(7));
    assert_eq!(row.text().as_deref(), Ok("x"));
    assert_eq!(row.optional_text(), Ok(None));
    assert_eq!(row.boolean(), Ok(true));
    assert_eq!(row.blob().as_deref(), Ok([0, 255].as_slice()));
    assert_eq!(row.text(), Err(Error::Internal));
}

#[test]
fn a_column_of_another_type_or_range_is_an_error_and_no_panic() {
    let row = |value| Row::new(vec![value]);
    assert_eq!(row(Value::Integer(-1)).integer::<u64>(), Err(Error::Internal));
    assert_eq!(row(Value::Integer(1)).text(), Err(Error::Internal));
    assert_eq!(row(Value::Null).integer::<i64>(), Err(Error::Internal));
    assert_eq!(row(Value::Text("1".into())).boolean(), Err(Error::Internal));
    assert_eq!(row(Value::Text("1".into())).optional_text(), Ok(Some("1".into())));
}

#[test]
fn a_transaction_that_ends_well_stays() {
    let db = database();
    let done: Result<i64, Error> = db.transaction(|t| {
        insert(t, 1)?;
        insert(t, 2)?;
        Ok(count(t))
    });
    assert_eq!((done, count(&db)), (Ok(2), 2));
}

#[test]
fn a_transaction_that_fails_leaves_nothing_and_the_next_one_works() {
    let db = database();
    let refused: Result<(), Error> = db.transaction(|t| {
        insert(t, 1)?;
        Err(Error::Internal)
    });
    assert_eq!((refused, count(&db)), (Err(Error::Internal), 0));
    let failed: Result<(), Error> = db.transaction(|t| {
        insert(t, 1)?;
        insert(t, 1)
    });
    assert_eq!((failed, count(&db)), (Err(Error::Unavailable), 0));
    assert_eq!(db.transaction(|t| insert(t, 1)), Ok(()));
    assert_eq!(count(&db), 1);
}

#[test]
fn a_panic_in_a_transaction_rolls_it_back() {
    let db = database();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        db.transaction(|t| -> Result<(), Error> {
            insert(t, 1)?;
            panic!("on purpose")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(count(&db), 0);
}

#[test]
fn a_url_names_a_label_of_sqlite() {
    assert_eq!(label("sqlite:orders"), Ok("orders"));
    for url in ["", "sqlite:", "orders", "mysql://x"] {
        assert_eq!(label(url), Err(Error::Internal), "{url}");
    }
}
