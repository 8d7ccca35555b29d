//! Detects that another service answers the patterns of this host too.
//!
//! A service of the NestJS system that was not stopped, and is in no queue group, also gets every message: both handle
//! each request, and the client takes the answer that comes first. A probe could find that out only by calling a
//! handler, so the host sends none. Instead, for one request of each pattern every [`WATCH_INTERVAL`], it also
//! subscribes to the client's reply subject, on which its own answer must be the only final one. It does so for the
//! usual inboxes only: this host's user may lack the permission to subscribe to other subjects.
//!
//! The host misses an answer that came before it subscribed; the next watched request may show it. A second answer to
//! one request proves that there is another service, and a watched request with a single answer that it is gone.

use super::packet::Reply;
use async_nats::{Message, Subject, Subscriber};
use futures::StreamExt as _;
use parking_lot::Mutex;
use souk_bindings::printable;
use souk_nats::Nats;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

souk_manifest::fixed_limits! {
    /// The fixed limits of second answers.
    pub(crate) const FIXED_LIMITS = "nest";

    /// How often one request of a pattern is watched for a second answer.
    const WATCH_INTERVAL: Duration = Duration::from_secs(5);
    /// How long the host waits for a second answer.
    const WATCH_TIME: Duration = Duration::from_secs(1);
    /// The most replies to one request that are read.
    const MAX_WATCHED: usize = 64, "replies";
}

/// The default prefix of the subjects on which clients wait for their answers.
const INBOX: &str = "_INBOX.";

/// What is known of one pattern.
#[derive(Default)]
struct Known {
    /// When a request was last watched.
    watched: Option<Instant>,
    /// Whether it had a second answer.
    is_answered_twice: bool,
}

/// Detects whether another service answers a pattern too.
#[derive(Default)]
pub(super) struct SecondAnswers(Mutex<Known>);

impl SecondAnswers {
    /// Subscribes to the answers to a request, if it is time to watch one.
    pub(super) async fn watch(self: &Arc<Self>, nats: &Nats, reply: &Subject) -> Option<Watch> {
        if !reply.starts_with(INBOX) || !self.is_due() {
            return None;
        }
        let answers = nats.client().subscribe(reply.clone()).await.ok()?;
        Some(Watch { known: self.clone(), answers })
    }

    fn is_due(&self) -> bool {
        let mut known = self.0.lock();
        let due = known.watched.is_none_or(|watched| watched.elapsed() >= WATCH_INTERVAL);
        if due {
            known.watched = Some(Instant::now());
        }
        due
    }

    /// Whether the last watched request had a second answer.
    pub(super) fn is_answered_twice(&self) -> bool {
        self.0.lock().is_answered_twice
    }

    fn note(&self, twice: bool, component: &str, pattern: &str) {
        let before = std::mem::replace(&mut self.0.lock().is_answered_twice, twice);
        match (before, twice) {
            (false, true) => tracing::error!(
                component,
                "another service answers `{}` too: each of its messages is handled twice, and the client takes the answer that \
                 comes first; fix: stop the original service, or let it subscribe in the queue group `{component}`, so that \
                 each message goes to only one of the two",
                printable(pattern)
            ),
            (true, false) => {
                tracing::info!(component, "`{}` is answered by this component alone again", printable(pattern))
            }
            (false, false) | (true, true) => {}
        }
    }
}

/// The answers to one request.
pub(super) struct Watch {
    known: Arc<SecondAnswers>,
    answers: Subscriber,
}

impl Watch {
    /// Counts the final answers to a request that `component` has just answered.
    pub(super) async fn count(mut self, component: &str, pattern: &str) {
        let (until, mut last) = (Instant::now() + WATCH_TIME, 0);
        for _ in 0..MAX_WATCHED {
            match timeout_at(until, self.answers.next()).await {
                Ok(Some(answer)) if is_last(&answer) => last += 1,
                Ok(Some(_)) => {}
                // The connection is gone, so answers may have been missed.
                Ok(None) => return,
                Err(_) => break,
            }
            if last > 1 {
                break;
            }
        }
        // When not even this host's own answer arrived, the subscription came too late.
        if last > 0 {
            self.known.note(last > 1, component, pattern);
        }
    }
}

fn is_last(answer: &Message) -> bool {
    answer.status.is_none() && Reply::parse(&answer.payload).is_none_or(|reply| reply.last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_manifest::NatsConfig;
    use souk_test::nats::Nats as Server;

    /// Sends these answers to one request, and returns whether it counts as answered twice.
    async fn answered_twice(known: &Arc<SecondAnswers>, nats: &Nats, answers: &[&'static str]) -> bool {
        known.0.lock().watched = None;
        let reply = Subject::from(nats.client().new_inbox());
        let watch = known.watch(nats, &reply).await.unwrap();
        for answer in answers {
            nats.client().publish(reply.clone(), (*answer).into()).await.unwrap();
        }
        watch.count("nest-products", "find").await;
        known.is_answered_twice()
    }

    #[tokio::test]
    async fn a_second_last_answer_is_noticed_and_a_single_one_ends_it() {
        let server = Server::start();
        let config = NatsConfig { servers: vec![server.url().parse().unwrap()], ..NatsConfig::default() };
        let nats = Nats::connect(&config, "test").await.unwrap();
        let known = Arc::<SecondAnswers>::default();
        const PART: &str = r#"{"response":1,"id":"a"}"#;
        const LAST: &str = r#"{"response":1,"isDisposed":true,"id":"a"}"#;
        const FAILED: &str = r#"{"err":"no","isDisposed":true,"id":"a"}"#;
        for (answers, twice) in [
            (&[LAST][..], false),
            (&[PART, PART, LAST], false),
            (&[LAST, FAILED], true),
            // The host's own answer is missing, so nothing changes.
            (&[], true),
            (&[LAST], false),
            (&[PART, LAST, PART, LAST], true),
        ] {
            assert_eq!(answered_twice(&known, &nats, answers).await, twice, "{answers:?}");
        }
        // A request right after a watched one is not watched, and neither is one whose client uses another reply
        // subject.
        let inbox = Subject::from(nats.client().new_inbox());
        assert!(known.watch(&nats, &inbox).await.is_none());
        known.0.lock().watched = None;
        assert!(known.watch(&nats, &Subject::from_static("replies.here")).await.is_none());
    }
}
