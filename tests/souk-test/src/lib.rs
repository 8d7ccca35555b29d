//! What tests share: servers of their own on free loopback ports.
//!
//! A server keeps its data in a temp folder and ends with the test, also when the test is killed. A program that is
//! missing is named loudly, and installed from Debian's packages where the tests run as root.

// A test that panics is a test that fails, which is what these lints would forbid.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod archive;
pub mod debian;
pub mod fuzz;
mod keeper;
pub mod mariadb;
pub mod mosquitto;
pub mod nats;
pub mod postgres;
pub mod random;
pub mod redis;
