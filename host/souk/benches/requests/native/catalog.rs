//! The catalogue: one statement per request, on a free connection.

use axum::extract::{Path, Query, State};
use axum::routing::get;
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
struct PageQuery {
    page: i64,
    limit: i64,
}

type Database = Arc<Vec<Mutex<Connection>>>;

/// The catalogue's routes over the store's product database.
pub(super) fn routes(database: &str) -> Router {
    let open = || Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let connections: Database = Arc::new((0..4).map(|_| Mutex::new(open())).collect());
    Router::new().route("/api/products/{id}", get(product)).route("/api/products", get(page)).with_state(connections)
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

/// Runs `query` on a free connection; there are more connections than threads.
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

async fn page(State(database): State<Database>, Query(query): Query<PageQuery>) -> Json<Page> {
    Json(with(&database, |c| {
        let mut count = c.prepare_cached("SELECT count(*) FROM products WHERE available").unwrap();
        let total: i64 = count.query_row([], |row| row.get(0)).unwrap();
        let mut rows = c
            .prepare_cached(&format!("SELECT {COLUMNS} FROM products WHERE available ORDER BY id LIMIT ?1 OFFSET ?2"))
            .unwrap();
        let data = rows.query_map([query.limit, (query.page - 1) * query.limit], read).unwrap();
        Page {
            data: data.map(Result::unwrap).collect(),
            pagination: Pagination {
                page: query.page,
                limit: query.limit,
                total_pages: total,
                last_page: (total + query.limit - 1) / query.limit,
            },
        }
    }))
}
