//! Orders in PostgreSQL, with sqlx: the same statements and commits as the store makes for one. The payment provider's
//! session is in SQLite, as the sandbox's is.

use super::accounts::Accounts;
use super::writable;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::{PgPool, PgPoolOptions};
use std::sync::{Arc, Mutex};

const SCHEMA: [&str; 4] = [
    "CREATE TABLE native_orders (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL UNIQUE,
        owner text NOT NULL, total bigint NOT NULL, items bigint NOT NULL, status text NOT NULL DEFAULT 'PENDING',
        created_at timestamptz NOT NULL DEFAULT now())",
    "CREATE INDEX native_orders_owner ON native_orders (owner, seq)",
    "CREATE TABLE native_items (order_id text NOT NULL, line int NOT NULL, product bigint NOT NULL, name text NOT NULL,
        cents bigint NOT NULL, quantity bigint NOT NULL, PRIMARY KEY (order_id, line))",
    "CREATE TABLE native_sessions (order_id text PRIMARY KEY, url text)",
];

struct Orders {
    pool: PgPool,
    sandbox: Mutex<Connection>,
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

pub async fn routes(url: &str, folder: &str, accounts: Arc<Accounts>) -> Router {
    let pool = PgPoolOptions::new().max_connections(32).test_before_acquire(false).connect(url).await.unwrap();
    for statement in SCHEMA {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let sessions = "CREATE TABLE sessions (id TEXT PRIMARY KEY, order_id TEXT NOT NULL, bill TEXT NOT NULL) STRICT";
    let orders = Orders { pool, sandbox: Mutex::new(writable(folder, "sandbox-postgres.db", sessions)), accounts };
    Router::new().route("/postgres/orders", post(create)).with_state(Arc::new(orders))
}

async fn create(
    State(orders): State<Arc<Orders>>,
    headers: HeaderMap,
    Json(order): Json<NewOrder>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    let owner = orders.accounts.verify(&headers)?;
    orders.create(&owner, &order).await.map(|order| (StatusCode::CREATED, order))
}

impl Orders {
    async fn create(self: &Arc<Self>, owner: &str, order: &NewOrder) -> Result<Json<Value>, StatusCode> {
        let ids: Vec<i64> = order.items.iter().map(|item| item.product_id).collect();
        let select = "SELECT id, name, price_cents FROM products WHERE id = ANY($1) AND available";
        let products = sqlx::query(select).bind(ids).fetch_all(&self.pool).await.unwrap();
        let mut lines: Vec<(&NewItem, String, i64)> = Vec::new();
        for item in &order.items {
            let product = products.iter().find(|row| row.get::<i64, _>(0) == item.product_id);
            let product = product.ok_or(StatusCode::BAD_REQUEST)?;
            lines.push((item, product.get(1), product.get(2)));
        }
        let total: i64 = lines.iter().map(|(item, _, cents)| item.quantity * cents).sum();
        let count: i64 = lines.iter().map(|(item, ..)| item.quantity).sum();
        let id = uuid::Uuid::now_v7().to_string();
        let mut transaction = self.pool.begin().await.unwrap();
        let insert = "INSERT INTO native_orders (id, owner, total, items) VALUES ($1, $2, $3, $4) \
            RETURNING to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')";
        let created: String = sqlx::query(insert)
            .bind(&id)
            .bind(owner)
            .bind(total)
            .bind(count)
            .fetch_one(&mut *transaction)
            .await
            .unwrap()
            .get(0);
        let insert = "INSERT INTO native_items SELECT $1, * FROM unnest($2::int[], $3::bigint[], $4::text[], \
            $5::bigint[], $6::bigint[])";
        sqlx::query(insert)
            .bind(&id)
            .bind((0..).take(lines.len()).collect::<Vec<i32>>())
            .bind(lines.iter().map(|(item, ..)| item.product_id).collect::<Vec<i64>>())
            .bind(lines.iter().map(|(_, name, _)| name.clone()).collect::<Vec<String>>())
            .bind(lines.iter().map(|(.., cents)| *cents).collect::<Vec<i64>>())
            .bind(lines.iter().map(|(item, ..)| item.quantity).collect::<Vec<i64>>())
            .execute(&mut *transaction)
            .await
            .unwrap();
        let insert = "INSERT INTO native_sessions VALUES ($1, NULL)";
        sqlx::query(insert).bind(&id).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        let session = uuid::Uuid::now_v7().to_string();
        let url = format!("http://127.0.0.1/pay/{session}");
        let bill = json!(lines.iter().map(|(item, name, cents)| (item.quantity, name, cents)).collect::<Vec<_>>());
        let (orders, values) = (self.clone(), [session, id.clone(), bill.to_string()]);
        tokio::task::spawn_blocking(move || {
            let insert = "INSERT INTO sessions VALUES (?1, ?2, ?3)";
            orders.sandbox.lock().unwrap().prepare_cached(insert).unwrap().execute(values).unwrap();
        })
        .await
        .unwrap();
        let update = "UPDATE native_sessions SET url = $2 WHERE order_id = $1";
        sqlx::query(update).bind(&id).bind(&url).execute(&self.pool).await.unwrap();
        let items: Vec<Value> = lines
            .iter()
            .map(|(item, name, cents)| {
                let (price, product) = (*cents as f64 / 100.0, item.product_id);
                json!({ "price": price, "quantity": item.quantity, "productId": product, "name": name })
            })
            .collect();
        Ok(Json(json!({
            "order": { "id": id, "totalAmount": total as f64 / 100.0, "totalItems": count, "status": "PENDING",
                "createdAt": created, "OrderItem": items },
            "paymentSession": { "url": url },
        })))
    }
}
