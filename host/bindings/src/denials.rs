//! What a component was refused, in the log.
//!
//! Every binding reports here what it refuses, so each refusal is one warning of one form, with the entry of the
//! manifest that would allow it. A statement that a database rejects is reported too, because a guest often hides the
//! reason. A guest chooses what it asks for, so the log warns of one thing at most once a minute, and of a limited
//! number of things.

use crate::trace::SharedRedaction;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of reports about what was refused.
    pub(crate) const FIXED_LIMITS = "outbound";

    /// The most refusals of a component that the log warns of in one minute, each once.
    const MAX_REPORTED_REFUSALS: usize = 64, "refusals";
    /// How long one and the same refusal is not repeated in the log.
    const REPEAT_INTERVAL: Duration = Duration::from_secs(60);
    /// The longest part of a refusal that the guest chose, in the log.
    const MAX_REPORTED_CHARACTERS: usize = 200, "characters";
}

/// The refusals of one component.
#[derive(Debug, Default)]
pub struct Denials {
    component: Box<str>,
    reported: Mutex<BTreeMap<String, Instant>>,
}

impl Denials {
    /// Those of `component`.
    pub fn new(component: &str) -> Self {
        Denials { component: component.into(), reported: Mutex::default() }
    }

    /// Logs that the component was refused `what`, and which entry would allow it.
    pub(crate) fn refused(&self, what: &str, entry: &str, trace: &str) {
        let (what, entry) = (shortened(what), shortened(entry));
        if self.is_due(&what) {
            let component = &self.component;
            tracing::warn!(
                %component, %trace,
                "component `{component}` was refused {what}; to allow it add {entry} in the manifest"
            );
        }
    }

    /// Logs that `database` rejected a statement of the component, without what is `hidden`: the reason may quote it.
    pub(crate) fn rejected(&self, database: &str, why: &str, hidden: &SharedRedaction, trace: &str) {
        let why = shortened(&hidden.beginning(why, MAX_REPORTED_CHARACTERS));
        if self.is_due(&why) {
            let component = &self.component;
            tracing::warn!(%component, %trace, "component `{component}` ran a statement that {database} rejected: {why}");
        }
    }

    fn is_due(&self, what: &str) -> bool {
        let now = Instant::now();
        let mut reported = self.reported.lock();
        reported.retain(|_, at| now.duration_since(*at) < REPEAT_INTERVAL);
        let is_due = reported.len() < MAX_REPORTED_REFUSALS && !reported.contains_key(what);
        if is_due {
            reported.insert(what.to_owned(), now);
        }
        is_due
    }
}

/// A text on one line, without its end if it is long.
fn shortened(text: &str) -> String {
    let visible = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut short: String = visible.take(MAX_REPORTED_CHARACTERS).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Redaction;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_one_warning_a_minute_and_many_different_ones_are_bounded() {
        let log = crate::tests::Log::capture();
        let denials = Denials::new("web");
        for _ in 0..3 {
            denials.refused("the key-value store \"carts\"", "it to key_value_stores of [component.web]", "1");
        }
        let expected = "component `web` was refused the key-value store \"carts\"; to allow it add it to \
                        key_value_stores of [component.web] in the manifest";
        assert_eq!(log.lines().iter().filter(|line| line.contains(expected)).count(), 1, "{:?}", log.lines());
        tokio::time::advance(REPEAT_INTERVAL).await;
        denials.refused("the key-value store \"carts\"", "it to key_value_stores of [component.web]", "2");
        assert_eq!(log.lines().len(), 2, "{:?}", log.lines());
        let hidden = SharedRedaction::default();
        for n in 0..1000 {
            denials.rejected("SQLite", &format!("no such column: {n}"), &hidden, "3");
        }
        assert_eq!(log.lines().len(), 1 + MAX_REPORTED_REFUSALS, "{:?}", log.lines());
        assert_eq!(log.lines().last().map(|line| line.contains("rejected: no such column: ")), Some(true));
    }

    #[tokio::test]
    async fn a_statement_that_a_database_rejected_is_reported_without_secrets() {
        let log = crate::tests::Log::capture();
        let hidden = SharedRedaction::default();
        hidden.set(Redaction::of(["sk_live_1"].into_iter()));
        Denials::new("web").rejected("SQLite", "no such column: sk_live_1", &hidden, "1");
        assert!(log.lines().iter().all(|line| line.contains("rejected: no such column: ***")), "{:?}", log.lines());
        assert_eq!(log.lines().len(), 1);
    }

    #[tokio::test]
    async fn the_entry_has_the_guests_host_and_is_shortened_too() {
        let log = crate::tests::Log::capture();
        Denials::new("web").refused("a request", &format!("\"https://{}\"", "x".repeat(100_000)), "1");
        assert!(log.lines().iter().all(|line| line.len() < 1_000) && log.lines().len() == 1);
    }

    #[test]
    fn what_a_guest_chose_is_one_short_line() {
        assert_eq!(shortened("a\nb\u{1b}c"), "a b c");
        let long = shortened(&"ä".repeat(1000));
        assert_eq!(long.chars().count(), MAX_REPORTED_CHARACTERS + 3);
    }
}
