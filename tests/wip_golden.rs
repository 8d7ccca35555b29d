#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, dead_code)]
mod harness;
#[path = "scenarios/golden.rs"]
mod golden;
#[path = "scenarios/defects.rs"]
mod defects;
