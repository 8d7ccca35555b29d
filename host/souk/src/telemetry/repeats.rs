//! Limits repeated warnings and errors.
//!
//! The limit is in the log itself and not at each warning, so that it covers every warning. A kind is one place in the
//! code and one component, so that a frequent kind does not hide others. Information (the access log) and guests'
//! output are not limited here: the access log grows only with the requests, and guests' output has its own budget.

use parking_lot::Mutex;
use souk_bindings::LineBudget;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

souk_manifest::fixed_limits! {
    /// The fixed limits of lines that repeat.
    pub(crate) const FIXED_LIMITS = "process";

    /// The most log lines of one kind per second; the rest is only counted.
    pub const MAX_REPEATS: usize = 50, "lines";
    /// The most kinds of log lines with their own count; further components share one count per place in the source.
    const MAX_KINDS: usize = 4096, "kinds";
}

/// A format that drops lines that repeat too often.
pub(super) struct Throttled<F> {
    format: F,
    budgets: Mutex<HashMap<(Identifier, String), Arc<LineBudget>>>,
}

impl<F> Throttled<F> {
    pub(super) fn new(format: F) -> Self {
        Throttled { format, budgets: Mutex::default() }
    }

    fn admits(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == "guest" {
            return true;
        }
        let mut component = Component::default();
        event.record(&mut component);
        let budget = self.budget(metadata.callsite(), &component.0);
        budget.admits(1, move |dropped| report(metadata, &component.0, dropped))
    }

    fn budget(&self, place: Identifier, component: &str) -> Arc<LineBudget> {
        let mut budgets = self.budgets.lock();
        let full = budgets.len() >= MAX_KINDS;
        let mut kind = (place, component.to_owned());
        if full && !budgets.contains_key(&kind) {
            kind.1.clear();
        }
        budgets.entry(kind).or_insert_with(|| LineBudget::new(MAX_REPEATS)).clone()
    }
}

fn report(of: &Metadata<'_>, component: &str, dropped: u64) {
    let (target, line) = (of.target(), of.line().unwrap_or_default());
    let text = format!("{dropped} lines dropped: `{target}` (line {line}) logged more than {MAX_REPEATS} in a second");
    match component {
        "" => tracing::warn!("{text}"),
        component => tracing::warn!(component, "{text}"),
    }
}

impl<S, N, F> FormatEvent<S, N> for Throttled<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if self.admits(event) { self.format.format_event(context, writer, event) } else { Ok(()) }
    }
}

/// Reads the event's field `component`.
#[derive(Default)]
struct Component(String);

impl Visit for Component {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "component" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "component" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::time::Duration;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_warning_that_repeats_is_logged_a_few_times_a_second_with_the_number_of_the_rest() {
        let buffer = Buffer::default();
        let log = {
            let buffer = buffer.clone();
            tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(move || buffer.clone())
        };
        let _log = tracing::subscriber::set_default(log.map_event_format(Throttled::new).finish());
        for _ in 0..2 {
            for n in 0..200 {
                for component in ["web", "shop"] {
                    tracing::warn!(%component, "denied {n}");
                }
                tracing::info!("served {n}");
                tracing::warn!(target: "guest", "printed {n}");
            }
            tracing::error!(component = "web", "of another kind");
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let text = String::from_utf8(std::mem::take(&mut *buffer.0.lock())).unwrap();
            let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
            assert_eq!((count("served"), count("printed"), count("of another kind")), (200, 200, 1));
            assert_eq!(count("denied"), 2 * MAX_REPEATS);
            for component in ["web", "shop"] {
                let reports: Vec<_> = text.lines().filter(|line| line.contains("lines dropped")).collect();
                assert_eq!(reports.len(), 2, "{reports:?}");
                let of_component = reports.iter().find(|line| line.contains(component)).unwrap();
                assert!(of_component.contains(&format!("{} lines dropped", 200 - MAX_REPEATS)), "{of_component}");
            }
        }
    }
}
