//! `POST /` with a URL answers with its short link, `GET /CODE` redirects to the URL, `GET /CODE/clicks` says how often.

spin_sdk::dependencies!();

use acme::clicks::counter::{DeliveryError, count};
use acme::clicks::reading::{Error as ClicksError, total};
use acme::links::store::{Error as LinksError, find, shorten};
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{IntoResponse, Method, Request, Response, StatusCode};
use spin_sdk::http_service;

/// A response: what becomes of a request, also of one that fails.
type Answer = Response<String>;

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let path = request.uri().path().trim_matches('/').to_owned();
    // The host gives each request an id of its own, which a click has then, too.
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    match (request.method(), path.split_once('/')) {
        (&Method::POST, None) if path.is_empty() => {
            let url = request.into_body().bytes().await.unwrap_or_default();
            made(shorten(&String::from_utf8_lossy(&url)))
        }
        (&Method::GET, None) => followed(&id, &path),
        (&Method::GET, Some((code, "clicks"))) => match total(code) {
            Ok(total) => answer(StatusCode::OK, format!("{total}\n")),
            Err(ClicksError::Unavailable(reason)) => answer(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        _ => nothing(),
    }
}

fn made(code: Result<String, LinksError>) -> Answer {
    match code {
        Ok(code) => answer(StatusCode::CREATED, format!("/{code}\n")),
        Err(error) => refused(error),
    }
}

/// Redirects, and hands the click over. A click that cannot be stored is lost, and the visitor is redirected all the same.
fn followed(id: &str, code: &str) -> Answer {
    let url = match find(code) {
        Ok(Some(url)) => url,
        Ok(None) => return nothing(),
        Err(error) => return refused(error),
    };
    if let Err(DeliveryError::Retry(reason) | DeliveryError::Reject(reason)) = count(id, code) {
        eprintln!("a click on {code} is not counted: {reason}");
    }
    let redirect = Response::builder().status(StatusCode::FOUND).header("location", url).header("cache-control", "no-store");
    redirect.body(String::new()).unwrap_or_else(|_| nothing())
}

fn refused(error: LinksError) -> Answer {
    match error {
        LinksError::Invalid(reason) => answer(StatusCode::BAD_REQUEST, format!("{reason}\n")),
        LinksError::Unavailable(reason) => answer(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn nothing() -> Answer {
    answer(StatusCode::NOT_FOUND, "there is no such link\n".to_owned())
}

fn answer(status: StatusCode, text: String) -> Answer {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response
}
