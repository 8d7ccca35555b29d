#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, dead_code)]
#[path = "scenarios/accounts.rs"]
mod accounts;
#[path = "scenarios/defects.rs"]
mod defects;
#[path = "scenarios/golden.rs"]
mod golden;
mod harness;
#[path = "scenarios/outages.rs"]
mod outages;
