//! The API: creates sessions, and returns their state. Only components of the application can reach it.

use crate::delivery::{self, Patience};
use crate::object::{self, Expand};
use crate::refund;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::store::{self, Created, Fault};
use crate::{checkout, db, form, ids, settings};
use http::Method;
use souk_web::Headers;

/// The longest idempotency key, according to Stripe's API reference.
const MAX_KEY_BYTES: usize = 255;

/// A request to the API, without its body.
pub(crate) struct Call<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    /// The query without the `?`; empty when there is none.
    pub query: &'a str,
    pub headers: &'a Headers,
}

/// Answers a request to the API; then sends waiting events.
pub(crate) fn answer(call: &Call<'_>, body: &[u8]) -> Reply {
    let reply = match route(call, body) {
        Ok(reply) => reply,
        Err(refusal) => refusal.into_reply(),
    };
    checkout::expire_overdue();
    delivery::send_waiting(Patience::InPassing);
    reply.with("request-id", ids::new("req_"))
}

fn route(call: &Call<'_>, body: &[u8]) -> Result<Reply, Refusal> {
    let key = call.headers.get("authorization");
    if key.as_deref().and_then(|value| value.strip_prefix("Bearer ")).is_none_or(|key| key.trim().is_empty()) {
        return Err(Refusal::no_key());
    }
    let path = call.path;
    if (call.method, path) == (&Method::POST, "/v1/refunds") {
        return refund::create(body, idempotency_key(call)?.as_deref());
    }
    if matches!(*call.method, Method::GET | Method::HEAD) && path == "/v1/refunds" {
        return refund::list(call.query);
    }
    match (call.method, path.strip_prefix("/v1/checkout/sessions")) {
        (&Method::POST, Some("")) => create(call, body),
        (&Method::POST, Some(rest)) if id_before(rest, "/expire").is_some() => {
            expire(id_before(rest, "/expire").unwrap_or_default())
        }
        (&Method::GET | &Method::HEAD, Some(id)) if id.starts_with('/') => get(id.trim_start_matches('/'), call.query),
        _ => {
            let message = format!("Unrecognized request URL ({}: {path}).", call.method);
            Err(Refusal::missing("", None, message))
        }
    }
}

/// The idempotency key of a request.
fn idempotency_key(call: &Call<'_>) -> Result<Option<String>, Refusal> {
    let key = call.headers.get("idempotency-key");
    if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > MAX_KEY_BYTES) {
        let message = format!("An idempotency key has from 1 to {MAX_KEY_BYTES} characters");
        return Err(Refusal::invalid("", None, message));
    }
    Ok(key)
}

fn create(call: &Call<'_>, body: &[u8]) -> Result<Reply, Refusal> {
    let key = idempotency_key(call)?;
    let new_session = form::parse(body)?;
    let public_url = settings::public_url().ok_or_else(Refusal::internal)?;
    let created = store::create(&mut db::query, &ids::new("cs_test_"), key.as_deref(), &new_session, ids::now());
    match created.map_err(internal)? {
        Created::New(session) => Ok(Reply::json(200, &object::session(&session, &public_url, Expand::Nothing))),
        Created::Replayed(session) => {
            let reply = Reply::json(200, &object::session(&session, &public_url, Expand::Nothing));
            Ok(reply.with("idempotent-replayed", "true"))
        }
        Created::KeyReused => Err(Refusal::key_reused(key.as_deref().unwrap_or_default())),
    }
}

fn get(id: &str, query: &str) -> Result<Reply, Refusal> {
    let expand = expand(query)?;
    let public_url = settings::public_url().ok_or_else(Refusal::internal)?;
    match checkout::find(id).map_err(internal)? {
        Some(session) => Ok(Reply::json(200, &object::session(&session, &public_url, expand))),
        None => Err(no_session(id)),
    }
}

fn expire(id: &str) -> Result<Reply, Refusal> {
    let public_url = settings::public_url().ok_or_else(Refusal::internal)?;
    let session = checkout::find(id).map_err(internal)?.ok_or_else(|| no_session(id))?;
    match checkout::end(&session.id).map_err(internal)? {
        Some(session) => Ok(Reply::json(200, &object::session(&session, &public_url, Expand::Nothing))),
        None => {
            let status = session.status.word();
            let message = format!("Only Checkout Sessions that are open can be expired; this one is {status}.");
            Err(Refusal::invalid("", None, message))
        }
    }
}

/// The id in `/ID/ACTION`.
fn id_before<'a>(rest: &'a str, action: &str) -> Option<&'a str> {
    rest.strip_prefix('/')?.strip_suffix(action).filter(|id| !id.contains('/'))
}

fn no_session(id: &str) -> Refusal {
    let shown: String = id.chars().take(100).collect();
    Refusal::missing("resource_missing", Some("session"), format!("No such checkout.session: {shown}"))
}

/// The deepest expansion that the `expand[]` parameters request.
fn expand(query: &str) -> Result<Expand, Refusal> {
    let mut deepest = Expand::Nothing;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let wanted = match (name.split('[').next(), value.as_ref()) {
            (Some("expand"), "payment_intent") => Expand::PaymentIntent,
            (Some("expand"), "payment_intent.latest_charge") => Expand::LatestCharge,
            (Some("expand"), _) => {
                return Err(Refusal::invalid("", Some("expand"), "The sandbox cannot expand this property"));
            }
            _ => return Err(Refusal::invalid("parameter_unknown", None, "Received an unknown parameter")),
        };
        if wanted > deepest {
            deepest = wanted;
        }
    }
    Ok(deepest)
}

/// The database failed, which it has logged already.
fn internal(_: Fault) -> Refusal {
    Refusal::internal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_an_action_names_one_session() {
        assert_eq!(id_before("/cs_test_1/expire", "/expire"), Some("cs_test_1"));
        for other in ["", "/cs_test_1", "cs_test_1/expire", "/a/b/expire", "/cs_test_1/expire/"] {
            assert_eq!(id_before(other, "/expire"), None, "{other}");
        }
    }

    #[test]
    fn an_expansion_is_recognized_for_every_spelling_of_its_brackets() {
        assert_eq!(expand("").unwrap(), Expand::Nothing);
        assert_eq!(expand("expand[]=payment_intent").unwrap(), Expand::PaymentIntent);
        assert_eq!(expand("expand%5B0%5D=payment_intent.latest_charge").unwrap(), Expand::LatestCharge);
        let both = "expand[0]=payment_intent.latest_charge&expand[1]=payment_intent";
        assert_eq!(expand(both).unwrap(), Expand::LatestCharge);
        assert!(expand("expand[]=customer").is_err());
        assert!(expand("limit=3").is_err());
    }
}
