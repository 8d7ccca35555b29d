//! No code: this crate's dependencies give every crate of the host the same features of what they share, so that one
//! crate can be built or tested alone without building wasmtime again. `cargo hakari` keeps its manifest.
