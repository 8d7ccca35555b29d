//! Orders: the same three commits as the store makes for an order (the order, the payment provider's session, and the
//! session's data with the order), each on disk before the next. The provider is reached over HTTP: see
//! [`super::provider`].

use super::accounts::Accounts;
use super::provider::{Client, Session};
use super::writable;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use rusqlite::{Connection, OpenFlags, params};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const SCHEMA: &str = "
    CREATE TABLE orders (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, total INTEGER NOT NULL,
        items INTEGER NOT NULL, status TEXT NOT NULL DEFAULT 'PENDING',
        created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) STRICT;
    CREATE INDEX orders_owner ON orders (owner, seq);
    CREATE TABLE order_items (order_id TEXT NOT NULL, line INTEGER NOT NULL, product INTEGER NOT NULL,
        name TEXT NOT NULL, cents INTEGER NOT NULL, quantity INTEGER NOT NULL, PRIMARY KEY (order_id, line))
        STRICT, WITHOUT ROWID;
    CREATE TABLE sessions (order_id TEXT PRIMARY KEY, session TEXT, url TEXT, success_url TEXT, cancel_url TEXT,
        expires_at INTEGER) STRICT, WITHOUT ROWID;";

struct Orders {
    products: Mutex<Connection>,
    orders: Mutex<Connection>,
    reader: Mutex<Connection>,
    accounts: Arc<Accounts>,
    provider: Client,
}

/// A line with its product's name and price.
type Priced = (NewItem, String, i64);

/// An order that is stored.
struct Stored {
    id: String,
    total: i64,
    count: i64,
    created_at: String,
    lines: Vec<Priced>,
}

