//! A component as users of Spin's SDK 6 build it: its WASI is the last release candidate of 0.3, and it imports a model of
//! language, which the host does not have.

use spin_sdk::http::{IntoResponse, Request, StatusCode, body::IncomingBodyExt as _, post};
use spin_sdk::http_service;
use spin_sdk::key_value::Store;
use spin_sdk::llm::{InferencingModel, infer};
use spin_sdk::sqlite::{Connection, Value};
use spin_sdk::variables;
use std::error::Error;

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let answer = match head.uri.path() {
        "/spin-6/echo" => body.bytes().await.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(text),
        "/spin-6/key-value" => key_value().await.map_err(text),
        "/spin-6/sqlite" => sqlite().await.map_err(text),
        "/spin-6/variable" => variables::get(query).await.map_err(text),
        "/spin-6/fetch" => fetch(&query).await.map_err(text),
        "/spin-6/infer" => infer(InferencingModel::Llama2Chat, "Hello?").map(|said| said.text).map_err(text),
        path => Ok(format!("Hello from {path}")),
    };
    match answer {
        Ok(answer) => (StatusCode::OK, answer),
        Err(error) => (StatusCode::BAD_GATEWAY, error),
    }
}

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

async fn key_value() -> Result<String, Box<dyn Error>> {
    let store = Store::open_default().await?;
    store.set("six", b"6").await?;
    Ok(String::from_utf8(store.get("six").await?.unwrap_or_default())?)
}

async fn sqlite() -> Result<String, Box<dyn Error>> {
    let database = Connection::open_default().await?;
    let rows = database.execute("SELECT ? || '!'", [Value::Text("six".to_owned())]).await?.collect().await?;
    Ok(rows.first().and_then(|row| row.get::<&str>(0)).unwrap_or_default().to_owned())
}

async fn fetch(url: &str) -> Result<String, Box<dyn Error>> {
    let bytes = post(url, "from spin-6").await?.into_body().bytes().await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
