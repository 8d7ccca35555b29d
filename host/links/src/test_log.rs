//! For tests: what a thread logs.

use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use tracing::subscriber::DefaultGuard;

/// Captures what this thread logs, one record per line, until it is dropped.
pub(crate) struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

impl Log {
    pub(crate) fn capture() -> Self {
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
