#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, dead_code)]
mod harness;
#[path = "scenarios/access.rs"]
mod access;
#[path = "scenarios/payments.rs"]
mod payments;
