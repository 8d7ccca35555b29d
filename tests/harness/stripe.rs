//! The payment provider as the webhook sees it: events in Stripe's format, and Stripe's signature on them.
//!
//! Each builder gives its event, charge or session a unique id. A scenario that needs other values changes the JSON:
//! `event["data"]["object"]["currency"] = "eur".into()`.

use super::{Answer, Client};
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The `Stripe-Signature` header of a body that is signed at `t`, in Unix seconds.
pub(crate) fn signature(secret: &str, body: &[u8], t: u64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{t}.").as_bytes());
    mac.update(body);
    let digest: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={t},v1={digest}")
}

/// The event that a charge of `cents` US cents for this order was captured.
pub(crate) fn charge_succeeded(order: &str, cents: u64) -> Value {
    let charge = id("ch");
    let object = json!({
        "id": charge,
        "object": "charge",
        "amount": cents,
        "amount_captured": cents,
        "amount_refunded": 0,
        "captured": true,
        "currency": "usd",
        "metadata": { "orderId": order },
        "paid": true,
        "receipt_url": format!("https://pay.stripe.com/receipts/{charge}"),
        "refunded": false,
        "status": "succeeded",
    });
    event("charge.succeeded", object)
}

/// The event that a charge has been refunded, `cents` in total; `succeeded` is the charge's event of
/// [`charge_succeeded`].
pub(crate) fn charge_refunded(succeeded: &Value, cents: u64) -> Value {
    let mut object = succeeded["data"]["object"].clone();
    object["amount_refunded"] = cents.into();
    object["refunded"] = (object["amount"] == cents).into();
    event("charge.refunded", object)
}

/// The event that the dispute `id` has this status; `succeeded` is the event of the disputed charge.
pub(crate) fn charge_dispute(succeeded: &Value, id: &str, status: &str) -> Value {
    let charge = &succeeded["data"]["object"];
    let object = json!({
        "id": id,
        "object": "dispute",
        "amount": charge["amount"],
        "charge": charge["id"],
        "currency": charge["currency"],
        "metadata": {},
        "reason": "fraudulent",
        "status": status,
    });
    let kind = if ["won", "lost"].contains(&status) { "charge.dispute.closed" } else { "charge.dispute.updated" };
    event(kind, object)
}

/// The event that a payment page for this order has expired without a payment.
pub(crate) fn checkout_session_expired(order: &str) -> Value {
    let object = json!({
        "id": id("cs_test"),
        "object": "checkout.session",
        "metadata": { "orderId": order },
        "mode": "payment",
        "payment_status": "unpaid",
        "status": "expired",
    });
    event("checkout.session.expired", object)
}

/// An event of any type.
pub(crate) fn event(kind: &str, object: Value) -> Value {
    json!({
        "id": id("evt"),
        "object": "event",
        "api_version": "2024-06-20",
        "created": now(),
        "data": { "object": object },
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": null },
        "type": kind,
    })
}

/// Posts an event to the webhook, signed now with `secret`.
pub(crate) async fn deliver(client: &Client, secret: &str, event: &Value) -> Answer {
    try_deliver(client, secret, event).await.expect("an answer of the webhook")
}

/// Posts an event to the webhook of a host that may crash while it handles the event.
///
/// # Errors
/// When there was no whole response.
pub(crate) async fn try_deliver(client: &Client, secret: &str, event: &Value) -> reqwest::Result<Answer> {
    let body = event.to_string().into_bytes();
    try_post(client, &signature(secret, &body, now()), body).await
}

/// Posts these bytes with this signature to the webhook.
pub(crate) async fn post(client: &Client, signature: &str, body: Vec<u8>) -> Answer {
    try_post(client, signature, body).await.expect("an answer of the webhook")
}

async fn try_post(client: &Client, signature: &str, body: Vec<u8>) -> reqwest::Result<Answer> {
    let headers = [("content-type", "application/json; charset=utf-8"), ("stripe-signature", signature)];
    client.try_send(Method::POST, "/payments/webhook", &headers, Some(body)).await
}

/// A unique id.
fn id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}
