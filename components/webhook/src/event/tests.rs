//! Recorded events of Stripe, and events that must be refused or ignored.

use super::*;

const ORDER: &str = "06c2f957-e9ca-41b2-bcae-4cb7c7a730f2";

/// An event as it was recorded, of type `kind` and about `object`.
fn event(kind: &str, object: &str) -> String {
    format!(
        r#"{{"id":"evt_test_1","object":"event","api_version":"2024-06-20","created":1700000000,"data":{{"object":{object}}},"livemode":false,"pending_webhooks":1,"request":{{"id":null,"idempotency_key":null}},"type":"{kind}"}}"#
    )
}

fn charge(fields: &str) -> String {
    format!(
        r#"{{"id":"ch_1","object":"charge","amount":1000,"currency":"usd","metadata":{{"orderId":"{ORDER}"}}{fields}}}"#
    )
}

fn notice(body: &str) -> Result<Notice, Unmapped> {
    Event::parse(body.as_bytes()).unwrap().notice()
}

fn unreadable(body: &str) -> String {
    match notice(body) {
        Err(Unmapped::Unreadable(why)) => why,
        other => panic!("{body}: {other:?}"),
    }
}

fn malformed(body: &[u8]) -> String {
    match Event::parse(body) {
        Err(Malformed::Text(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn expected() -> Charge {
    Charge {
        event_id: "evt_test_1".into(),
        charge_id: "ch_1".into(),
        order_id: ORDER.into(),
        amount: Money { cents: 1000, currency: "usd".into() },
        refunded_cents: 0,
        receipt_url: None,
        at: "2023-11-14T22:13:20.000Z".into(),
    }
}

#[test]
fn the_recorded_charge_becomes_a_payment() {
    let fields = r#","paid":true,"receipt_url":"https://pay.stripe.com/receipts/test_1","status":"succeeded""#;
    let receipt_url = Some("https://pay.stripe.com/receipts/test_1".to_owned());
    let body = event("charge.succeeded", &charge(fields));
    assert_eq!(notice(&body), Ok(Notice::Succeeded(Charge { receipt_url, ..expected() })));
}

#[test]
fn a_charge_that_was_not_captured_is_not_a_payment() {
    for kind in ["charge.succeeded", "charge.refunded"] {
        let notice = |fields: &str| notice(&event(kind, &charge(&format!(r#","amount_refunded":0{fields}"#))));
        for fields in [r#","captured":false"#, r#","status":"pending""#, r#","status":"failed","captured":true"#] {
            assert_eq!(notice(fields), Err(Unmapped::NotOurs("its charge was not captured")), "{kind} {fields}");
        }
        for fields in ["", r#","captured":true,"status":"succeeded""#, r#","captured":null,"status":null"#] {
            assert!(notice(fields).is_ok(), "{kind} {fields}");
        }
    }
}

#[test]
fn a_charge_without_a_receipt_is_a_payment_too() {
    for fields in ["", r#","receipt_url":null"#, r#","receipt_url":"""#] {
        let body = event("charge.succeeded", &charge(fields));
        assert_eq!(notice(&body), Ok(Notice::Succeeded(expected())), "{fields}");
    }
}

#[test]
fn the_captured_amount_counts_and_not_the_requested_one() {
    for (captured, cents) in [("700", 700), ("0", 0), ("null", 1000)] {
        let body = event("charge.succeeded", &charge(&format!(r#","amount_captured":{captured}"#)));
        let amount = Money { cents, currency: "usd".into() };
        assert_eq!(notice(&body), Ok(Notice::Succeeded(Charge { amount, ..expected() })), "{captured}");
    }
}

#[test]
fn a_currency_is_compared_in_lower_case() {
    let body = event("charge.succeeded", &charge("")).replace("usd", "EUR");
    let amount = Money { cents: 1000, currency: "eur".into() };
    assert_eq!(notice(&body), Ok(Notice::Succeeded(Charge { amount, ..expected() })));
}

#[test]
fn a_refund_has_the_refunded_amount() {
    let body = event("charge.refunded", &charge(r#","amount_captured":1000,"amount_refunded":250,"refunded":false"#));
    assert_eq!(notice(&body), Ok(Notice::Refunded(Charge { refunded_cents: 250, ..expected() })));
    assert!(unreadable(&event("charge.refunded", &charge(""))).contains("amount_refunded"));
}

#[test]
fn an_expired_session_names_its_order() {
    let object = format!(r#"{{"id":"cs_1","object":"checkout.session","metadata":{{"orderId":"{ORDER}"}}}}"#);
    let session =
        ExpiredSession { event_id: "evt_test_1".into(), session_id: "cs_1".into(), order_id: ORDER.to_owned() };
    assert_eq!(notice(&event("checkout.session.expired", &object)), Ok(Notice::Expired(session)));
}

#[test]
fn an_event_without_an_order_is_not_ours_even_if_it_is_incomplete() {
    for metadata in ["", r#","metadata":null"#, r#","metadata":{}"#, r#","metadata":{"orderId":null,"a":"b"}"#] {
        for kind in ["charge.succeeded", "charge.refunded", "checkout.session.expired"] {
            let object = format!(r#"{{"id":"ch_1"{metadata}}}"#);
            let not_ours = Err(Unmapped::NotOurs("its metadata names no order"));
            assert_eq!(notice(&event(kind, &object)), not_ours, "{kind} {object}");
        }
    }
}

#[test]
fn events_of_other_types_are_not_parsed_further() {
    let not_ours = Err(Unmapped::NotOurs("its type is not handled"));
    assert_eq!(notice(&event("ping.future", "{}")), not_ours);
    // Newer events of the provider have another form of time, and no data.
    assert_eq!(notice(r#"{"id":"evt_2","type":"v2.core.ping","created":"2026-01-01T00:00:00Z"}"#), not_ours);
}

#[test]
fn an_amount_that_is_not_a_whole_number_is_never_rounded() {
    for amount in ["10.0", "10.5", "1e3", "-1000", "\"1000\"", "null", "18446744073709551616"] {
        let body = event("charge.succeeded", &charge("").replace("1000", amount));
        assert!(unreadable(&body).starts_with("data.object: "), "{amount}");
        let captured = event("charge.succeeded", &charge(&format!(r#","amount_captured":{amount}"#)));
        assert_eq!(notice(&captured).is_ok(), amount == "null", "{amount}");
    }
}

#[test]
fn an_incomplete_payment_is_unreadable_and_not_ignored() {
    let whole = event("charge.succeeded", &charge(""));
    for (cut, why) in [
        (r#""id":"ch_1","#, "data.object: missing field `id`"),
        (r#","currency":"usd""#, "data.object: missing field `currency`"),
        (r#","amount":1000"#, "data.object: missing field `amount`"),
        (r#""created":1700000000,"#, "it has no time (`created`)"),
    ] {
        assert!(whole.contains(cut), "{cut}");
        assert!(unreadable(&whole.replace(cut, "")).starts_with(why), "{cut}");
    }
    for bad in ["-1", "1.5", "\"now\"", "4294967296"] {
        assert!(unreadable(&whole.replace("1700000000", bad)).starts_with("created: "), "{bad}");
    }
    assert_eq!(unreadable(r#"{"id":"e","type":"charge.succeeded"}"#), "it has no data");
    assert!(unreadable(r#"{"id":"e","type":"charge.succeeded","data":{}}"#).starts_with("data: missing"));
    assert!(unreadable(r#"{"id":"e","type":"charge.succeeded","data":7}"#).starts_with("data: invalid"));
}

#[test]
fn times_are_written_as_the_contract_has_them() {
    let whole = event("charge.succeeded", &charge(""));
    for (seconds, at) in [
        ("0", "1970-01-01T00:00:00.000Z"),
        ("1709251199", "2024-02-29T23:59:59.000Z"),
        ("4294967295", "2106-02-07T06:28:15.000Z"),
    ] {
        let Ok(Notice::Succeeded(charge)) = notice(&whole.replace("1700000000", seconds)) else { panic!("{seconds}") };
        assert_eq!(charge.at, at);
    }
}

#[test]
fn a_truncated_text_is_refused_in_the_recorded_words() {
    assert_eq!(malformed(br#"{"type":"#), UNEXPECTED_END);
    assert_eq!(malformed(b"{"), UNEXPECTED_END);
    assert_eq!(Event::parse(b"").unwrap_err(), Malformed::Empty);
}

#[test]
fn a_text_that_is_not_json_is_refused() {
    for text in [&b"nonsense"[..], b"{]", b"{\"id\":\"e\",\"type\":\"t\"} x", b"{\"id\":\"\xff\",\"type\":\"t\"}"] {
        let message = malformed(text);
        assert!(message.starts_with("Malformed JSON: "), "{message}");
    }
    let deep = format!(r#"{{"id":"e","type":"t","data":{}"#, "[".repeat(200_000));
    assert_eq!(malformed(deep.as_bytes()), UNEXPECTED_END);
}

#[test]
fn json_that_is_not_an_event_is_refused() {
    for text in [
        "[]",
        "{}",
        "5",
        "null",
        "\"evt_1\"",
        r#"["evt_1","charge.succeeded",null,null]"#,
        r#"{"id":"evt_1"}"#,
        r#"{"type":"charge.succeeded"}"#,
        r#"{"id":1,"type":"charge.succeeded"}"#,
        r#"{"id":"","type":"charge.succeeded"}"#,
        r#"{"id":"evt_1","type":""}"#,
        r#"{"id":"evt_1","id":"evt_2","type":"charge.succeeded"}"#,
    ] {
        let message = "Not an event: an object with `id` and `type` is expected";
        assert_eq!(malformed(text.as_bytes()), message, "{text}");
    }
}

#[test]
fn a_refund_of_the_store_has_its_outcome_and_others_are_not_ours() {
    let refund = |kind: &str, status: &str, metadata: &str| {
        let object = format!(
            r#"{{"id":"re_1","object":"refund","amount":5,"status":"{status}","failure_reason":"lost_or_stolen_card","metadata":{metadata}}}"#
        );
        notice(&event(kind, &object))
    };
    let ours = format!(r#"{{"orderId":"{ORDER}","refundId":"r-1"}}"#);
    for (kind, status, outcome) in [
        ("refund.created", "pending", RefundOutcome::Pending),
        ("refund.created", "succeeded", RefundOutcome::Succeeded),
        ("refund.updated", "requires_action", RefundOutcome::Pending),
        ("refund.failed", "failed", RefundOutcome::Failed),
        ("charge.refund.updated", "canceled", RefundOutcome::Failed),
    ] {
        let failure = (outcome == RefundOutcome::Failed).then(|| "lost_or_stolen_card".to_owned());
        let change = RefundChange {
            event_id: "evt_test_1".into(),
            refund_id: "r-1".into(),
            order_id: ORDER.into(),
            outcome,
            failure,
        };
        assert_eq!(refund(kind, status, &ours), Ok(Notice::Refund(change)), "{kind} {status}");
    }
    // Made at the provider: the event of the charge reports it.
    for metadata in ["{}", &format!(r#"{{"orderId":"{ORDER}"}}"#), "null"] {
        assert!(matches!(refund("refund.created", "succeeded", metadata), Err(Unmapped::NotOurs(_))), "{metadata}");
    }
}

#[test]
fn a_dispute_is_open_until_it_is_decided() {
    for (status, state) in [
        ("needs_response", DisputeState::Open),
        ("warning_needs_response", DisputeState::Open),
        ("under_review", DisputeState::Open),
        ("won", DisputeState::Won),
        ("warning_closed", DisputeState::Won),
        ("lost", DisputeState::Lost),
    ] {
        let object = format!(
            r#"{{"id":"dp_1","object":"dispute","amount":1000,"charge":"ch_1","currency":"usd","metadata":{{}},"reason":"fraudulent","status":"{status}"}}"#
        );
        let Ok(Notice::Dispute(change)) = notice(&event("charge.dispute.updated", &object)) else { panic!("{status}") };
        assert_eq!((change.charge_id.as_str(), change.cents, change.state), ("ch_1", 1000, state), "{status}");
        assert_eq!(change.at, "2023-11-14T22:13:20.000Z");
    }
}

#[test]
fn a_delayed_payment_that_failed_ends_its_page() {
    let object = format!(r#"{{"id":"cs_1","metadata":{{"orderId":"{ORDER}"}}}}"#);
    assert!(matches!(notice(&event("checkout.session.async_payment_failed", &object)), Ok(Notice::Expired(_))));
}
