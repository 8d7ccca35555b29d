//! The databases that the store runs on: what holds for one must hold for the other.
//!
//! A test can hold one up from outside, as another program that works on it would: whoever writes has to wait.

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
    /// The application on this database; on the server that the tests share.
    pub(crate) fn of(self, app: App) -> App {
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

/// Nobody else writes for as long as it lives; reading goes on.
pub(crate) enum Held {
    /// SQLite's one write lock.
    Sqlite(rusqlite::Connection),
    /// A transaction with locks on tables.
    Postgres(PgConnection),
}

impl Held {
    /// Holds up all writes to the orders and to what is known of their payment.
    pub(crate) async fn orders(app: &App) -> Held {
        let Some(url) = app.value("orders_database_url").filter(|url| url.starts_with("postgres")) else {
            return Held::file(&sqlite(app, "orders")).await;
        };
        let mut connection = PgConnection::connect(url).await.unwrap();
        connection
            .execute("BEGIN; LOCK TABLE idempotency_keys, orders, payment_sessions IN EXCLUSIVE MODE")
            .await
            .unwrap();
        Held::Postgres(connection)
    }

    /// Holds up all writes to an SQLite file; waits for those under way.
    pub(crate) async fn file(path: &Path) -> Held {
        let path = path.to_owned();
        let begin = move || {
            let connection = rusqlite::Connection::open(path).unwrap();
            connection.busy_timeout(Duration::from_secs(30)).unwrap();
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            connection
        };
        Held::Sqlite(tokio::task::spawn_blocking(begin).await.unwrap())
    }

    /// Lets the others write; nothing has changed.
    pub(crate) async fn release(self) {
        match self {
            Held::Sqlite(connection) => connection.execute_batch("ROLLBACK").unwrap(),
            Held::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}

/// The one whole number that a query of the orders' database gives.
pub(crate) async fn number(app: &App, query: &'static str) -> i64 {
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