#[derive(Deserialize)]
struct NewOrder {
    items: Vec<NewItem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewItem {
    product_id: i64,
    quantity: i64,
}

#[derive(Deserialize)]
struct PageQuery {
    page: i64,
    limit: i64,
}

pub(super) fn routes(products: &str, folder: &str, accounts: Arc<Accounts>, provider: Client) -> Router {
    let orders = Orders {
        products: Mutex::new(Connection::open_with_flags(products, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()),
        orders: Mutex::new(writable(folder, "orders.db", SCHEMA)),
        reader: Mutex::new(writable(folder, "orders.db", "")),
        accounts,
        provider,
    };
    Router::new().route("/api/orders", get(page).post(create)).with_state(Arc::new(orders))
}

async fn create(
    State(orders): State<Arc<Orders>>,
    headers: HeaderMap,
    Json(order): Json<NewOrder>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    let owner = orders.accounts.verify(&headers)?;
    // Each commit waits for the disk.
    let store = orders.clone();
    let stored = tokio::task::spawn_blocking(move || store.create(&owner, order)).await.unwrap()?;
    let lines = stored.lines.iter().map(|(item, name, cents)| (name.as_str(), *cents, item.quantity));
    let session = orders.provider.open(&stored.id, lines.collect()).await;
    tokio::task::spawn_blocking(move || orders.answer(&stored, &session)).await.unwrap()
}

impl Orders {
    /// Stores the order, its lines and an empty payment session.
    fn create(&self, owner: &str, order: NewOrder) -> Result<Stored, StatusCode> {
        let mut lines: Vec<Priced> = Vec::new();
        {
            let products = self.products.lock().unwrap();
            let mut product = products
                .prepare_cached("SELECT name, price_cents FROM products WHERE id = ?1 AND available = 1")
                .unwrap();
            for item in order.items {
                let row = product.query_row([item.product_id], |r| Ok((r.get(0)?, r.get(1)?)));
                let (name, cents) = row.map_err(|_| StatusCode::BAD_REQUEST)?;
                lines.push((item, name, cents));
            }
        }
        let total: i64 = lines.iter().map(|(item, _, cents)| item.quantity * cents).sum();
        let count: i64 = lines.iter().map(|(item, ..)| item.quantity).sum();
        let id = uuid::Uuid::now_v7().to_string();
        let mut database = self.orders.lock().unwrap();
        let transaction = database.transaction().unwrap();
        let created_at = transaction
            .prepare_cached("INSERT INTO orders (id, owner, total, items) VALUES (?1, ?2, ?3, ?4) RETURNING created_at")
            .unwrap()
            .query_row(params![id, owner, total, count], |row| row.get(0))
            .unwrap();
        let insert = "INSERT INTO order_items VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        for (line, (item, name, cents)) in lines.iter().enumerate() {
            let values = params![id, line as i64, item.product_id, name, cents, item.quantity];
            transaction.prepare_cached(insert).unwrap().execute(values).unwrap();
        }
        transaction.prepare_cached("INSERT INTO sessions (order_id) VALUES (?1)").unwrap().execute([&id]).unwrap();
        transaction.commit().unwrap();
        Ok(Stored { id, total, count, created_at, lines })
    }

    /// Stores the payment session with the order, which must still be payable, and returns the answer.
    fn answer(&self, order: &Stored, session: &Session) -> Result<(StatusCode, Json<Value>), StatusCode> {
        let Stored { id, total, count, created_at, lines } = order;
        let Session { id: session, url, success_url, cancel_url, expires_at } = session;
        let update = "UPDATE sessions SET session = ?2, url = ?3, success_url = ?4, cancel_url = ?5, expires_at = ?6
            WHERE order_id = ?1 AND session IS NULL RETURNING (SELECT status FROM orders WHERE id = order_id)";
        let values = params![id, session, url, success_url, cancel_url, expires_at];
        let database = self.orders.lock().unwrap();
        let mut update = database.prepare_cached(update).unwrap();
        let status: String = update.query_row(values, |row| row.get(0)).unwrap();
        if status != "PENDING" {
            return Err(StatusCode::CONFLICT);
        }
        let items: Vec<Value> = lines
            .iter()
            .map(|(item, name, cents)| {
                let (price, product) = (*cents as f64 / 100.0, item.product_id);
                json!({ "price": price, "quantity": item.quantity, "productId": product, "name": name })
            })
            .collect();
        let answer = json!({
            "order": { "id": id, "totalAmount": *total as f64 / 100.0, "totalItems": count, "status": status,
                "createdAt": created_at, "OrderItem": items },
            "paymentSession": { "url": url, "successUrl": success_url, "cancelUrl": cancel_url },
        });
        Ok((StatusCode::CREATED, Json(answer)))
    }
}

async fn page(
    State(orders): State<Arc<Orders>>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Result<Json<Value>, StatusCode> {
    let owner = orders.accounts.verify(&headers)?;
    let reader = orders.reader.lock().unwrap();
    let mut count = reader.prepare_cached("SELECT count(*) FROM orders WHERE owner = ?1").unwrap();
    let total: i64 = count.query_row([&owner], |row| row.get(0)).unwrap();
    let mut rows = reader
        .prepare_cached(
            "SELECT id, total, items, status, created_at FROM orders WHERE owner = ?1 ORDER BY seq DESC
             LIMIT ?2 OFFSET ?3",
        )
        .unwrap();
    let data = rows
        .query_map(params![owner, query.limit, (query.page - 1) * query.limit], |row| {
            Ok(json!({ "id": row.get::<_, String>(0)?, "totalAmount": row.get::<_, i64>(1)? as f64 / 100.0,
                "totalItems": row.get::<_, i64>(2)?, "status": row.get::<_, String>(3)?,
                "createdAt": row.get::<_, String>(4)? }))
        })
        .unwrap();
    let data: Vec<Value> = data.map(Result::unwrap).collect();
    Ok(Json(json!({ "data": data, "pagination": { "page": query.page, "limit": query.limit, "totalRecords": total,
        "lastPage": (total + query.limit - 1) / query.limit } })))
}
