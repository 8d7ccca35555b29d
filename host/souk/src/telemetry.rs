//! The log: one line per record on stderr, written by a separate thread.
//!
//! Records carry the component and the trace id (the request id). `RUST_LOG` sets what is logged; `--quiet` keeps only
//! warnings and errors; `--log-format json` makes each record a JSON object. When stderr is too slow, lines are dropped
//! and counted, and nothing waits: a component that prints without end must not block the others.
//!
//! A guest or a client can cause most warnings as often as it likes. So for each kind of warning or error, at most
//! [`MAX_REPEATS`] lines per second are logged for a component, and one line says how many more there were.

pub(crate) mod json;
pub(crate) mod repeats;
mod sampling;
pub(crate) mod tail;

pub use repeats::MAX_REPEATS;
pub(crate) use sampling::tracer;
pub use tail::LogTail;

use clap::ValueEnum;
use json::Json;
use repeats::Throttled;
use souk_bindings::printable;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, Write as _};
use std::panic::PanicHookInfo;
use tail::Tee;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

souk_manifest::fixed_limits! {
    /// The fixed limits of the log.
    pub(crate) const FIXED_LIMITS = "process";

    /// The most log lines that wait for stderr; more are dropped and counted.
    const MAX_BUFFERED_LINES: usize = 16_384, "lines";
}

/// How a record is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As text.
    #[default]
    Text,
    /// As a JSON object.
    Json,
}

/// Starts the log with the filter `default`, which `RUST_LOG` replaces.
///
/// # Errors
/// When `RUST_LOG` cannot be read, or a log was started before.
pub fn start(default: &str, format: Format) -> anyhow::Result<Log> {
    std::panic::set_hook(Box::new(report_panic));
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_BUFFERED_LINES)
        .thread_name("log")
        .finish(std::io::stderr());
    let dropped = writer.error_counter();
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) => EnvFilter::try_new(&text)
            .map_err(|e| anyhow::anyhow!("RUST_LOG={text}: {e}\n  fix: use for example RUST_LOG=warn,souk=debug"))?,
        // wasmtime warns about every request whose client disconnects; the access log has these already.
        Err(_) => EnvFilter::new(format!("{default},async_nats=warn,wasmtime_wasi_http=error")),
    };
    let tail = LogTail::default();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Tee::new(writer, tail.clone()));
    let started = match format {
        Format::Text => log.with_ansi(std::io::stderr().is_terminal()).map_event_format(Throttled::new).try_init(),
        Format::Json => log.with_ansi(false).event_format(Throttled::new(Json)).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("the log was already started: {e}"))?;
    Ok(Log { dropped, tail, _guard: guard })
}

/// Reports a panic on one line, which text from a guest cannot break. It writes directly to stderr: a second panic may
/// end the process before the log's thread has written.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let message = printable(panic.payload_as_str().unwrap_or("no message"));
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "ERROR the host panicked at {place}: {message}");
    if backtrace.status() == BacktraceStatus::Captured {
        let _ = writeln!(stderr, "{backtrace}");
    }
}

/// The log of the process; dropping it flushes the log.
pub struct Log {
    dropped: ErrorCounter,
    tail: LogTail,
    _guard: WorkerGuard,
}

/// Counts the lines that the log has lost; cheap to clone.
#[derive(Clone)]
pub struct LogLosses(ErrorCounter);

impl LogLosses {
    /// The number of lines lost so far.
    pub fn lines(&self) -> u64 {
        self.0.dropped_lines() as u64
    }
}

impl Log {
    /// The counter of lost lines.
    pub fn losses(&self) -> LogLosses {
        LogLosses(self.dropped.clone())
    }

    /// The last lines.
    pub fn tail(&self) -> LogTail {
        self.tail.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let dropped = self.dropped.dropped_lines();
        if dropped > 0 {
            // Directly to stderr, because the log's own queue was full.
            let _ = writeln!(std::io::stderr().lock(), "the log has lost {dropped} lines, because stderr was too slow");
        }
    }
}
