//! The baseline: axum with rusqlite, and with sqlx for PostgreSQL, as one would write the same services by hand in one process.

mod accounts;
mod catalog;
mod events;
mod orders;
mod postgres;
mod provider;

pub use events::SECRET;

use axum::extract::Path;
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Json, Router};

/// The command that starts this benchmark's own binary as the native server; it reads the products of `database` and
/// keeps what it writes in `folder`, and reads and writes in PostgreSQL what is at `url`.
pub fn command(database: &std::path::Path, folder: &std::path::Path, url: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.arg("native").arg(database).arg(folder).arg(url);
    command
}

/// Serves until it is killed.
pub fn serve(database: &str, folder: &str, url: &str) {
    std::fs::create_dir_all(folder).unwrap();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accounts, provider) = (accounts::Accounts::new(folder), provider::Client::new(address));
        let app = Router::new()
            .route("/hello", get(|| async { "Hello, world!" }))
            .route("/answer/{n}", get(|Path(n): Path<u64>| async move { Json(n) }))
            .merge(catalog::routes(database))
            .merge(orders::routes(database, folder, accounts.clone(), provider.clone()))
            .merge(postgres::routes(url, accounts.clone(), provider).await)
            .merge(provider::routes(folder))
            .merge(events::routes(folder))
            .merge(accounts::routes(accounts));
        println!("Serving http://{address}");
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        axum::serve(listener, app).await.unwrap();
    });
}

/// A database that is written: what was committed is on disk, as the host has it.
fn writable(folder: &str, name: &str, schema: &str) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(std::path::Path::new(folder).join(name)).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.pragma_update(None, "synchronous", "full").unwrap();
    connection.execute_batch(schema).unwrap();
    connection
}
