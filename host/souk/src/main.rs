//! The binary `souk`: see [`souk::cli`].

use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// Measured: a call over a link takes a sixth less CPU with it than with the system's allocator. It gives unused memory
/// back from a thread of its own, also when the host is idle: what the compiler used at a cold start, for one.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    souk::cli::main()
}
