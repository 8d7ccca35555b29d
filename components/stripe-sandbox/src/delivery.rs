//! Sends waiting events to the webhook until it answers with a status of 200 to 299, with a new signature each time.
//!
//! A component runs only while it answers a request. So an event that the webhook does not accept is tried a few times
//! while the customer waits for the redirect, and then again during later requests, less and less often. A request
//! claims the events that it sends for as long as sending may take: no two requests send the same event at once, and if
//! a request is aborted, nothing is lost. So every event is delivered at least once and in no guaranteed sequence, as
//! with Stripe.
//!
//! If the host dies during a payment, the remaining events are sent by the first request to this component after the
//! claim has ended: somebody opens a page, a new order gets its page, or an operator calls `reconcile`. Without any
//! request the events wait; only a timer of the application could send them then.

use crate::db;
use crate::ids;
use crate::settings;
use crate::signature;
use crate::sql;
use crate::store::{self, Waiting};
use futures_util::future::{Either, select};
use souk_web::SendError;
use spin_sdk::sqlite::Value;
use spin_sdk::time::sleep;
use spin_sdk::wasip3::http::types::Method;
use std::pin::pin;
use std::time::Duration;

/// The application's webhook.
const WEBHOOK: &str = "http://webhook.spin.internal/payments/webhook";
/// The longest pause between two attempts, in seconds.
const MAX_PAUSE_SECONDS: i64 = 300;

/// The most bytes of the webhook's answer, of which only the status is used.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The pauses before further attempts to send a customer's own events, in milliseconds.
const PAUSES_MS: [u64; 2] = [200, 800];

/// How much time of a request sending may take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience<'a> {
    /// Somebody pays: the webhook should get the events of this session before the customer is back in the shop, so
    /// these are sent first.
    Customer(&'a str),
    /// The request is about something else, and there may be waiting events.
    InPassing,
}

impl Patience<'_> {
    /// The time limit for all events together, in seconds.
    fn seconds(self) -> u32 {
        match self {
            Patience::Customer(_) => 10,
            Patience::InPassing => 2,
        }
    }

    /// How long this request claims the events, in seconds: until it would give up, and no longer, because it may have
    /// died. One second more, because the clock counts whole seconds.
    fn claim(self) -> i64 {
        i64::from(self.seconds()) + 1
    }
}

/// Sends waiting events. A failure is logged, and its event keeps waiting.
pub(crate) async fn send_waiting(patience: Patience<'_>) {
    let sending = async {
        if let Patience::Customer(session) = patience {
            send_all_of(session, patience).await;
        }
        send_some(None, patience).await;
    };
    if let Either::Right(_) = select(pin!(sending), pin!(sleep(Duration::from_secs(patience.seconds().into())))).await {
        eprintln!("the webhook did not answer in time; the remaining events are sent again later");
    }
}

/// Sends until no event of this session waits. Pauses after a refusal, and while another request is sending.
async fn send_all_of(session: &str, patience: Patience<'_>) {
    let mut pauses = PAUSES_MS.iter();
    while store::has_events(&mut db::query, session).unwrap_or(false) {
        if send_some(Some(session), patience).await == Some(Sent::All) {
            continue;
        }
        let Some(pause) = pauses.next() else { break };
        sleep(Duration::from_millis(*pause)).await;
    }
}

/// Whether all of some events were sent.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    All,
    NotAll,
}

/// Sends some waiting events, of one session or of all; `None` when none could be claimed.
async fn send_some(session: Option<&str>, patience: Patience<'_>) -> Option<Sent> {
    let now = ids::now();
    let waiting = store::claim(&mut db::query, session, now, now + patience.claim()).ok()?;
    if waiting.is_empty() {
        return None;
    }
    let secret = settings::endpoint_secret()?;
    let mut sent = Sent::All;
    for event in waiting {
        let outcome = send_all_copies(&event, &secret).await;
        // If this statement fails, the claim ends and the event is sent again: at least once.
        let _noted = match outcome {
            Ok(()) => db::query(sql::DELETE_EVENT, &[Value::Integer(event.number)]),
            Err(why) => {
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

async fn send_all_copies(event: &Waiting, secret: &str) -> Result<(), String> {
    for _ in 0..event.copies {
        send(&event.payload, secret).await?;
    }
    Ok(())
}

async fn send(payload: &str, secret: &str) -> Result<(), String> {
    let signature = signature::header(secret, ids::now(), payload).ok_or("the secret cannot be an HMAC key")?;
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("content-length", &payload.len().to_string()),
        ("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
        ("stripe-signature", &signature),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    match souk_web::send(&Method::Post, WEBHOOK, &headers, Some(payload.into()), MAX_ANSWER_BYTES).await {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
        Ok(answer) => Err(format!("status {}", answer.status)),
        Err(SendError::Host(code)) => Err(code.to_string()),
        Err(SendError::Body(_)) => Err("its answer broke off".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_ends_when_its_request_would_have_given_up() {
        assert_eq!(Patience::InPassing.claim(), 3);
        assert_eq!(Patience::Customer("cs_test_1").claim(), 11);
    }

    #[test]
    fn an_event_is_sent_again_at_once_and_then_less_and_less_often() {
        let pauses: Vec<_> = [1, 2, 3, 4, 5, 10, 11, 1000, i64::MAX].map(pause).into();
        assert_eq!(pauses, [0, 0, 2, 4, 8, 256, 300, 300, 300]);
    }
}
