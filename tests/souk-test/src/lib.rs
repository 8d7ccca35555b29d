//! Tests of applications of Souk: each starts the application from its manifest on a free port, with a state folder that
//! is thrown away, and asks it as its callers do.
//!
//! ```no_run
//! use souk_test::{App, json};
//!
//! let app = App::start();
//! assert_eq!(app.get("/hello").status, 200);
//! assert_eq!(app.call("greeter", "acme:greetings/greetings#greet", json!({ "name": "Ann" })), Ok(json!("Hello, Ann!")));
//! ```
//!
//! [`App::builder`] changes the start: variables, another manifest, more arguments of `souk up`. [`StandIn`] is a server
//! that stands in for one that the application reaches over HTTP.
//!
//! # Why the program, and not a library
//!
//! The tests run `souk`, the program, and reach the application as its users and operators do: HTTP, `souk call`,
//! `souk events`. In process the tests of every application would compile a WebAssembly compiler, which takes a quarter of
//! an hour on a laptop; and a start that goes wrong could take the test's own process with it.
//!
//! # Servers
//!
//! With the feature `servers` there are servers of a test's own as well, on free loopback ports: PostgreSQL, NATS, Redis. A
//! server keeps its data in a temp folder and ends with the test, also when the test is killed. A program that is missing
//! is named loudly, and installed from Debian's packages where the tests run as root.
//!
//! # What ends a test
//!
//! What cannot be done, because the application would not start or not answer, ends the test: these functions panic, with
//! what the host said.

// A test that panics is a test that fails, which is what these lints would forbid.
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
