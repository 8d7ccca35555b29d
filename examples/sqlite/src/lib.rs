//! `POST /` with a text adds a line to the list, `GET /` shows all of them.

use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{IntoResponse, Method, Request, StatusCode};
use spin_sdk::http_service;
use spin_sdk::sqlite::{Connection, Error, Value};

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    answer(request).await.unwrap_or_else(|error| {
        eprintln!("the database does not answer: {error:?}");
        (StatusCode::SERVICE_UNAVAILABLE, String::new())
    })
}

async fn answer(request: Request) -> Result<(StatusCode, String), Error> {
    let database = Connection::open_default().await?;
    if request.method() == Method::POST {
        let Ok(text) = request.into_body().bytes().await else {
            return Ok((StatusCode::BAD_REQUEST, "the text did not come\n".to_owned()));
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        database.execute("INSERT INTO lines (text) VALUES (?)", [Value::Text(text)]).await?.result().await?;
        return Ok((StatusCode::CREATED, String::new()));
    }
    let rows = database.execute("SELECT text FROM lines ORDER BY id LIMIT 100", []).await?.collect().await?;
    Ok((StatusCode::OK, rows.iter().filter_map(|row| row.get::<&str>(0)).map(|text| format!("{text}\n")).collect()))
}
