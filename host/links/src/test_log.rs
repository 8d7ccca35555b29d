//! For tests: what a thread logs.

use parking_lot::Mutex;
use std::io;
use std::sync::{Arc, LazyLock};
use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;

/// A second subscriber. While there is only one, `tracing` asks the thread that reaches a line first whether anybody wants
/// it, and takes the answer for all: a test in another thread, which captures nothing, would turn it off.
static SECOND: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish()));

/// Captures what this thread logs, one record per line, until it is dropped.
pub(crate) struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

impl Log {
    pub(crate) fn capture() -> Self {
        LazyLock::force(&SECOND);
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Writer(text.clone());
        let subscriber = tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(move || writer.clone());
        Log { text, _guard: tracing::subscriber::set_default(subscriber.finish()) }
    }

    /// How many lines contain `fragment`.
    pub(crate) fn count(&self, fragment: &str) -> usize {
        String::from_utf8(self.text.lock().clone()).unwrap().lines().filter(|line| line.contains(fragment)).count()
    }
}

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
