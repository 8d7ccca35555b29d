//! Souk's host: it reads a `spin.toml`, runs each component in a sandbox of its own, links the components by typed
//! WIT calls, and gives each exactly what the manifest grants it.
//!
//! The modules depend on each other in one direction:
//! `cli -> http, control -> app -> links -> runtime -> bindings -> manifest`, with `call`, `limits`, `state` and
//! `secrets` below all of them; `migrations` stands beside `bindings`, whose databases it prepares, and `nats`, the
//! connection to other hosts, below `links` and `bindings`.
//! The host knows components, contracts, links and grants; it names no concept of any application that it runs.
#![forbid(unsafe_code)]

pub mod app;
pub mod bindings;
pub mod call;
pub mod cli;
pub mod control;
pub mod http;
pub mod limits;
pub mod links;
pub mod manifest;
pub mod migrations;
pub mod nats;
pub mod runtime;
pub mod secrets;
pub mod state;
pub mod telemetry;

/// Servers for the unit tests, which share those of PostgreSQL.
#[cfg(test)]
#[path = "../../tests/harness/debian.rs"]
mod debian;
#[cfg(test)]
#[path = "../../tests/harness/nats.rs"]
mod nats_server;
#[cfg(test)]
#[path = "../../tests/harness/postgres.rs"]
mod postgres_server;
#[cfg(test)]
#[path = "../../tests/harness/redis.rs"]
mod redis_server;
