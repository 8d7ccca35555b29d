//! No code: this crate's dependencies give what the components share, above all what their macros are built from (`syn`,
//! `semver`), the same features in every build. Cargo compiles a crate again for each set of features, and every component
//! is built by a command of its own: without this crate, eight commands compiled the same macros four times.
