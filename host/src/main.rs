//! The binary `souk`: see [`souk::cli`].

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Measured: a call over a link takes 64 us of CPU with it and 77 us with the system's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    souk::cli::main()
}
