//! Sends waiting events to the webhook until it answers with a status of 200 to 299, with a new signature each time.
//!
//! A component runs only while it is called. So an event that the webhook does not accept is tried a few times while
//! the customer waits for the redirect, and then again during later requests and by a schedule of the host, less and
//! less often. A call claims the events that it sends for as long as sending may take: no two calls send the same event at
//! once, and if a call is aborted, nothing is lost. So every event is delivered at least once and in no guaranteed
//! sequence, as with Stripe.
//!
//! If the host dies during a payment, the remaining events are sent by the first call after the claim has ended: at the
//! latest by the schedule `send-waiting`, a minute after the restart. One call of it sends a limited number of events,
//! and stops when the webhook does not accept one.

use crate::db;
use crate::ids;
use crate::settings;
use crate::signature;
use crate::sql;
use crate::store::{self, Waiting};
use souk_web::client::{self, Method, Request, SendError};
use spin_sdk::sqlite::Value;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The application's webhook.
const WEBHOOK: &str = "http://webhook.spin.internal/payments/webhook";
/// The longest pause between two attempts, in seconds.
const MAX_PAUSE_SECONDS: i64 = 300;

/// The most bytes of the webhook's answer, of which only the status is used.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The most batches of events that a call of the schedule sends; a batch is what one claim takes, ten events.
const MAX_BATCHES: u32 = 100;

/// The pauses before further attempts to send a customer's own events, in milliseconds.
const PAUSES_MS: [u64; 2] = [200, 800];

/// How much time of a call sending may take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience<'a> {
    /// Somebody pays: the webhook should get the events of this session before the customer is back in the shop, so
    /// these are sent first.
    Customer(&'a str),
    /// The request is about something else, and there may be waiting events.
    InPassing,
    /// The call is for the events that wait.
    Schedule,
}

impl Patience<'_> {
    /// The time limit for all events together, in seconds.
    fn seconds(self) -> u32 {
        match self {
            Patience::Customer(_) => 10,
            Patience::InPassing => 2,
            // Less than the 30 s that a call may take.
            Patience::Schedule => 20,
        }
    }

    /// The most batches of events of any session.
    fn batches(self) -> u32 {
        match self {
            Patience::Customer(_) | Patience::InPassing => 1,
            Patience::Schedule => MAX_BATCHES,
        }
    }

    /// How long this call claims the events, in seconds: until it would give up, and no longer, because it may have
    /// died. One second more, because the clock counts whole seconds.
    fn claim(self) -> i64 {
        i64::from(self.seconds()) + 1
    }
}

/// Sends waiting events. A failure is logged, and its event keeps waiting.
pub(crate) fn send_waiting(patience: Patience<'_>) {
    let end = Instant::now() + Duration::from_secs(patience.seconds().into());
    let in_time = match patience {
        Patience::Customer(session) => send_all_of(session, patience, end),
        Patience::InPassing | Patience::Schedule => true,
    };
    if !in_time || !send_batches(patience, end) {
        eprintln!("the webhook did not answer in time; the remaining events are sent again later");
    }
}

/// Sends events of any session, until none waits or the webhook did not accept one. Returns whether that took no longer
/// than until `end`.
fn send_batches(patience: Patience<'_>, end: Instant) -> bool {
    for _ in 0..patience.batches() {
        match send_some(None, patience, end) {
            Some(Sent::All) => {}
            Some(Sent::Late) => return false,
            Some(Sent::NotAll) | None => break,
        }
    }
    true
}

/// Sends until no event of this session waits. Pauses after a refusal, and while another request is sending. Returns
/// whether that took no longer than until `end`.
fn send_all_of(session: &str, patience: Patience<'_>, end: Instant) -> bool {
    let mut pauses = PAUSES_MS.iter();
    while store::has_events(&mut db::query, session).unwrap_or(false) {
        match send_some(Some(session), patience, end) {
            Some(Sent::All) => {}
            Some(Sent::Late) => return false,
            Some(Sent::NotAll) | None => {
                let Some(pause) = pauses.next() else { break };
                sleep(Duration::from_millis(*pause));
            }
        }
    }
    true
}

