//! The public HTTP API of the store.
//!
//! It parses and validates requests, calls the services that it is linked to, and shapes their answers; it keeps
//! nothing and decides nothing about products, prices or orders. Who may do what is in [`authorize`]. The routes, bodies
//! and messages are those of the system that the store replaces (Express and NestJS with class-validator), so that its
//! clients work unchanged: `tests/golden.json` holds the recording, `tests/golden-differences.json` what differs on
//! purpose.
//!
//! It answers requests as plain values, and by `wasi:http/handler` those that do not fit into them. It exports that itself rather than through `#[http_service]`, which copies every header, the scheme
//! and the authority into an `http::Request` and the answer out of one: a dozen calls into the host for each request,
//! where the routes here need four. Routing is a `match`: axum's router is case-sensitive and cannot say Express's
//! words about a bad parameter, and its layers would cost more than the whole of the rest.

mod authorize;
mod bindings;
mod credentials;
mod guesses;
mod http;
mod money;
mod number;
mod routes;
mod validate;

use souk_web::{Request, plain};
use spin_sdk::wasip3::exports::http::handler;
use spin_sdk::wasip3::http::types;

/// The component: it has no state.
struct Gateway;

impl handler::Guest for Gateway {
    async fn handle(request: types::Request) -> Result<types::Response, types::ErrorCode> {
        http::serve(Request::of_wasi(request), routes::dispatch).await.into_wasi()
    }
}

impl plain::Guest for Gateway {
    fn handle(request: plain::Request) -> plain::Response {
        plain::answer(http::serve(Request::of_plain(request), routes::dispatch))
    }
}
