//! Fuzz target: any bytes as a packet.

#![allow(clippy::unwrap_used)]

use super::packet::{Incoming, Outcome, Reply};
use serde_json::value::RawValue;

/// Any bytes, as a request and as a reply. What is taken out of a packet is JSON again.
pub fn packet(data: &[u8]) {
    let json = |text: &str| drop(serde_json::from_str::<&RawValue>(text).unwrap());
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
