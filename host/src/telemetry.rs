//! The log: one line a record on stderr, written by a thread of its own.
//!
//! Records carry the component and the trace id (the request id). `RUST_LOG` sets what is logged; `--quiet` leaves
//! warnings and errors. When lines come faster than stderr takes them, lines are dropped and counted, never waited for:
//! a component that prints without end must not hold up the others.

use std::io::IsTerminal;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait for stderr before further ones are dropped.
const BUFFERED_LINES: usize = 16_384;

/// Starts the log; it is flushed when the guard is dropped.
///
/// # Errors
/// When `RUST_LOG` cannot be read, or a log was started before.
pub fn start(quiet: bool) -> anyhow::Result<WorkerGuard> {
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(BUFFERED_LINES).thread_name("log").finish(std::io::stderr());
    let default = if quiet { "warn" } else { "info" };
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) => EnvFilter::try_new(&text)
            .map_err(|e| anyhow::anyhow!("RUST_LOG={text}: {e}\n  fix: use for example RUST_LOG=warn,souk=debug"))?,
        Err(_) => EnvFilter::new(default),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|e| anyhow::anyhow!("the log was started before: {e}"))?;
    Ok(guard)
}
