//! What the server has refused: subjects that this host's user may not publish to, or subscribe to.
//!
//! The server answers such a message with an error of its own, and who waits for a reply to it waits in vain. So what was
//! refused is kept here, for those who would otherwise say that nobody answers.

use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of refusals.
    pub(crate) const FIXED_LIMITS = "nats";

    /// The most permissions that the server refused and that are remembered, the latest, for the log to name.
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
    /// Notes what the server says, where that is a refusal: `Permissions Violation for Publish to "SUBJECT"`.
    pub(super) fn note(&self, said: &str) {
        let Some((_, what)) = said.split_once("Permissions Violation for ") else { return };
        let Some(subject) = what.split('"').nth(1) else { return };
        let refusal = Refusal { at: Instant::now(), publish: what.starts_with("Publish"), subject: subject.to_owned() };
        let mut all = self.0.lock();
        all.retain(|one| one.publish != refusal.publish || one.subject != refusal.subject);
        all.push_back(refusal);
        if all.len() > MAX_REMEMBERED {
            all.pop_front();
        }
    }

    /// Whether publishing to `subject` was refused since `since`.
    pub(super) fn publish(&self, subject: &str, since: Instant) -> bool {
        let all = self.0.lock();
        all.iter().any(|one| one.publish && one.subject == subject && one.at >= since)
    }

    /// What was refused since `since` of the subjects that are `meant`, for a sentence: `publish to X, subscribe to Y`.
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
    fn refusals_are_told_apart_and_only_the_last_are_kept() {
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
