//! Fuzz targets: any bytes as a signature header, and as an event.

use crate::event::Event;
use crate::signature::{Secret, Signature};

/// The bytes are a header up to the first line feed, then a body. No input can have a valid signature, because it is
/// made without the secret.
///
/// # Panics
/// When random bytes pass as a valid signature.
pub fn signature(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (header, body) = data.split_at(end);
    let _ = Event::parse(body.get(1..).unwrap_or_default());
    let Ok(header) = std::str::from_utf8(header) else { return };
    let (Ok(signature), Some(secret)) = (Signature::parse(header), Secret::new("whsec_fuzz")) else { return };
    assert!(signature.verify(body, &secret, 1_700_000_000).is_err(), "a forgery");
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_header_is_refused_and_any_event_read_or_refused() {
        souk_test::fuzz::check("stripe-signature", super::signature);
    }
}
