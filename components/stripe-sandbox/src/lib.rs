//! The sandbox: replaces `api.stripe.com` inside the application when no Stripe key is set, so that the whole way from
//! an order to its payment can be tried and tested without an account and without money.
//!
//! Like Stripe, it has two sides:
//! - an API under `/v1` ([`api`]), only for other components: no public route leads there;
//! - pages under `/stripe-sandbox` ([`checkout`]), on which a person pays, cancels, or looks at a receipt.
//!
//! An action of a person changes a session in one guarded statement and stores the events that Stripe would send, in
//! one transaction ([`store`]). Then the events are signed and sent to the application's webhook ([`delivery`]). A
//! component has no background work, so an event that the webhook does not accept waits in the database, and is sent
//! again during later requests to this component, and each minute by a schedule of the host.
//!
//! A session's id has 128 random bits, and only its customer knows it. It is in the URL of every form, so another site
//! cannot send a form: the id also works as the token against cross-site request forgery.

mod api;
mod bindings;
mod checkout;
mod db;
mod delivery;
mod event;
mod form;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod ids;
mod money;
mod object;
mod pages;
mod refund;
mod refusal;
mod reply;
mod session;
mod settings;
mod signature;
mod sql;
mod store;
#[cfg(test)]
mod tests;

use bindings::timers;
use delivery::Patience;
use http::Method;
use reply::Reply;
use souk_web::{BodyError, Response, plain};
use spin_sdk::wasip3::exports::http::handler;
use spin_sdk::wasip3::http::types;

/// The most bytes of a form: 100 lines with long names. The host reads a body of this size completely before it takes
/// an instance, so no slow client occupies one.
const MAX_BODY_BYTES: usize = 128 * 1024;

/// The component: its state is its database.
struct Sandbox;

impl handler::Guest for Sandbox {
    async fn handle(request: types::Request) -> Result<types::Response, types::ErrorCode> {
        let mut request = souk_web::Request::of_wasi(request);
        let body = request.body(MAX_BODY_BYTES).await;
        answer(&request, body).into_wasi()
    }
}

impl plain::Guest for Sandbox {
    fn handle(request: plain::Request) -> plain::Response {
        plain::answer(async {
            let mut request = souk_web::Request::of_plain(request);
            let body = request.body(MAX_BODY_BYTES).await;
            answer(&request, body)
        })
    }
}

impl timers::Guest for Sandbox {
    fn send_waiting() -> Result<(), timers::DeliveryError> {
        checkout::expire_overdue();
        delivery::send_waiting(Patience::Schedule);
        // What was not sent waits for the next call, which comes within a minute.
        Ok(())
    }
}

fn answer(request: &souk_web::Request, body: Result<Vec<u8>, BodyError>) -> Response {
    let souk_web::Request { method, target, headers, .. } = request;
    let (path, query) = target.split_once('?').unwrap_or((target.as_str(), ""));
    let Ok(method) = Method::from_bytes(souk_web::method_name(method).as_bytes()) else {
        return Reply::page(501, pages::problem("Not this way", "This is no method of HTTP.")).send(&Method::GET);
    };
    let reply = if path == "/v1" || path.starts_with("/v1/") {
        match body {
            Ok(body) => api::answer(&api::Call { method: &method, path, query, headers }, &body),
            Err(_) => refusal::Refusal::invalid("", None, "The request is too large").into_reply(),
        }
    } else {
        match body {
            Ok(body) => checkout::answer(&method, path, &body),
            Err(_) => Reply::page(413, pages::problem("Too much", "The form is larger than this page accepts.")),
        }
    };
    reply.send(&method)
}
