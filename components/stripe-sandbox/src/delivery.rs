//! Sends waiting events to the webhook, signed anew each time, until it answers with a status of 200 to 299.
//!
//! A component runs only while it answers a request, so an event that was not taken is tried a few times while the
//! customer waits for the redirect, and then again with any later request, ever more rarely. It is claimed for as long
//! as it may be under way: no two requests send it at once, and one that is cut off loses nothing. So every event is
//! delivered at least once, in no promised order, as Stripe has it.
//!
//! Where the host dies while somebody pays, the first request that comes here once the claim has run out sends what is
//! left: a page that is opened, a new order's page, or an operator's `reconcile`. Without any request it waits: only a
//! timer of the application could do more.

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
/// The longest pause between two tries, in seconds.
const MAX_PAUSE_SECONDS: i64 = 300;

/// The most bytes of the webhook's answer, of which the status counts.
const MAX_ANSWER: usize = 64 * 1024;

/// The pauses before each further try of a customer's own events, in milliseconds.
const PAUSES_MS: [u64; 2] = [200, 800];

/// How much of a request's time sending may take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience<'a> {
    /// Somebody pays: the webhook should know before they are back in the shop. What it should know is of this session,
    /// so that goes first, whatever else waits.
    Customer(&'a str),
    /// Something else is asked for, and events happen to wait.
    InPassing,
}

impl Patience<'_> {
    /// For all of it, in seconds.
    fn seconds(self) -> u32 {
        match self {
            Patience::Customer(_) => 10,
            Patience::InPassing => 2,
        }
    }

    /// How long what such a request claims is its own, in seconds: until it has given up, and no longer, as it may have
    /// died. A second more, because the clock counts whole ones.
    fn claim(self) -> i64 {
        i64::from(self.seconds()) + 1
    }
}

/// Sends what waits. What fails is logged and waits on.
pub(crate) async fn send_waiting(patience: Patience<'_>) {
    let sending = async {
        if let Patience::Customer(session) = patience {
            send_all_of(session, patience).await;
        }
        send_some(None, patience).await;
    };
    if let Either::Right(_) = select(pin!(sending), pin!(sleep(Duration::from_secs(patience.seconds().into())))).await {
        eprintln!("the webhook takes its time; events that it has not taken are sent again later");
    }
}

/// Sends until nothing of this session waits. A pause follows what was refused, and what another request is sending.
async fn send_all_of(session: &str, patience: Patience<'_>) {
    let mut pauses = PAUSES_MS.iter();
    while store::waits(&mut db::query, session).unwrap_or(false) {
        if send_some(Some(session), patience).await == Some(Sent::All) {
            continue;
        }
        let Some(pause) = pauses.next() else { break };
        sleep(Duration::from_millis(*pause)).await;
    }
}

/// What became of some events.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    All,
    NotAll,
}

/// Sends some of what waits, of one session or of all; `None` when nothing could be claimed.
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
        // When the note fails too, the claim runs out and the event is sent again: at least once.
        let _noted = match outcome {
            Ok(()) => db::query(sql::SENT, &[Value::Integer(event.number)]),
            Err(why) => {
                sent = Sent::NotAll;
                eprintln!("the webhook did not take event {} (try {}): {why}; it waits", event.id, event.attempts);
                let later = ids::now() + pause(event.attempts);
                db::query(sql::LATER, &[Value::Integer(event.number), Value::Integer(later)])
            }
        };
    }
    Some(sent)
}

/// How long an event waits after so many failures, in seconds: not at first, as the caller makes its own short pauses.
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
    let signature = signature::header(secret, ids::now(), payload).ok_or("the secret cannot be a key")?;
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("content-length", &payload.len().to_string()),
        ("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
        ("stripe-signature", &signature),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    match souk_web::send(&Method::Post, WEBHOOK, &headers, Some(payload.into()), MAX_ANSWER).await {
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
    fn what_a_request_that_died_was_sending_is_the_next_ones_as_soon_as_it_would_have_given_up() {
        assert_eq!(Patience::InPassing.claim(), 3);
        assert_eq!(Patience::Customer("cs_test_1").claim(), 11);
    }

    #[test]
    fn an_event_is_sent_again_at_once_and_then_ever_more_rarely() {
        let pauses: Vec<_> = [1, 2, 3, 4, 5, 10, 11, 1000, i64::MAX].map(pause).into();
        assert_eq!(pauses, [0, 0, 2, 4, 8, 256, 300, 300, 300]);
    }
}
