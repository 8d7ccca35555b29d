#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, dead_code)]
#[path = "scenarios/access.rs"]
mod access;
#[path = "scenarios/grants.rs"]
mod grants;
mod harness;
#[path = "scenarios/payments.rs"]
mod payments;
#[path = "scenarios/sandbox.rs"]
mod sandbox;
#[path = "scenarios/stripe.rs"]
mod stripe;
#[path = "scenarios/tokens.rs"]
mod tokens;
