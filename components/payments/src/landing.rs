//! The page for people who come back from paying, if the shop has configured no page of its own: `/payments/success`
//! and `/payments/cancel` for a client that accepts `text/html`.
//!
//! The payment provider adds the payment page's id to the URL. A visitor with that id learns the order's id and whether it
//! is paid, and nothing else. No cache stores the page, and it sends no referrer. Without an id, or with an id that the
//! provider does not know, the page names no order. Questions to the provider have a rate limit ([`Pace`]): anyone can
//! open the page, and that must not delay checkouts.

use crate::answer::{self, Landed};
use crate::api::{self, Key};
use crate::bill;
use crate::config::Config;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// The page's style sheet; [`POLICY`] has its hash.
const STYLE: &str = "body{background:Canvas;color:CanvasText;color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif;\
                     margin:0 auto;max-width:36rem;padding:2rem 1rem}code{overflow-wrap:anywhere}";
/// The content security policy: only the page's own style sheet. A test compares the hash.
pub(crate) const POLICY: &str = "default-src 'none'; img-src data:; \
                                 style-src 'sha256-cw4uwQy5nNhLpZTYd7bAzlHT95BgtSvnnEtHgLA/i00='; \
                                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// How many lookups an instance may make at once, and after how long it may make another one.
const MAX_LOOKUPS: u32 = 5;
const LOOKUP_INTERVAL: Duration = Duration::from_secs(2);

/// How a customer came back from the payment page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Cancel,
}

/// The page for a request with this query.
pub(crate) fn page(outcome: Outcome, query: &str) -> String {
    let id = query.split('&').find_map(|pair| pair.strip_prefix("session_id="));
    render(outcome, id.and_then(look_up).as_ref())
}

/// What the provider knows about a payment page; `None` when it cannot be asked now.
fn look_up(id: &str) -> Option<Landed> {
    thread_local! {
        static PACE: Cell<Pace> = const { Cell::new(Pace { left: MAX_LOOKUPS, since: None }) };
    }
    let retrieve = bill::retrieve(id).ok()?;
    let (is_allowed, pace) = PACE.get().step(Instant::now());
    PACE.set(pace);
    if !is_allowed {
        return None;
    }
    let config = Config::load().ok()?;
    let body = api::send(&config.api, "read a checkout session", retrieve, Key::None).ok()?;
    answer::landed(&body).ok()
}

/// The state of the rate limit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pace {
    left: u32,
    /// When the wait for the next lookup began.
    since: Option<Instant>,
}

impl Pace {
    /// Whether a lookup may be made now, and the state after it.
    fn step(self, now: Instant) -> (bool, Pace) {
        let since = self.since.unwrap_or(now);
        let waited = now.saturating_duration_since(since);
        let gained = u32::try_from(waited.as_nanos() / LOOKUP_INTERVAL.as_nanos()).unwrap_or(MAX_LOOKUPS);
        let left = self.left.saturating_add(gained).min(MAX_LOOKUPS);
        let since = since + LOOKUP_INTERVAL * gained.min(MAX_LOOKUPS);
        // Time beyond the maximum is not saved up.
        let since = if left == MAX_LOOKUPS { now } else { since };
        (left > 0, Pace { left: left.saturating_sub(1), since: Some(since) })
    }
}

fn render(outcome: Outcome, landed: Option<&Landed>) -> String {
    let (title, text) = match (outcome, landed) {
        (_, Some(Landed { paid: true, .. })) => ("Thank you", "Your payment has arrived."),
        (Outcome::Success, Some(_)) => {
            ("Thank you", "Your payment is on its way; the order is paid as soon as it arrives.")
        }
        (Outcome::Success, None) => ("Thank you", "You have come back from the payment page."),
        (Outcome::Cancel, _) => {
            ("Not paid", "The payment was cancelled. Nothing was charged; the order can still be paid.")
        }
    };
    let order = landed.and_then(|landed| landed.order.as_deref()).map_or_else(String::new, |order| {
        let status = if landed.is_some_and(|landed| landed.paid) { "paid" } else { "not paid yet" };
        format!("<p>Order <code>{}</code>: {status}.</p>\n", escape(order))
    });
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n<p>{text}</p>\n{order}<p><a href=\"/\">Back to the shop</a></p>\n</main>\n</body>\n</html>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_policy_has_the_hash_of_the_style_sheet() {
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "the style's hash is {hash}");
    }

    #[test]
    fn an_order_is_named_only_to_clients_that_know_the_id_of_its_page() {
        let paid = Landed { order: Some("o-<1>".into()), paid: true };
        let page = render(Outcome::Success, Some(&paid));
        assert!(page.contains("<code>o-&lt;1&gt;</code>: paid") && page.contains("<h1>Thank you</h1>"), "{page}");
        let open = Landed { paid: false, ..paid };
        assert!(render(Outcome::Success, Some(&open)).contains("not paid yet"));
        for outcome in [Outcome::Success, Outcome::Cancel] {
            assert!(!page_of(outcome, "").contains("Order "), "{outcome:?}");
            assert!(!page_of(outcome, "session_id=../x&session_id=cs_1").contains("Order "), "{outcome:?}");
        }
    }

    fn page_of(outcome: Outcome, query: &str) -> String {
        page(outcome, query)
    }

    #[test]
    fn lookups_are_limited_and_become_possible_again_one_by_one() {
        let start = Instant::now();
        let mut pace = Pace { left: MAX_LOOKUPS, since: None };
        let mut made = |after: Duration, tries: u32| {
            (0..tries)
                .filter(|_| {
                    let (is_allowed, next) = pace.step(start + after);
                    pace = next;
                    is_allowed
                })
                .count()
        };
        assert_eq!(made(Duration::ZERO, 20), 5);
        assert_eq!(made(LOOKUP_INTERVAL / 2, 20), 0);
        assert_eq!(made(LOOKUP_INTERVAL, 20), 1);
        assert_eq!(made(LOOKUP_INTERVAL * 3, 20), 2);
        assert_eq!(made(LOOKUP_INTERVAL * 1000, 20), 5);
    }
}
