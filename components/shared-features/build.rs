//! Cargo considers build dependencies only of a crate that has a build script.

fn main() {}
