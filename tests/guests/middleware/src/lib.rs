//! A test component that is a middleware or, with `ROLE=app`, the application behind it, as users of Spin's SDK 7 build
//! it.
//!
//! As a middleware it adds headers that prove that the request and the response passed through it. It answers a request
//! with `x-stop: NAME` itself. As the application it shows the request that it got. In both roles, `/boom` panics,
//! `/ask?URL` sends its own request to URL, and `/next` forwards the request.

use http::{HeaderName, HeaderValue, Request as Head, StatusCode};
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{EmptyBody, FullBody, IntoResponse, Request, Response, Result, next, send};
use spin_sdk::http_service;
use spin_sdk::key_value::Store;
use spin_sdk::wasip3::http::types::{self, ErrorCode};

const TEXT: &str = "text/plain";

#[http_service]
async fn handle(request: Request) -> Result<types::Response, ErrorCode> {
    let name = std::env::var("NAME").unwrap_or_default();
    let is_app = std::env::var("ROLE").is_ok_and(|role| role == "app");
    if request.headers().get("x-stop").is_some_and(|stop| stop == name.as_str()) {
        return reply(StatusCode::ACCEPTED, format!("stopped by {name}"));
    }
    match request.uri().path() {
        path if path.ends_with("/ask") || path.ends_with("/barred") => {
            return ask(request.uri().query().unwrap_or_default()).await;
        }
        path if path.ends_with("/boom") => panic!("the middleware's boom, with the secret detail swordfish"),
        path if path.ends_with("/next") => {}
        path if path.ends_with("/echo") && is_app => {
            let body = request.into_body().bytes().await?;
            let response = http::Response::builder().header("content-type", TEXT).body(FullBody::new(body)).unwrap();
            return response.into_response();
        }
        _ if is_app => return show(&request),
        _ => {}
    }
    let (mut head, body) = request.into_parts();
    let mark = HeaderValue::try_from(&name).unwrap();
    head.headers.append("x-passed", mark.clone());
    let response = next(Request::from_parts(head, body)).await?;
    let (mut head, body) = response.into_parts();
    head.headers.append("x-through", mark);
    let store = if Store::open("default").await.is_ok() { "open" } else { "denied" };
    head.headers.insert(HeaderName::try_from(format!("x-store-{name}")).unwrap(), HeaderValue::from_static(store));
    Response::from_parts(head, body).into_response()
}

/// Answers with the path, Spin's headers, and the names of the middlewares that the request passed.
fn show(request: &Request) -> Result<types::Response, ErrorCode> {
    let header = |name: &str| {
        let all = request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
        all.collect::<Vec<_>>().join(",")
    };
    let shown = format!(
        "path {}; route {}; base {}; passed {}",
        request.uri().path(),
        header("spin-matched-route"),
        header("spin-base-path"),
        header("x-passed")
    );
    reply(StatusCode::OK, shown)
}

async fn ask(url: &str) -> Result<types::Response, ErrorCode> {
    let request = Head::get(url).body(EmptyBody::new()).map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
    match send(request).await {
        Ok(answer) => {
            let status = answer.status().as_u16();
            let body = answer.into_body().bytes().await?;
            reply(StatusCode::OK, format!("{status} {}", String::from_utf8_lossy(&body)))
        }
        Err(error) => reply(StatusCode::OK, format!("{error:?}")),
    }
}

fn reply(status: StatusCode, text: String) -> Result<types::Response, ErrorCode> {
    http::Response::builder().status(status).header("content-type", TEXT).body(text).unwrap().into_response()
}
