//! Signatures that are accepted, and headers that are refused.

use super::*;
use proptest::prelude::*;

const BODY: &[u8] = br#"{"id":"evt_1"}"#;
const TIME: u64 = 1_700_000_000;
/// HMAC-SHA256 of `1700000000.` and [`BODY`] under `whsec_test`; these vectors are another implementation's.
const GOOD: &str = "c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925";
/// The same under `whsec_old`.
const OLD: &str = "ef1b1b7e4b312671a75ef2a03e10529f7834a6528a49db77ad6568c8c8017843";
/// The same under `whsec_test`, of an empty body.
const EMPTY: &str = "5967f3c560522fa40cf2876ebc3c3a08551dd6959aaade3b413460591895bdcc";
/// The same under `whsec_test`, of the bytes 0 to 255.
const BYTES: &str = "82697fce4827f7a10f321771c3127b78d2875c778192caafe9a27e5440b1cce3";

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn check(header: &str, body: &[u8], now: u64) -> Result<(), Refusal> {
    Signature::parse(header)?.verify(body, &secret("whsec_test"), now)
}

#[test]
fn known_signatures_are_accepted() {
    assert_eq!(check(&format!("t=1700000000,v1={GOOD}"), BODY, TIME), Ok(()));
    assert_eq!(check(&format!("t=1700000000,v1={EMPTY}"), b"", TIME), Ok(()));
    assert_eq!(check(&format!("t=1700000000,v1={BYTES}"), &(0..=255).collect::<Vec<_>>(), TIME), Ok(()));
}

#[test]
fn one_valid_signature_among_several_is_enough() {
    for header in [
        format!("t=1700000000,v1={OLD},v1={GOOD}"),
        format!("t=1700000000,v1={GOOD},v1={OLD}"),
        format!("v1={GOOD},v0=abc,t=1700000000,v2,=,,v1=zz"),
        format!("t=1700000000, v1={GOOD}"),
    ] {
        assert_eq!(check(&header, BODY, TIME), Ok(()), "{header}");
    }
}

#[test]
fn another_body_time_or_secret_does_not_match() {
    assert_eq!(check(&format!("t=1700000000,v1={GOOD}"), b"{\"id\":\"evt_2\"}", TIME), Err(Refusal::Mismatch));
    assert_eq!(check(&format!("t=1700000001,v1={GOOD}"), BODY, TIME), Err(Refusal::Mismatch));
    // The text of the time is signed, not its value.
    assert_eq!(check(&format!("t=01700000000,v1={GOOD}"), BODY, TIME), Err(Refusal::Mismatch));
    assert_eq!(check(&format!("t=1700000000,v1={OLD}"), BODY, TIME), Err(Refusal::Mismatch));
}

#[test]
fn a_signature_that_is_cut_lengthened_or_not_hex_does_not_match() {
    let cut = GOOD.get(..62).unwrap();
    for digest in ["", "0", "zz", "é", cut, &format!("{GOOD}00"), &format!("{GOOD} 00"), &format!("={GOOD}")] {
        assert_eq!(check(&format!("t=1700000000,v1={digest}"), BODY, TIME), Err(Refusal::Mismatch), "{digest}");
    }
}

#[test]
fn a_header_without_a_time_or_a_signature_is_refused_in_the_recorded_order() {
    assert_eq!(check("", BODY, TIME), Err(Refusal::Missing));
    assert_eq!(check("abc", BODY, TIME), Err(Refusal::NoTime));
    assert_eq!(check("t=1700000000", BODY, TIME), Err(Refusal::NoSignature));
    assert_eq!(check(&format!("t=1700000000,v0={GOOD}"), BODY, TIME), Err(Refusal::NoSignature));
    assert_eq!(check(&format!("v1={GOOD}"), BODY, TIME), Err(Refusal::NoTime));
}

#[test]
fn a_time_that_could_be_read_in_two_ways_is_refused() {
    for stamp in ["", "+1700000000", "-1", "1700000000.0", "1e9", "0x65", "١٧", "18446744073709551616", "t"] {
        assert_eq!(check(&format!("t={stamp},v1={GOOD}"), BODY, TIME), Err(Refusal::NoTime), "{stamp}");
    }
    assert_eq!(check(&format!("t=1700000000,t=1700000000,v1={GOOD}"), BODY, TIME), Err(Refusal::NoTime));
    assert_eq!(check(&format!("t=1700000000,v1={GOOD},t=9"), BODY, TIME), Err(Refusal::NoTime));
}

#[test]
fn five_minutes_either_way_are_tolerated_and_not_a_second_more() {
    let header = format!("t=1700000000,v1={GOOD}");
    for now in [TIME - 300, TIME - 1, TIME, TIME + 300] {
        assert_eq!(check(&header, BODY, now), Ok(()), "{now}");
    }
    for now in [0, TIME - 301, TIME + 301, u64::MAX] {
        assert_eq!(check(&header, BODY, now), Err(Refusal::OutsideTolerance), "{now}");
    }
}

#[test]
fn the_largest_time_does_not_overflow() {
    let mac = |stamp: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"whsec_test").unwrap();
        mac.update(format!("{stamp}.").as_bytes());
        mac.update(BODY);
        hex::encode(mac.finalize().into_bytes())
    };
    for stamp in ["0", "18446744073709551615"] {
        let header = format!("t={stamp},v1={}", mac(stamp));
        assert_eq!(check(&header, BODY, TIME), Err(Refusal::OutsideTolerance), "{stamp}");
    }
}

#[test]
fn only_the_holder_of_the_secret_learns_that_a_time_is_outside() {
    assert_eq!(check(&format!("t=1,v1={GOOD}"), BODY, TIME), Err(Refusal::Mismatch));
}

#[test]
fn whitespace_around_the_secret_is_ignored() {
    let signature = Signature { time: TIME, stamp: "1700000000", digests: vec![GOOD] };
    assert_eq!(signature.verify(BODY, &secret(" whsec_test\n"), TIME), Ok(()));
}

#[test]
fn an_empty_secret_is_none() {
    for empty in ["", " ", "\n"] {
        assert!(Secret::new(empty).is_none());
    }
}

proptest! {
    #[test]
    fn no_header_panics_or_passes_unsigned(header in ".{0,200}", body in proptest::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(check(&header, &body, TIME).is_err());
    }

    #[test]
    fn no_header_made_of_its_own_parts_passes_unsigned(
        parts in proptest::collection::vec(("t|v0|v1|v2||T", "=?", "[0-9a-f]{64}|1700000000|-?[0-9]{0,30}|.{0,4}"), 0..12),
    ) {
        let items: Vec<_> = parts.iter().map(|(name, equals, value)| format!("{name}{equals}{value}")).collect();
        prop_assert!(check(&items.join(","), BODY, TIME).is_err());
    }

    #[test]
    fn a_valid_signature_passes_among_any_other_items(
        body in proptest::collection::vec(any::<u8>(), 0..64),
        now in 0..=u64::MAX,
        others in proptest::collection::vec("v[0-9]=[^,]{0,70}", 0..5),
        position in any::<proptest::sample::Index>(),
    ) {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"whsec_test").unwrap();
        mac.update(format!("{now}.").as_bytes());
        mac.update(&body);
        let mut items = others;
        items.insert(position.index(items.len() + 1), format!("v1={}", hex::encode(mac.finalize().into_bytes())));
        items.insert(position.index(items.len() + 1), format!("t={now}"));
        prop_assert_eq!(check(&items.join(","), &body, now), Ok(()));
    }
}
