//! Remembers which subjects the NATS server did not let this host's user publish or subscribe to.
//!
//! The server reports a missing permission as an asynchronous error, and a request to such a subject just gets no
//! reply. So refusals are kept here, and other modules can report the missing permission instead of "no answer".

use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of refusals.
    pub(crate) const FIXED_LIMITS = "nats";

    /// The most refused permissions that are remembered, so that errors can name them; the latest are kept.
    const MAX_REMEMBERED: usize = 64, "refusals";
}

/// The last refusals.
#[derive(Default)]
pub(super) struct Denied(Mutex<VecDeque<Refusal>>);

struct Refusal {
    at: Instant,
    publish: bool,
    subject: String,
}

impl Denied {
    /// Records an error of the server if it is a refusal: `Permissions Violation for Publish to "SUBJECT"`.
    pub(super) fn note(&self, error: &str) {
        let Some((_, what)) = error.split_once("Permissions Violation for ") else { return };
        let Some(subject) = what.split('"').nth(1) else { return };
        let refusal = Refusal { at: Instant::now(), publish: what.starts_with("Publish"), subject: subject.to_owned() };
        let mut all = self.0.lock();
        all.retain(|one| one.publish != refusal.publish || one.subject != refusal.subject);
        all.push_back(refusal);
        if all.len() > MAX_REMEMBERED {
            all.pop_front();
        }
    }

    /// Whether the server has refused publishing to `subject` since `since`.
    pub(super) fn publish(&self, subject: &str, since: Instant) -> bool {
        let all = self.0.lock();
        all.iter().any(|one| one.publish && one.subject == subject && one.at >= since)
    }

    /// The refusals since `since` for subjects that are `meant`, worded for a sentence: `publish to X, subscribe to Y`.
    pub(super) fn since(&self, since: Instant, meant: impl Fn(&str) -> bool) -> Option<String> {
        let all = self.0.lock();
        let said = all.iter().filter(|one| one.at >= since && meant(&one.subject)).map(
            |Refusal { publish, subject, .. }| {
                let verb = if *publish { "publish" } else { "subscribe" };
                format!("{verb} to `{subject}`")
            },
        );
        let said: Vec<String> = said.collect();
        (!said.is_empty()).then(|| said.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_kept_apart_and_only_the_last_ones() {
        let (denied, start) = (Denied::default(), Instant::now());
        denied.note("nats: Permissions Violation for Publish to \"a.b\"");
        denied.note("nats: Permissions Violation for Subscription to \"c\" using queue \"q\"");
        denied.note("nats: Permissions Violation for Publish to \"a.b\"");
        denied.note("nats: Stale Connection");
        assert!(denied.publish("a.b", start) && !denied.publish("c", start) && !denied.publish("a", start));
        assert_eq!(denied.since(start, |_| true).unwrap(), "subscribe to `c`, publish to `a.b`");
        assert_eq!(denied.since(start, |subject| subject != "c").unwrap(), "publish to `a.b`");
        assert_eq!(denied.since(Instant::now(), |_| true), None);
        for n in 0..2 * MAX_REMEMBERED {
            denied.note(&format!("Permissions Violation for Publish to \"s.{n}\""));
        }
        assert!(!denied.publish("a.b", start) && denied.publish(&format!("s.{}", 2 * MAX_REMEMBERED - 1), start));
    }
}
