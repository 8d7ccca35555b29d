//! The baseline: axum and rusqlite, as one would write the same service by hand in one process.

use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use rusqlite::{Connection, OpenFlags, Row};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Product {
    id: i64,
    name: String,
    price: f64,
    available: bool,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    data: Vec<Product>,
    pagination: Pagination,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    page: i64,
    limit: i64,
    total_pages: i64,
    last_page: i64,
}

#[derive(Deserialize)]
struct Wanted {
    page: i64,
    limit: i64,
}

type Database = Arc<Vec<Mutex<Connection>>>;

/// The command that starts this benchmark's own binary as the native server.
pub fn command(database: &std::path::Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.arg("native").arg(database);
    command
}

/// Serves until it is killed.
pub fn serve(database: &str) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let open = || Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let connections: Database = Arc::new((0..4).map(|_| Mutex::new(open())).collect());
        let app = Router::new()
            .route("/hello", get(|| async { "Hello, world!" }))
            .route("/answer/{n}", get(|Path(n): Path<u64>| async move { Json(n) }))
            .route("/api/products/{id}", get(product))
            .route("/api/products", get(page))
            .with_state(connections);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("Serving http://{}", listener.local_addr().unwrap());
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        axum::serve(listener, app).await.unwrap();
    });
}

const COLUMNS: &str = "id, name, price_cents, available, created_at, updated_at";

fn read(row: &Row<'_>) -> rusqlite::Result<Product> {
    Ok(Product {
        id: row.get(0)?,
        name: row.get(1)?,
        price: row.get::<_, i64>(2)? as f64 / 100.0,
        available: row.get(3)?,
        created_at: row.get(4)?,
        updated_at: row.get(5)?,
    })
}

/// A connection that nobody uses now; there are more of them than threads.
fn with<T>(database: &Database, query: impl FnOnce(&Connection) -> T) -> T {
    let free = database.iter().find_map(|c| c.try_lock().ok());
    query(&free.unwrap_or_else(|| database[0].lock().unwrap()))
}

async fn product(State(database): State<Database>, Path(id): Path<i64>) -> Json<Product> {
    Json(with(&database, |c| {
        let mut statement =
            c.prepare_cached(&format!("SELECT {COLUMNS} FROM products WHERE id = ?1 AND available")).unwrap();
        statement.query_row([id], read).unwrap()
    }))
}

async fn page(State(database): State<Database>, Query(wanted): Query<Wanted>) -> Json<Page> {
    Json(with(&database, |c| {
        let mut count = c.prepare_cached("SELECT count(*) FROM products WHERE available").unwrap();
        let total: i64 = count.query_row([], |row| row.get(0)).unwrap();
        let mut rows = c
            .prepare_cached(&format!("SELECT {COLUMNS} FROM products WHERE available ORDER BY id LIMIT ?1 OFFSET ?2"))
            .unwrap();
        let data = rows.query_map([wanted.limit, (wanted.page - 1) * wanted.limit], read).unwrap();
        Page {
            data: data.map(Result::unwrap).collect(),
            pagination: Pagination {
                page: wanted.page,
                limit: wanted.limit,
                total_pages: total,
                last_page: (total + wanted.limit - 1) / wanted.limit,
            },
        }
    }))
}
