//! Souk's host: it reads a `spin.toml`, runs each component in a sandbox of its own, links the components by typed
//! WIT calls, and gives each exactly what the manifest grants it.
//!
//! This crate is the program: it starts an application ([`app`]), serves it ([`http`]), lets other processes reach it
//! ([`admin`]), and reads the command line ([`cli`]). It is built on the crates beside it, which depend on each other
//! in one direction: `manifest <- codec <- nats <- bindings <- runtime <- links <- souk`.
//! The host knows components, contracts, links and grants; it names no concept of any application that it runs.
#![forbid(unsafe_code)]

pub mod admin;
#[cfg(feature = "jemalloc")]
mod allocator;
pub mod app;
pub mod backup;
pub mod cli;
pub mod contracts;
mod descriptors;
pub mod fetch;
pub mod http;
mod imports;
mod limits;
#[cfg(test)]
mod loop_tests;
mod machine;
pub mod metrics;
pub mod moving;
mod otlp;
#[cfg(feature = "oci")]
mod package;
pub mod readiness;
mod recordings;
// The page describes a build with all features.
#[cfg(all(test, feature = "full"))]
mod reference;
#[cfg(test)]
mod repository_tests;
mod scaffold;
mod sources;
mod spin_headers;
pub mod telemetry;
mod url_file;
mod usage;
