//! The `Stripe-Signature` header: `t=<Unix seconds>,v1=<hex>,v1=<hex>,v0=<hex>`.
//!
//! A `v1` is the HMAC-SHA256 of `t`, a dot and the body's bytes, under the endpoint's secret. While a secret is being
//! replaced, the provider signs with both, so there may be several; one valid signature is enough. Other schemes are
//! ignored: `v0` is for test events and proves nothing.
//!
//! The signed bytes are used exactly as sent, `t` included. An ambiguous header is refused: a second `t`, a sign, a
//! blank. The host's limit on headers bounds the number of signatures.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The largest allowed difference between the time of a signature and now, in seconds: the provider's own default.
/// Without it, somebody who has once intercepted a message could send it again at any time.
const TOLERANCE_SECONDS: u64 = 300;

/// The endpoint's secret: never empty, and never shown.
pub(crate) struct Secret(String);

impl Secret {
    /// The secret without surrounding whitespace, which can only be a copying mistake: the provider's secrets have
    /// none. `None` when nothing else is left.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Secret(text.to_owned()))
    }
}

/// A parsed header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Signature<'a> {
    /// Unix seconds.
    time: u64,
    /// The time as it was written, because that text was signed.
    stamp: &'a str,
    /// The signatures of scheme `v1`, unchecked.
    digests: Vec<&'a str>,
}

/// Why a message is not the provider's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no header, or it is empty.
    Missing,
    /// The header has no time, several, or one that is not a number.
    NoTime,
    /// The header has no signature of scheme `v1`.
    NoSignature,
    /// No signature matches the body and the secret.
    Mismatch,
    /// The signature is valid, but too old or from the future.
    OutsideTolerance,
}

impl Refusal {
    /// The message of the provider's library in the NestJS system.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Refusal::Missing => "No stripe-signature header value was provided.",
            Refusal::NoTime => "Unable to extract timestamp and signatures from header",
            Refusal::NoSignature => "No signatures found with expected scheme",
            Refusal::Mismatch => {
                "No signatures found matching the expected signature for payload. Are you passing the raw request body \
                 you received from Stripe? \n If a webhook request is being forwarded by a third-party tool, ensure \
                 that the exact request body, including JSON formatting and new line style, is preserved.\n\nLearn \
                 more about webhook signing and explore webhook integration examples for various frameworks at \
                 https://github.com/stripe/stripe-node#webhook-signing\n"
            }
            Refusal::OutsideTolerance => "Timestamp outside the tolerance zone",
        }
    }
}

impl<'a> Signature<'a> {
    /// Reads a header.
    ///
    /// # Errors
    /// When it is missing, incomplete or ambiguous.
    pub(crate) fn parse(header: &'a str) -> Result<Self, Refusal> {
        if header.is_empty() {
            return Err(Refusal::Missing);
        }
        let (mut stamps, mut digests) = (Vec::new(), Vec::new());
        for item in header.split(',') {
            match item.trim().split_once('=') {
                Some(("t", stamp)) => stamps.push(stamp),
                Some(("v1", digest)) => digests.push(digest),
                _ => {}
            }
        }
        let &[stamp] = stamps.as_slice() else { return Err(Refusal::NoTime) };
        // `parse` alone would accept a plus sign.
        let digits = stamp.bytes().all(|b| b.is_ascii_digit());
        let time = stamp.parse().ok().filter(|_| digits).ok_or(Refusal::NoTime)?;
        if digests.is_empty() { Err(Refusal::NoSignature) } else { Ok(Signature { time, stamp, digests }) }
    }

    /// Checks that the holder of `secret` signed `body`, at a time close to `now` (Unix seconds).
    ///
    /// The time is checked last, so that only the holder of the secret learns anything about this clock.
    ///
    /// # Errors
    /// [`Refusal::Mismatch`] and [`Refusal::OutsideTolerance`].
    pub(crate) fn verify(&self, body: &[u8], secret: &Secret, now: u64) -> Result<(), Refusal> {
        // HMAC accepts a key of any length, so this cannot fail; if it did, no signature would match.
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.0.as_bytes()).map_err(|_| Refusal::Mismatch)?;
        mac.update(self.stamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        // The comparison takes the same time for every digest.
        let matches = |digest: &&str| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(digest, &mut bytes).is_ok() && mac.clone().verify_slice(&bytes).is_ok()
        };
        if !self.digests.iter().any(matches) {
            return Err(Refusal::Mismatch);
        }
        if self.time.abs_diff(now) > TOLERANCE_SECONDS { Err(Refusal::OutsideTolerance) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
