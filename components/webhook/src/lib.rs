//! Receives the payment provider's events: `POST /payments/webhook`.
//!
//! Stripe posts each signed event here, and repeats it for days until it gets a 2xx. So each answer is a promise. 200
//! means that the event is stored, or that it can never mean anything to this application; if it may be a payment that
//! cannot be read, the log has a line that somebody must look at. 400 means that the message is not from Stripe or is
//! not an event; 5xx means that Stripe must send it again.
//!
//! [`accept`] has the steps in sequence: no body is parsed before its signature is verified. The component stores
//! nothing, decides nothing about orders, and has access only to one secret and one contract.

mod bindings;
mod delivery;
mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http;
mod signature;

use event::Event;
use http::reply::Reply;
use signature::{Secret, Signature};
use souk_web::{BodyError, Request, Response, plain};
use spin_sdk::wasip3::exports::http::handler;
use spin_sdk::wasip3::http::types::{self, Method};
use std::time::{SystemTime, UNIX_EPOCH};

/// The application variable with the key of the signatures: the endpoint's own secret, not the API key.
const SECRET: &str = "stripe_endpoint_secret";

/// The most bytes of an event. Events of charges and sessions have 2 to 10 KiB; metadata can add at most 25 KiB. The
/// body is read as it was sent, whatever its content type, and not decoded even with a `Content-Encoding`: the sent
/// bytes are what is signed.
const MAX_EVENT_BYTES: usize = 128 * 1024;

/// The component: it has no state.
struct Webhook;

impl handler::Guest for Webhook {
    async fn handle(request: types::Request) -> Result<types::Response, types::ErrorCode> {
        answer(Request::of_wasi(request)).await.into_wasi()
    }
}

impl plain::Guest for Webhook {
    fn handle(request: plain::Request) -> plain::Response {
        plain::answer(answer(Request::of_plain(request)))
    }
}

async fn answer(mut request: Request) -> Response {
    let reply = if matches!(request.method, Method::Post) && http::is_webhook(&request.target) {
        accept(&mut request).await.unwrap_or_else(|refusal| refusal)
    } else {
        Reply::no_route(souk_web::method_name(&request.method), &request.target)
    };
    reply.send(&request.method)
}

/// Handles one event; returns the answer, or the refusal.
async fn accept(request: &mut Request) -> Result<Reply, Reply> {
    let header = request.headers.get("stripe-signature").unwrap_or_default();
    let signature = Signature::parse(&header).map_err(refused)?;
    let body = request.body(MAX_EVENT_BYTES).await.map_err(unread)?;
    signature.verify(&body, &secret()?, now()?).map_err(refused)?;
    let event = Event::parse(&body).map_err(not_an_event)?;
    delivery::deliver(&event)?;
    Ok(Reply::acknowledged(&header))
}

fn unread(why: BodyError) -> Reply {
    match why {
        BodyError::TooLarge => Reply::protocol(413, "request entity too large"),
        BodyError::Aborted => Reply::protocol(400, "request aborted"),
    }
}

fn refused(why: signature::Refusal) -> Reply {
    eprintln!("a signature was refused: {why:?}");
    Reply::webhook_error(why.text())
}

fn not_an_event(why: event::Malformed) -> Reply {
    eprintln!("a signed body is not an event: {why:?}");
    match why {
        // The NestJS system did not parse an empty body before it verified it, so this error had the other shape.
        event::Malformed::Empty => Reply::webhook_error(event::UNEXPECTED_END),
        event::Malformed::Text(message) => Reply::bad_request(&message),
    }
}

/// The secret of the signatures. An empty one is refused, because anyone could sign with it.
fn secret() -> Result<Secret, Reply> {
    let value = souk_variables::get(SECRET).map_err(|e| {
        eprintln!("the variable `{SECRET}` cannot be read, so no event is accepted: {e}");
        Reply::internal()
    })?;
    Secret::new(&value).ok_or_else(|| {
        eprintln!("the variable `{SECRET}` is empty, so no event is accepted: set it to the endpoint's signing secret");
        Reply::internal()
    })
}

/// The current time, in Unix seconds.
fn now() -> Result<u64, Reply> {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).map_err(|_| {
        eprintln!("the clock is before 1970, so no event is accepted; fix: set the clock");
        Reply::internal()
    })
}
