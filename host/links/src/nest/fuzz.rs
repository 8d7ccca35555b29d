//! Fuzz target: any bytes as a packet.

use super::packet::{Incoming, Outcome, Reply};
use serde_json::value::RawValue;

/// Any bytes, as a request and as a reply.
///
/// # Panics
/// When a part taken from a packet is not JSON.
pub fn packet(data: &[u8]) {
    let json = |text: &str| assert!(serde_json::from_str::<&RawValue>(text).is_ok(), "not JSON: {text}");
    if let Some(incoming) = Incoming::parse(data) {
        json(incoming.data);
        incoming.id.into_iter().for_each(json);
    }
    if let Some(reply) = Reply::parse(data) {
        match reply.outcome {
            Some(Outcome::Response(text) | Outcome::Error(text)) => json(text),
            None => {}
        }
    }
}
