//! Orders: the same three commits as the store makes for one (the order, the payment provider's session, and the
//! session noted with the order), each on disk before the next.

use super::accounts::Accounts;
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
    CREATE TABLE sessions (order_id TEXT PRIMARY KEY, url TEXT) STRICT, WITHOUT ROWID;";

struct Orders {
    products: Mutex<Connection>,
    orders: Mutex<Connection>,
    sandbox: Mutex<Connection>,
    reader: Mutex<Connection>,
    accounts: Arc<Accounts>,
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
struct Wanted {
    page: i64,
    limit: i64,
}

pub fn routes(products: &str, folder: &str, accounts: Arc<Accounts>) -> Router {
    let sandbox = "CREATE TABLE sessions (id TEXT PRIMARY KEY, order_id TEXT NOT NULL, bill TEXT NOT NULL) STRICT";
    let orders = Orders {
        products: Mutex::new(Connection::open_with_flags(products, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()),
        orders: Mutex::new(writable(folder, "orders.db", SCHEMA)),
        sandbox: Mutex::new(writable(folder, "sandbox.db", sandbox)),
        reader: Mutex::new(writable(folder, "orders.db", "")),
        accounts,
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
    tokio::task::spawn_blocking(move || orders.create(&owner, &order)).await.unwrap().map(|o| (StatusCode::CREATED, o))
}

impl Orders {
    fn create(&self, owner: &str, order: &NewOrder) -> Result<Json<Value>, StatusCode> {
        let mut lines = Vec::new();
        {
            let products = self.products.lock().unwrap();
            let mut product = products
                .prepare_cached("SELECT name, price_cents FROM products WHERE id = ?1 AND available = 1")
                .unwrap();
            for item in &order.items {
                let row = product.query_row([item.product_id], |r| Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?)));
                lines.push((item, row.map_err(|_| StatusCode::BAD_REQUEST)?));
            }
        }
        let total: i64 = lines.iter().map(|(item, (_, cents))| item.quantity * cents).sum();
        let count: i64 = lines.iter().map(|(item, _)| item.quantity).sum();
        let id = uuid::Uuid::now_v7().to_string();
        let created_at: String = {
            let mut database = self.orders.lock().unwrap();
            let transaction = database.transaction().unwrap();
            let created = transaction
                .prepare_cached(
                    "INSERT INTO orders (id, owner, total, items) VALUES (?1, ?2, ?3, ?4) RETURNING created_at",
                )
                .unwrap()
                .query_row(params![id, owner, total, count], |row| row.get(0))
                .unwrap();
            let insert = "INSERT INTO order_items VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            for (line, (item, (name, cents))) in lines.iter().enumerate() {
                let values = params![id, line as i64, item.product_id, name, cents, item.quantity];
                transaction.prepare_cached(insert).unwrap().execute(values).unwrap();
            }
            transaction.prepare_cached("INSERT INTO sessions VALUES (?1, NULL)").unwrap().execute([&id]).unwrap();
            transaction.commit().unwrap();
            created
        };
        let session = uuid::Uuid::now_v7().to_string();
        let url = format!("http://127.0.0.1/pay/{session}");
        let bill = json!(lines.iter().map(|(item, line)| (item.quantity, line)).collect::<Vec<_>>()).to_string();
        let insert = "INSERT INTO sessions VALUES (?1, ?2, ?3)";
        self.sandbox.lock().unwrap().prepare_cached(insert).unwrap().execute([&session, &id, &bill]).unwrap();
        let update = "UPDATE sessions SET url = ?2 WHERE order_id = ?1";
        self.orders.lock().unwrap().prepare_cached(update).unwrap().execute([&id, &url]).unwrap();
        let items: Vec<Value> = lines
            .iter()
            .map(|(item, (name, cents))| {
                let (price, product) = (*cents as f64 / 100.0, item.product_id);
                json!({ "price": price, "quantity": item.quantity, "productId": product, "name": name })
            })
            .collect();
        Ok(Json(json!({
            "order": { "id": id, "totalAmount": total as f64 / 100.0, "totalItems": count, "status": "PENDING",
                "createdAt": created_at, "OrderItem": items },
            "paymentSession": { "url": url },
        })))
    }
}

async fn page(
    State(orders): State<Arc<Orders>>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
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
        .query_map(params![owner, wanted.limit, (wanted.page - 1) * wanted.limit], |row| {
            Ok(json!({ "id": row.get::<_, String>(0)?, "totalAmount": row.get::<_, i64>(1)? as f64 / 100.0,
                "totalItems": row.get::<_, i64>(2)?, "status": row.get::<_, String>(3)?,
                "createdAt": row.get::<_, String>(4)? }))
        })
        .unwrap();
    let data: Vec<Value> = data.map(Result::unwrap).collect();
    Ok(Json(json!({ "data": data, "pagination": { "page": wanted.page, "limit": wanted.limit, "totalRecords": total,
        "lastPage": (total + wanted.limit - 1) / wanted.limit } })))
}
