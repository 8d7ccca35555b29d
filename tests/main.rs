//! Scenarios: each starts the real `souk` program with an application of `tests/apps` (or the store itself), and says
//! in its name what must hold.
//!
//! One binary, so that everything links once. `harness` has what they share; no scenario waits for time to pass, each
//! waits for a condition, and none asserts on speed.
#![allow(clippy::disallowed_methods, reason = "it measures real time, beside the program that runs")]
// A test that panics is a test that fails, which is what these lints would forbid.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;

mod scenarios {
    mod access;
    mod accounts;
    mod administration;
    mod backup;
    mod bad_requests;
    mod browser;
    mod cli;
    mod cluster;
    mod cors;
    mod crashes;
    mod defects;
    mod deploy;
    mod deploy_crashes;
    mod deploy_hosts;
    mod deploy_load;
    mod deploy_messages;
    mod deploy_races;
    mod deploy_starts;
    mod deploy_stored;
    mod deploy_trees;
    mod deploy_trials;
    mod deploy_types;
    mod deploy_watch;
    mod disk;
    mod doctor;
    mod durable;
    mod durable_links;
    mod edge;
    mod examples;
    mod failing;
    mod framing;
    mod framing_fuzz;
    mod given;
    mod golden;
    mod grants;
    mod guesses;
    mod history;
    mod hosts;
    #[cfg(feature = "full")]
    mod imports;
    mod isolation;
    mod jetstream;
    mod languages;
    mod lists;
    mod load_components;
    mod load_edge;
    mod memory;
    mod metrics;
    mod middleware;
    mod migrations;
    mod mixed_links;
    mod model;
    mod month;
    mod moving;
    mod nest;
    mod nest_beside;
    mod nest_events;
    mod nest_wire;
    mod openapi;
    mod outages;
    #[cfg(feature = "full")]
    mod outbound;
    mod own_application;
    #[cfg(feature = "full")]
    mod packages;
    #[cfg(feature = "full")]
    mod packages_released;
    mod payments;
    mod peers;
    mod permissions;
    mod permutations;
    mod plain_http;
    mod postgres;
    mod protocols;
    mod quota;
    mod readiness;
    mod reconcile;
    mod recordings;
    mod redis_triggers;
    mod refunds;
    mod reload;
    mod reload_migrations;
    mod remote;
    mod remote_routes;
    mod remote_start;
    mod sandbox;
    mod schedules;
    mod sdks;
    mod seed;
    mod self_service;
    mod service_manager;
    mod shared_state;
    mod signals;
    mod startup;
    mod static_files;
    mod streams;
    mod stripe;
    mod telemetry;
    mod timers;
    mod tls;
    mod tokens;
    mod traces;
    mod type_changes;
    mod unread_bodies;
    mod upgrade;
    mod wasi_0_2;
    mod wasi_http_0_2;
}
