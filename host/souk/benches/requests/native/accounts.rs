//! Accounts: argon2id with the store's parameters, HS256 tokens by the same code, and a read of the account for each token.

#[path = "../../../../../components/auth/src/token/hs256.rs"]
mod hs256;

use super::writable;
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use souk_manifest::clock;
use std::sync::{Arc, Mutex};

const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";

pub(super) struct Accounts {
    database: Mutex<Connection>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    email: String,
    exp: u64,
}

#[derive(Deserialize)]
struct Credentials {
    email: String,
    password: String,
}

impl Accounts {
    pub(super) fn new(folder: &str) -> Arc<Self> {
        let schema = "CREATE TABLE users (email TEXT PRIMARY KEY, hash TEXT NOT NULL) STRICT, WITHOUT ROWID";
        hs256::install();
        Arc::new(Accounts { database: Mutex::new(writable(folder, "accounts.db", schema)) })
    }

    fn hash(&self, email: &str) -> Option<String> {
        let database = self.database.lock().unwrap();
        let mut statement = database.prepare_cached("SELECT hash FROM users WHERE email = ?1").unwrap();
        statement.query_row([email], |row| row.get(0)).ok()
    }

    /// The e-mail of the token's user.
    pub(super) fn verify(&self, headers: &HeaderMap) -> Result<String, StatusCode> {
        let header = headers.get("authorization").and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
        let token = header.ok_or(StatusCode::UNAUTHORIZED)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(SECRET), &Validation::default())
            .map_err(|_| StatusCode::UNAUTHORIZED)?
            .claims;
        self.hash(&claims.email).map(|_| claims.email).ok_or(StatusCode::UNAUTHORIZED)
    }
}

fn session(email: &str) -> (StatusCode, Json<Value>) {
    let now = clock::since_epoch().as_secs();
    let claims = Claims { email: email.to_owned(), exp: now + 7200 };
    let token = jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap();
    (StatusCode::CREATED, Json(json!({ "user": { "email": email }, "token": token })))
}

pub(super) fn routes(accounts: Arc<Accounts>) -> Router {
    Router::new()
        .route("/api/auth/register", post(register))
        .route("/api/auth/login", post(login))
        .route("/api/auth/verify", post(verify))
        .with_state(accounts)
}

async fn register(
    State(accounts): State<Arc<Accounts>>,
    Json(credentials): Json<Credentials>,
) -> (StatusCode, Json<Value>) {
    let Credentials { email, password } = credentials;
    let hash = Argon2::default().hash_password(password.as_bytes()).unwrap().to_string();
    accounts.database.lock().unwrap().execute("INSERT INTO users VALUES (?1, ?2)", [&email, &hash]).unwrap();
    session(&email)
}

async fn login(
    State(accounts): State<Arc<Accounts>>,
    Json(credentials): Json<Credentials>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    let Credentials { email, password } = credentials;
    let hash = accounts.hash(&email).ok_or(StatusCode::BAD_REQUEST)?;
    let check = move || {
        let hash = PasswordHash::new(&hash).unwrap();
        Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
    };
    match tokio::task::spawn_blocking(check).await.unwrap() {
        true => Ok(session(&email)),
        false => Err(StatusCode::BAD_REQUEST),
    }
}

async fn verify(
    State(accounts): State<Arc<Accounts>>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    Ok(session(&accounts.verify(&headers)?))
}
