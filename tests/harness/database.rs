//! The two databases that the store runs on. Scenarios must pass on both.
//!
//! A test can also lock a database from outside, as another program would, so that the store's writes have to wait.

use super::App;
use super::mongodb::MongoDb;
use super::postgres::Postgres;
use sqlx::{Connection, Executor, PgConnection};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where products and orders are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    /// Files in the state folder.
    Sqlite,
    /// Two new databases of a server.
    Postgres,
}

impl Database {
    /// The application on this database. For PostgreSQL it is the server that all tests share.
    pub(crate) fn configure(self, app: App) -> App {
        match self {
            Database::Sqlite => app,
            Database::Postgres => on_server(app, Postgres::shared()),
        }
    }
}

/// The application on two new databases of this server.
pub(crate) fn on_server(app: App, server: &Postgres) -> App {
    app.variable("products_database_url", server.database()).variable("orders_database_url", server.database())
}

/// The application with its accounts where `SOUK_ACCOUNTS` says: in the state folder, or with `mongodb` in a new database
/// of the server that the tests share.
pub(crate) fn accounts(app: App) -> App {
    match std::env::var("SOUK_ACCOUNTS").as_deref() {
        Err(_) => app,
        Ok("mongodb") => {
            let url = MongoDb::shared().database();
            app.file("runtime-config.toml", format!("[key_value_store.auth]\ntype = \"mongodb\"\nurl = \"{url}\"\n"))
        }
        Ok(other) => panic!("SOUK_ACCOUNTS={other}: accounts are kept in `mongodb`, or in the state folder"),
    }
}

/// A write lock on a database: until it is dropped, others can read but not write.
pub(crate) enum WriteLock {
    /// SQLite's one write lock.
    Sqlite(rusqlite::Connection),
    /// A transaction with locks on tables.
    Postgres(PgConnection),
}

impl WriteLock {
    /// Locks the orders and their payment sessions against writes.
    pub(crate) async fn orders(app: &App) -> WriteLock {
        let Some(url) = app.value("orders_database_url").filter(|url| url.starts_with("postgres")) else {
            return WriteLock::file(&sqlite(app, "orders")).await;
        };
        let mut connection = PgConnection::connect(url).await.unwrap();
        connection
            .execute("BEGIN; LOCK TABLE idempotency_keys, orders, payment_sessions IN EXCLUSIVE MODE")
            .await
            .unwrap();
        WriteLock::Postgres(connection)
    }

    /// Locks an SQLite file against writes; waits for those under way.
    pub(crate) async fn file(path: &Path) -> WriteLock {
        let path = path.to_owned();
        let begin = move || {
            let connection = rusqlite::Connection::open(path).unwrap();
            connection.busy_timeout(Duration::from_secs(30)).unwrap();
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            connection
        };
        WriteLock::Sqlite(tokio::task::spawn_blocking(begin).await.unwrap())
    }

    /// Lets the others write; nothing has changed.
    pub(crate) async fn release(self) {
        match self {
            WriteLock::Sqlite(connection) => connection.execute_batch("ROLLBACK").unwrap(),
            WriteLock::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}

/// The single integer that a query on the orders' database returns.
pub(crate) async fn query_number(app: &App, query: &'static str) -> i64 {
    match app.value("orders_database_url").filter(|url| url.starts_with("postgres")) {
        Some(url) => {
            let mut connection = PgConnection::connect(url).await.unwrap();
            sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
        }
        None => {
            let connection = rusqlite::Connection::open(sqlite(app, "orders")).unwrap();
            connection.query_row(query, [], |row| row.get(0)).unwrap()
        }
    }
}

/// The file of an SQLite database.
fn sqlite(app: &App, label: &str) -> PathBuf {
    app.state().join(format!("sqlite/{label}.db"))
}
