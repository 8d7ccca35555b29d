//! A component that uses the server that a request names, through `spin:{redis,mysql,mqtt}@3.0.0`. The path names the
//! operation, the header `address` the server, and the header `text` and the body are the arguments.

use bytes::Bytes;
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{FullBody, HeaderValue, IntoResponse, Request, Response, StatusCode};
use spin_sdk::redis::RedisParameter;
use spin_sdk::{http_service, mqtt, mysql, redis};
use std::fmt::Debug;

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (address, text, path) = (header("address"), header("text"), header("spin-path-info"));
    let body = request.into_body().bytes().await.unwrap_or_default();
    match answer(&path, &address, &text, &body).await {
        Ok(answer) => respond(StatusCode::OK, "text/plain", answer),
        Err(error) => {
            let error = format!("{{\"failed\":{error:?}}}");
            respond(StatusCode::BAD_GATEWAY, "application/json", error.into_bytes())
        }
    }
}

fn respond(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<FullBody<Bytes>> {
    let mut response = Response::new(FullBody::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    response
}

async fn answer(path: &str, address: &str, text: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    match path {
        "/redis/set" => redis(address).await?.set(text, body).await.map(done).map_err(shown),
        "/redis/get" => redis(address).await?.get(text).await.map(Option::unwrap_or_default).map_err(shown),
        "/redis/execute" => {
            let mut words = text.split(' ');
            let command = words.next().unwrap_or_default().to_owned();
            let arguments: Vec<_> = words.map(|word| RedisParameter::Binary(word.as_bytes().to_vec())).collect();
            let results = redis(address).await?.execute(command, arguments).await;
            results.map(shown).map(String::into_bytes).map_err(shown)
        }
        "/mysql" => {
            let connection = mysql::Connection::open(address).await.map_err(shown)?;
            let (_, rows, ended) = connection.query(text, []).await.map_err(shown)?.into_inner();
            let rows = rows.collect().await;
            ended.await.map_err(shown)?;
            Ok(shown(rows).into_bytes())
        }
        "/mqtt" => {
            let connection = mqtt::Connection::open(address, "", "", 30).await.map_err(shown)?;
            connection.publish(text, body.to_vec(), mqtt::Qos::ExactlyOnce).await.map(done).map_err(shown)
        }
        _ => Err(format!("there is no {path}")),
    }
}

async fn redis(address: &str) -> Result<redis::Connection, String> {
    redis::Connection::open(address).await.map_err(shown)
}

fn shown(value: impl Debug) -> String {
    format!("{value:?}")
}

fn done(_: ()) -> Vec<u8> {
    b"done".to_vec()
}
