//! A checkout session of the sandbox.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a customer can pay, in seconds: Stripe's default.
pub(crate) const LIFETIME_SECONDS: i64 = 24 * 60 * 60;

/// One line of the bill; amounts are hundredths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub name: String,
    pub unit_amount: i64,
    pub quantity: i64,
}

impl Line {
    /// The price of the whole line.
    pub(crate) fn amount(&self) -> i64 {
        self.unit_amount.saturating_mul(self.quantity)
    }
}

/// What was requested and has no column of its own. The database stores it as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub lines: Vec<Line>,
    pub success_url: String,
    pub cancel_url: Option<String>,
    /// The session's metadata.
    pub metadata: BTreeMap<String, String>,
    /// The metadata of the payment intent and its charge.
    pub payment_metadata: BTreeMap<String, String>,
}

/// The state of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Open,
    Complete,
    Expired,
}

impl Status {
    /// The name of the status for Stripe and in the database.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Status::Open => "open",
            Status::Complete => "complete",
            Status::Expired => "expired",
        }
    }
}

/// The payment of a complete session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Payment {
    /// The payment intent's id.
    pub intent: String,
    /// The charge's id.
    pub charge: String,
    /// Seconds since 1970.
    pub paid_at: i64,
    /// How much was refunded.
    pub refunded: i64,
    /// Present when the customer has disputed it, which is possible once.
    pub dispute: Option<Dispute>,
}

impl Payment {
    /// Whether something can be given back: not while it is disputed, nor when the customer has won.
    pub(crate) fn can_be_refunded(&self) -> bool {
        self.dispute.as_ref().is_none_or(|dispute| dispute.state == DisputeState::Won)
    }
}

/// A dispute of all of a payment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dispute {
    pub id: String,
    pub state: DisputeState,
    /// When it was opened, in seconds since 1970.
    pub created: i64,
}

/// The state of a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DisputeState {
    Open,
    /// For the shop.
    Won,
    /// For the customer.
    Lost,
}

impl DisputeState {
    /// Stripe's word, and the database's.
    pub(crate) fn word(self) -> &'static str {
        match self {
            DisputeState::Open => "needs_response",
            DisputeState::Won => "won",
            DisputeState::Lost => "lost",
        }
    }

    /// The state with this word.
    pub(crate) fn of(word: &str) -> Option<DisputeState> {
        [DisputeState::Open, DisputeState::Won, DisputeState::Lost].into_iter().find(|state| state.word() == word)
    }
}

/// A session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Session {
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Seconds since 1970.
    pub expires_at: i64,
    pub status: Status,
    /// Three letters in lower case.
    pub currency: String,
    /// The sum of the lines.
    pub amount: i64,
    pub request: Request,
    /// Present when the session is complete.
    pub payment: Option<Payment>,
}

impl Session {
    /// The URL to which a customer goes after paying.
    pub(crate) fn success_url(&self) -> String {
        self.request.success_url.replace("{CHECKOUT_SESSION_ID}", &self.id)
    }

    /// The session as it was when it was created: the answer to an idempotent replay.
    pub(crate) fn into_created(mut self) -> Self {
        self.status = Status::Open;
        self.payment = None;
        self.expires_at = self.created + LIFETIME_SECONDS;
        self
    }
}

/// A refund.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refund {
    pub id: String,
    pub amount: i64,
    /// Seconds since 1970.
    pub created: i64,
    /// The charge that is refunded.
    pub charge: String,
    pub currency: String,
    pub metadata: BTreeMap<String, String>,
}
