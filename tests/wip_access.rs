#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, dead_code)]
#[path = "scenarios/access.rs"]
mod access;
mod harness;
#[path = "scenarios/tokens.rs"]
mod tokens;
