//! Orders in PostgreSQL, with sqlx: the same statements and commits as the store makes for an order. The payment
//! provider is reached over HTTP and keeps its sessions in SQLite, as the store's sandbox does: see
//! [`super::provider`].

use super::accounts::Accounts;
use super::provider::{Client, Session};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::{PgPool, PgPoolOptions};
use std::sync::Arc;

const SCHEMA: [&str; 4] = [
    "CREATE TABLE native_orders (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL UNIQUE,
        owner text NOT NULL, total bigint NOT NULL, items bigint NOT NULL, status text NOT NULL DEFAULT 'PENDING',
        created_at timestamptz NOT NULL DEFAULT now())",
    "CREATE INDEX native_orders_owner ON native_orders (owner, seq)",
    "CREATE TABLE native_items (order_id text NOT NULL, line int NOT NULL, product bigint NOT NULL, name text NOT NULL,
        cents bigint NOT NULL, quantity bigint NOT NULL, PRIMARY KEY (order_id, line))",
    "CREATE TABLE native_sessions (order_id text PRIMARY KEY, session text, url text, success_url text, cancel_url text,
        expires_at timestamptz)",
];

/// Stores the order, its lines and an empty payment session, in one statement.
const CREATE: &str =
    "WITH made AS (INSERT INTO native_orders (id, owner, total, items) VALUES ($1, $2, $3, $4) RETURNING *),
    lines AS (INSERT INTO native_items SELECT id, line.* FROM made,
        unnest($5::int[], $6::bigint[], $7::text[], $8::bigint[], $9::bigint[]) AS line),
    session AS (INSERT INTO native_sessions (order_id) SELECT id FROM made)
    SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM made";

/// Stores the payment session of an order and returns the order's status after that.
const SAVE: &str = "UPDATE native_sessions SET session = $2, url = $3, success_url = $4, cancel_url = $5,
    expires_at = to_timestamp($6::bigint) WHERE order_id = $1 AND session IS NULL
    RETURNING (SELECT status FROM native_orders WHERE id = native_sessions.order_id FOR NO KEY UPDATE)";

struct Orders {
    pool: PgPool,
    accounts: Arc<Accounts>,
    provider: Client,
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

pub(super) async fn routes(url: &str, accounts: Arc<Accounts>, provider: Client) -> Router {
    let pool = PgPoolOptions::new().max_connections(32).test_before_acquire(false).connect(url).await.unwrap();
    for statement in SCHEMA {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let orders = Orders { pool, accounts, provider };
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
    async fn create(&self, owner: &str, order: &NewOrder) -> Result<Json<Value>, StatusCode> {
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
        let created: String = sqlx::query(CREATE)
            .bind(&id)
            .bind(owner)
            .bind(total)
            .bind(count)
            .bind((0..).take(lines.len()).collect::<Vec<i32>>())
            .bind(lines.iter().map(|(item, ..)| item.product_id).collect::<Vec<i64>>())
            .bind(lines.iter().map(|(_, name, _)| name.clone()).collect::<Vec<String>>())
            .bind(lines.iter().map(|(.., cents)| *cents).collect::<Vec<i64>>())
            .bind(lines.iter().map(|(item, ..)| item.quantity).collect::<Vec<i64>>())
            .fetch_one(&self.pool)
            .await
            .unwrap()
            .get(0);
        let bill = lines.iter().map(|(item, name, cents)| (name.as_str(), *cents, item.quantity));
        let Session { id: session, url, success_url, cancel_url, expires_at } =
            self.provider.open(&id, bill.collect()).await;
        let status: String = sqlx::query(SAVE)
            .bind(&id)
            .bind(&session)
            .bind(&url)
            .bind(&success_url)
            .bind(&cancel_url)
            .bind(expires_at)
            .fetch_one(&self.pool)
            .await
            .unwrap()
            .get(0);
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
        Ok(Json(json!({
            "order": { "id": id, "totalAmount": total as f64 / 100.0, "totalItems": count, "status": status,
                "createdAt": created, "OrderItem": items },
            "paymentSession": { "url": url, "successUrl": success_url, "cancelUrl": cancel_url },
        })))
    }
}
