//! `souk:http/handler`: requests and responses as plain values, for a component that exports it beside
//! `wasi:http/handler`.
//!
//! ```ignore
//! impl souk_web::plain::Guest for Component {
//!     fn handle(request: souk_web::plain::Request) -> souk_web::plain::Response {
//!         souk_web::plain::answer(serve(souk_web::Request::of_plain(request)))
//!     }
//! }
//! souk_web::plain::export!(Component with_types_in souk_web::plain::bindings);
//! ```

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Bindings generated from `wit/`. Generated code needs `unsafe`, which only this module allows.
#[allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
pub mod bindings {
    spin_sdk::wit_bindgen::generate!({
        inline: "package souk:web; world plain { export souk:http/handler@1.0.0; }",
        path: "wit",
        world: "souk:web/plain",
        runtime_path: "::spin_sdk::wit_bindgen::rt",
        pub_export_macro: true,
        export_macro_name: "export_plain",
        default_bindings_module: "souk_web::plain::bindings",
    });
}

pub use bindings::export_plain as export;
pub use bindings::exports::souk::http::handler::{Guest, Request, Response};

/// The response of `serve`, which already has the request's body and so need not wait. If it waits nevertheless, the
/// client gets a 500, because a `func` cannot wait.
pub fn answer(serve: impl Future<Output = super::Response>) -> Response {
    match pin!(serve).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => response.into_plain(),
        Poll::Pending => {
            eprintln!("a handler of plain values waits, which a `func` cannot do");
            super::Response::new(500, Vec::new(), None).into_plain()
        }
    }
}
