//! The baseline: the same services in one process, as a developer would write them by hand with axum, rusqlite and (for
//! PostgreSQL) sqlx.

mod accounts;
mod catalog;
mod events;
mod orders;
mod postgres;
pub(crate) mod provider;

pub(crate) use events::SECRET;

use axum::extract::Path;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Json, Router};

/// The command that starts this benchmark's own binary as the native server. The server reads the products of
/// `database`, writes to `folder` and to the PostgreSQL at `url`, and uses the payment provider at `provider`.
pub(crate) fn command(
    database: &std::path::Path,
    folder: &std::path::Path,
    url: &str,
    provider: &str,
) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.arg("native").arg(database).arg(folder).arg(url).arg(provider);
    command
}

/// Serves until it is killed.
pub(crate) fn serve(database: &str, folder: &str, url: &str, provider: &str) {
    std::fs::create_dir_all(folder).unwrap();
    run(async {
        let (accounts, provider) = (accounts::Accounts::new(folder), provider::Client::new(provider));
        Router::new()
            .route("/hello", get(|| async { "Hello, world!" }))
            .route("/answer/{n}", get(|Path(n): Path<u64>| async move { Json(n) }))
            .merge(catalog::routes(database))
            .merge(orders::routes(database, folder, accounts.clone(), provider.clone()))
            .merge(postgres::routes(url, accounts.clone(), provider).await)
            .merge(events::routes(folder))
            .merge(accounts::routes(accounts))
            .fallback(not_found)
    });
}

fn run(app: impl Future<Output = Router>) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, app) = (listener.local_addr().unwrap(), app.await);
        println!("Serving http://{address}");
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        axum::serve(listener, app).await.unwrap();
    });
}

/// The gateway's answer to an unknown route.
async fn not_found(method: Method, uri: Uri) -> (StatusCode, Json<serde_json::Value>) {
    let message = format!("Cannot {method} {uri}");
    let body = serde_json::json!({ "message": message, "error": "Not Found", "statusCode": 404 });
    (StatusCode::NOT_FOUND, Json(body))
}

/// A database for writing: a commit is on disk when it returns, as in the host.
fn writable(folder: &str, name: &str, schema: &str) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(std::path::Path::new(folder).join(name)).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.pragma_update(None, "synchronous", "full").unwrap();
    connection.execute_batch(schema).unwrap();
    connection
}
