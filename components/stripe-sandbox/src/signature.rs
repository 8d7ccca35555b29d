//! The signature of an event: `Stripe-Signature: t=SECONDS,v1=HEX`, HMAC-SHA256 over `SECONDS.BODY`.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The header for a body that is sent at `time` (seconds since 1970); `None` when the secret cannot be a key.
pub(crate) fn header(secret: &str, time: i64, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{time}.{body}").as_bytes());
    Some(format!("t={time},v1={}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_hmac_sha256_of_time_and_body() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec_test
        let expected = "38877139021993b830af32feea6e18a8da83eb2f6e49ee50bd9e4cf4ca4d3789";
        assert_eq!(header("whsec_test", 1_700_000_000, r#"{"a":1}"#).unwrap(), format!("t=1700000000,v1={expected}"));
    }
}