/// Whether all of some events were sent.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    All,
    NotAll,
    /// The time was over first: what was claimed and not sent is sent again once the claim ends.
    Late,
}

/// Sends some waiting events, of one session or of all; `None` when none could be claimed.
fn send_some(session: Option<&str>, patience: Patience<'_>, end: Instant) -> Option<Sent> {
    let now = ids::now();
    let waiting = store::claim(&mut db::query, session, now, now + patience.claim()).ok()?;
    if waiting.is_empty() {
        return None;
    }
    let secret = settings::endpoint_secret()?;
    let mut sent = Sent::All;
    for event in waiting {
        // If this statement fails, the claim ends and the event is sent again: at least once.
        let _noted = match send_all_copies(&event, &secret, end) {
            Ok(()) => db::query(sql::DELETE_EVENT, &[Value::Integer(event.number)]),
            Err(Unsent::Late) => return Some(Sent::Late),
            Err(Unsent::Refused(why)) => {
                sent = Sent::NotAll;
                eprintln!(
                    "the webhook did not accept event {} (try {}): {why}; it is sent again later",
                    event.id, event.attempts
                );
                let later = ids::now() + pause(event.attempts);
                db::query(sql::POSTPONE, &[Value::Integer(event.number), Value::Integer(later)])
            }
        };
    }
    Some(sent)
}

/// How long an event waits after this many failures, in seconds: not at all at first, because the caller makes its own
/// short pauses.
fn pause(attempts: i64) -> i64 {
    match u32::try_from(attempts) {
        Ok(0..=2) => 0,
        Ok(attempts) => 2_i64.saturating_pow(attempts - 2).min(MAX_PAUSE_SECONDS),
        Err(_) => MAX_PAUSE_SECONDS,
    }
}

/// Why an event was not sent.
enum Unsent {
    /// The time for all events together is over.
    Late,
    /// The webhook did not accept it.
    Refused(String),
}

fn send_all_copies(event: &Waiting, secret: &str, end: Instant) -> Result<(), Unsent> {
    (0..event.copies).try_for_each(|_| send(&event.payload, secret, end))
}

fn send(payload: &str, secret: &str, end: Instant) -> Result<(), Unsent> {
    let signature = signature::header(secret, ids::now(), payload);
    let signature = signature.ok_or_else(|| Unsent::Refused("the secret cannot be an HMAC key".to_owned()))?;
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("content-length", &payload.len().to_string()),
        ("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
        ("stripe-signature", &signature),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    let request = Request { method: &Method::Post, url: WEBHOOK, headers: &headers, body: Some(payload.as_bytes()) };
    match client::send(&request, end.saturating_duration_since(Instant::now()), MAX_ANSWER_BYTES) {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
        Ok(answer) => Err(Unsent::Refused(format!("status {}", answer.status))),
        Err(SendError::TimedOut) => Err(Unsent::Late),
        Err(SendError::Host(code)) => Err(Unsent::Refused(code.to_string())),
        Err(SendError::TooLarge) => Err(Unsent::Refused("its answer is too large".to_owned())),
        Err(SendError::Aborted) => Err(Unsent::Refused("its answer broke off".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_ends_when_its_call_would_have_given_up() {
        assert_eq!(Patience::InPassing.claim(), 3);
        assert_eq!(Patience::Customer("cs_test_1").claim(), 11);
        assert_eq!(Patience::Schedule.claim(), 21);
    }

    #[test]
    fn an_event_is_sent_again_at_once_and_then_less_and_less_often() {
        let pauses: Vec<_> = [1, 2, 3, 4, 5, 10, 11, 1000, i64::MAX].map(pause).into();
        assert_eq!(pauses, [0, 0, 2, 4, 8, 256, 300, 300, 300]);
    }
}
