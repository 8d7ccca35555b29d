//! The log: one line a record on stderr, written by a thread of its own.
//!
//! Records carry the component and the trace id (the request id). `RUST_LOG` sets what is logged; `--quiet` leaves
//! warnings and errors. When lines come faster than stderr takes them, lines are dropped and counted, never waited for:
//! a component that prints without end must not hold up the others.

use std::io::{IsTerminal, Write as _};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

souk_manifest::fixed_limits! {
    /// The fixed limits of the log.
    pub(crate) const FIXED_LIMITS = "process";

    /// The most log lines that wait for stderr; further ones are dropped and counted.
    const MAX_BUFFERED_LINES: usize = 16_384, "lines";
}

/// Starts the log with the filter `default`, which `RUST_LOG` replaces.
///
/// # Errors
/// When `RUST_LOG` cannot be read, or a log was started before.
pub fn start(default: &str) -> anyhow::Result<Log> {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_BUFFERED_LINES)
        .thread_name("log")
        .finish(std::io::stderr());
    let dropped = writer.error_counter();
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) => EnvFilter::try_new(&text)
            .map_err(|e| anyhow::anyhow!("RUST_LOG={text}: {e}\n  fix: use for example RUST_LOG=warn,souk=debug"))?,
        // wasmtime warns of every request whose client goes away; the access log has them.
        Err(_) => EnvFilter::new(format!("{default},async_nats=warn,wasmtime_wasi_http=error")),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|e| anyhow::anyhow!("the log was started before: {e}"))?;
    Ok(Log { dropped, _guard: guard })
}

/// The log of the process; it is flushed when this is dropped.
pub struct Log {
    dropped: ErrorCounter,
    _guard: WorkerGuard,
}

impl Drop for Log {
    fn drop(&mut self) {
        let dropped = self.dropped.dropped_lines();
        if dropped > 0 {
            // Straight to stderr: the log's own queue is what was full.
            let _ = writeln!(std::io::stderr().lock(), "the log has lost {dropped} lines, because stderr was too slow");
        }
    }
}
