//! `POST <<base>>/` adds the request's body to a list, `GET <<base>>/` shows the list.

use souk_database::{Database, Error, Statement, Value, statement};
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{IntoResponse, Method, Request, StatusCode};
use spin_sdk::http_service;

/// The most bytes of one line.
const MAX_LINE_BYTES: usize = 1000;

/// The same statements for SQLite and PostgreSQL; `statement!` says where the two differ.
const ADD: Statement = statement!("INSERT INTO lines (text) VALUES (?1)");
const LIST: Statement = statement!("SELECT text FROM lines ORDER BY id LIMIT 100");

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    // What the database says is in the log.
    answer(request).await.unwrap_or_else(|_: Error| (StatusCode::SERVICE_UNAVAILABLE, String::new()))
}

async fn answer(request: Request) -> Result<(StatusCode, String), Error> {
    if request.method() != Method::POST {
        let rows = Database::open()?.query(LIST, &[])?;
        let lines: Vec<_> = rows.map(|mut row| row.text()).collect::<Result<_, _>>()?;
        return Ok((StatusCode::OK, lines.iter().map(|line| format!("{line}\n")).collect()));
    }
    // PostgreSQL keeps no zero byte in a text.
    let body = request.into_body().bytes().await.unwrap_or_default();
    let text = String::from_utf8(body.to_vec()).unwrap_or_default();
    if text.is_empty() || text.len() > MAX_LINE_BYTES || text.contains('\0') {
        return Ok((StatusCode::BAD_REQUEST, format!("send a text of 1 to {MAX_LINE_BYTES} bytes\n")));
    }
    Database::open()?.query(ADD, &[Value::Text(text)])?;
    Ok((StatusCode::CREATED, String::new()))
}
