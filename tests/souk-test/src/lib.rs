//! Tests for Souk applications. Each test starts the application from its manifest, on a free port and with a temporary
//! state folder, and calls it as its clients do.
//!
//! ```no_run
//! use souk_test::{App, json};
//!
//! let app = App::start();
//! assert_eq!(app.get("/hello").status, 200);
//! assert_eq!(app.call("greeter", "acme:greetings/greetings#greet", json!({ "name": "Ann" })), Ok(json!("Hello,
//! Ann!")));
//! ```
//!
//! [`App::builder`] changes the start: it sets variables, another manifest, and further arguments of `souk up`.
//! [`StandIn`] is a server that stands in for a server that the application calls over HTTP.
//!
//! # Why the program, and not a library
//!
//! The tests run the program `souk`, and use the application as its users and operators do: with HTTP, `souk call` and
//! `souk events`. With a host inside the test process, the tests of every application would have to compile a
//! WebAssembly compiler, which takes a quarter of an hour on a laptop, and a failed start could end the test process,
//! too.
//!
//! # Servers
//!
//! The feature `servers` adds servers for tests, on free loopback ports: PostgreSQL, NATS, Redis and others. A server
//! keeps its data in a temporary folder and ends with the test, also when the test is killed. If its program is
//! missing, the test prints a warning and, when it runs as root, installs the program from Debian's packages.
//!
//! # What ends a test
//!
//! If the application does not start or does not answer, these functions panic with the host's output, and so the test
//! fails.

// A test fails by panicking, so these lints do not apply.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[cfg(feature = "servers")]
pub mod allocations;
mod app;
#[cfg(feature = "servers")]
pub mod archive;
#[cfg(feature = "servers")]
pub mod debian;
#[cfg(feature = "servers")]
pub mod fuzz;
#[cfg(feature = "servers")]
pub mod go;
#[cfg(feature = "servers")]
mod keeper;
#[cfg(feature = "servers")]
pub mod mariadb;
#[cfg(feature = "servers")]
pub mod mongodb;
#[cfg(feature = "servers")]
pub mod mosquitto;
#[cfg(feature = "servers")]
pub mod nats;
#[cfg(feature = "servers")]
pub mod opentelemetry_collector;
#[cfg(feature = "servers")]
pub mod ports;
#[cfg(feature = "servers")]
pub mod postgres;
#[cfg(feature = "servers")]
pub mod random;
#[cfg(feature = "servers")]
pub mod redis;
#[cfg(feature = "servers")]
pub mod registry;

pub use app::{App, Builder, Process, Received, Response, StandIn};
pub use serde_json::{Value, json};
