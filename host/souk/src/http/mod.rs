//! The HTTP server: listening, connections with their timeouts, routing, and handing requests to components.
//!
//! hyper implements HTTP/1.1 and HTTP/2 (with prior knowledge, or by ALPN under TLS).
//! [`souk_manifest::limits::EdgeLimits`] limits everything that a client could prolong or enlarge. Errors created here
//! are JSON, `{"status": .., "message": ..}`, and name the component, but not what happened inside it.

mod activity;
mod body;
mod budget;
mod connection;
mod connections;
mod cookies;
mod edge;
mod error;
mod outgoing;
mod pace;
mod peer;
mod ranges;
mod report;
mod request;
mod server;
mod static_files;
mod streams;
mod tls;
mod turns;
mod unsent;
mod upload;

pub(crate) use activity::{Activity, UnderWay};
pub(crate) use connections::{Connection, Connections};
pub(crate) use cookies::{ADMIN_COOKIE, each_cookie};
pub use edge::Edge;
pub(crate) use error::status as status_of;
pub(crate) use peer::Share;
pub(crate) use request::path_for_log;
pub use server::{Server, ServerError, serve_connection};
use souk_manifest::limits::FixedLimit;
pub use tls::{Tls, TlsError};
pub(crate) use upload::discard;

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [
        server::FIXED_LIMITS,
        report::FIXED_LIMITS,
        connection::FIXED_LIMITS,
        connections::FIXED_LIMITS,
        activity::FIXED_LIMITS,
        peer::proxy_protocol::FIXED_LIMITS,
        peer::forwarded::FIXED_LIMITS,
        budget::FIXED_LIMITS,
        request::FIXED_LIMITS,
        upload::FIXED_LIMITS,
        turns::FIXED_LIMITS,
        body::FIXED_LIMITS,
        unsent::FIXED_LIMITS,
        static_files::FIXED_LIMITS,
    ]
    .concat()
}
