//! The payment provider's events: `POST /payments/webhook`.
//!
//! Stripe posts each event here, signed, and posts it again for days until it gets a 2xx. So an answer is a promise.
//! 200 says that the event is stored, or that it can never mean anything to this application; a payment that cannot be
//! read is then in the log, in a loud line. 400 says that it is not Stripe's or no event; 5xx that it should come again.
//!
//! The steps stand in [`accept`], in their order: nothing of a body is parsed before its signature is verified. The
//! component keeps nothing, decides nothing about orders, and reaches one secret and one contract.

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

/// The application variable with which the provider signs: the endpoint's own secret, not the API key.
const SECRET: &str = "stripe_endpoint_secret";

/// The most bytes of an event. Those of charges and sessions have 2 to 10 KiB; metadata can add 25 KiB at most. They are
/// taken as they were sent, of any content type and still encoded where a `Content-Encoding` says so: those bytes are
/// what is signed.
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

/// Takes one event: the answer, or the refusal that stopped it.
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
    eprintln!("a signed body was refused: {why:?}");
    match why {
        // The NestJS system did not parse an empty body before it verified it, so this error had the other shape.
        event::Malformed::Empty => Reply::webhook_error(event::UNEXPECTED_END),
        event::Malformed::Text(message) => Reply::bad_request(&message),
    }
}

/// The secret. Without one nobody could sign, and an empty key is one that everybody knows.
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

/// Now, in Unix seconds.
fn now() -> Result<u64, Reply> {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).map_err(|_| {
        eprintln!("the clock stands before 1970, so no event is accepted");
        Reply::internal()
    })
}
