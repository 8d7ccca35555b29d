//! Payments: exports `store:payments/checkout` and `store:payments/refunds`, and serves the two pages to which Stripe
//! sends customers back.
//!
//! It stores nothing: Stripe knows the sessions and their states, and the caller knows what an order costs. A call is
//! one request to Stripe's API: [`bill`] builds it, [`api`] sends it (with timeouts and one safe retry), [`answer`]
//! reads the answer, and [`refusal`] turns a refusal into the contract's error. Only [`config`] reads variables, and
//! only this component is granted the key.
//!
//! Two attempts of at most 8 s and a pause stay well below the 30 s limit of a call through the whole application, so
//! the caller gets this component's own error and not a deadline.

mod answer;
mod api;
mod bill;
mod bindings;
mod config;
mod landing;
mod pages;
mod refund;
mod refusal;

use api::Key;
use bindings::checkout::{Error, Guest, Session, SessionRequest, SessionState};
use bindings::refunds::{self, ChargeRefunds, RefundRequest};
use config::Config;
use souk_web::{Request, Response, plain};
use spin_sdk::wasip3::exports::http::handler;
use spin_sdk::wasip3::http::types;

/// The component: it has no state.
struct Payments;

impl Guest for Payments {
    fn create_session(request: SessionRequest) -> Result<Session, Error> {
        let config = Config::load()?;
        let key = bill::idempotency_key(&request)?;
        let create = bill::create(&request, &config.success_url, &config.cancel_url)?;
        let body = api::send(&config.api, "create a checkout session", create, Key::Again(&key))?;
        let session = answer::session(&body, &config.success_url, &config.cancel_url).map_err(refusal::unreadable)?;
        Ok(Session { success_url: config.public_success_url(session.success_url), ..session })
    }

    fn get_session(id: String) -> Result<SessionState, Error> {
        let retrieve = bill::retrieve(&id)?;
        let config = Config::load()?;
        let body = api::send(&config.api, "read a checkout session", retrieve, Key::None)?;
        answer::state(&body).map_err(refusal::unreadable)
    }

    fn expire_session(id: String) -> Result<(), Error> {
        let expire = bill::expire(&id)?;
        let config = Config::load()?;
        // Without a key, because the second of two such requests changes nothing.
        api::send(&config.api, "expire a checkout session", expire, Key::None).map(drop)
    }
}

impl refunds::Guest for Payments {
    fn create(request: RefundRequest) -> Result<String, Error> {
        let (key, create) = (refund::idempotency_key(&request)?, refund::create(&request)?);
        let config = Config::load()?;
        let body = api::send(&config.api, "create a refund", create, Key::Only(&key))?;
        answer::refund(&body).map_err(refusal::unreadable)
    }

    fn of_charge(charge_id: String) -> Result<ChargeRefunds, Error> {
        let list = refund::of_charge(&charge_id)?;
        let config = Config::load()?;
        let body = api::send(&config.api, "list the refunds of a charge", list, Key::None)?;
        answer::refunds(&body).map_err(refusal::unreadable)
    }
}

impl handler::Guest for Payments {
    async fn handle(request: types::Request) -> Result<types::Response, types::ErrorCode> {
        page(&Request::of_wasi(request)).into_wasi()
    }
}

impl plain::Guest for Payments {
    fn handle(request: plain::Request) -> plain::Response {
        page(&Request::of_plain(request)).into_plain()
    }
}

fn page(request: &Request) -> Response {
    let (tags, accept) = (request.headers.get("if-none-match"), request.headers.get("accept"));
    pages::answer(&request.method, &request.target, tags.as_deref(), accept.as_deref())
}
