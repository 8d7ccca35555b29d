//! The routes of the pages, and the actions on them: a person pays or cancels, and a tester can also let a session
//! expire, refund a payment, dispute it, and decide the dispute.
//!
//! Each action is one guarded statement and the storing of its events, in one transaction: a double click, or two tabs
//! at once, make one charge. The second request shows what the first has done.

use crate::delivery::{self, Patience};
use crate::event::{self, Event};
use crate::pages;
use crate::reply::Reply;
use crate::session::{DisputeState, Session, Status};
use crate::store::{self, Delivery, Fault, Run};
use crate::{db, ids, settings};
use http::Method;

/// Answers a request for a page.
pub(crate) async fn answer(method: &Method, path: &str, body: &[u8]) -> Reply {
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut segments = path.split('/').skip(1);
    let route = (segments.next(), segments.next(), segments.next(), segments.next());
    let (Some("stripe-sandbox"), Some(action), Some(id), None) = route else { return unknown() };
    let read = matches!(*method, Method::GET | Method::HEAD);
    let allowed = match action {
        "pay" => "GET, HEAD, POST",
        "receipts" => "GET, HEAD",
        "cancel" | "expire" | "refund" | "dispute" | "decide" => "POST",
        _ => return unknown(),
    };
    let result = match action {
        "pay" if read => show(id).await,
        "pay" if *method == Method::POST => pay(id, body).await,
        "receipts" if read => receipt(id).await,
        "cancel" if *method == Method::POST => cancel(id),
        "expire" if *method == Method::POST => expire(id).await,
        "refund" if *method == Method::POST => refund(id).await,
        "dispute" if *method == Method::POST => dispute(id).await,
        "decide" if *method == Method::POST => decide(id, body).await,
        _ => {
            let page = pages::problem("Invalid form", "This page does not accept this kind of request.");
            return Reply::page(405, page).with("allow", allowed);
        }
    };
    result.unwrap_or_else(|Fault(_)| {
        let page = pages::problem("Out of order", "The sandbox cannot answer now. Please try again in a moment.");
        Reply::page(503, page).with("retry-after", "1")
    })
}

/// The session with this id. If its time is over, it is returned as expired, even if that is not stored yet.
pub(crate) fn find(id: &str) -> Result<Option<Session>, Fault> {
    if !ids::plausible(id, "cs_test_") {
        return Ok(None);
    }
    let session = store::get(&mut db::query, id)?;
    Ok(session.map(|mut session| {
        if session.status == Status::Open && session.expires_at <= ids::now() {
            session.status = Status::Expired;
        }
        session
    }))
}

/// Ends sessions whose time is over, as Stripe does on time.
pub(crate) async fn expire_overdue() {
    let Ok(overdue) = store::overdue(&mut db::query, ids::now()) else { return };
    for id in overdue {
        // A failure was logged, and the session is still overdue.
        let _ended = end(&id).await;
    }
}

async fn show(id: &str) -> Result<Reply, Fault> {
    expire_overdue().await;
    delivery::send_waiting(Patience::InPassing).await;
    let Some(session) = find(id)? else { return Ok(unknown()) };
    let mut leads_to = vec![session.request.success_url.as_str()];
    leads_to.extend(session.request.cancel_url.as_deref());
    Ok(Reply::page_redirecting_to(200, pages::checkout(&session), &leads_to))
}

async fn pay(id: &str, body: &[u8]) -> Result<Reply, Fault> {
    let Some(delivery) = delivery(body) else {
        let page = pages::problem("Invalid form", "The form asks for an unknown way of delivery.");
        return Ok(Reply::page(400, page));
    };
    let Some(session) = find(id)? else { return Ok(unknown()) };
    let (intent, charge) = (ids::new("pi_"), ids::new("ch_"));
    let pay = |run: &mut Run, id: &str| store::pay(run, id, &intent, &charge, ids::now());
    let paid = change(&session.id, delivery, pay, event::paid).await?;
    delivery::send_waiting(Patience::Customer(&session.id)).await;
    let session = match paid {
        Some(session) => Some(session),
        None => find(id)?,
    };
    Ok(match session {
        Some(session) if session.status == Status::Complete => Reply::see_other(&session.success_url()),
        Some(session) => Reply::see_other(&page_path("pay", &session.id)),
        None => unknown(),
    })
}

fn cancel(id: &str) -> Result<Reply, Fault> {
    let Some(session) = find(id)? else { return Ok(unknown()) };
    Ok(Reply::see_other(&url_after_cancel(&session)))
}

/// The URL after a cancellation: the shop's, but the paid page if the customer has paid meanwhile, in another tab.
fn url_after_cancel(session: &Session) -> String {
    let shop = session.request.cancel_url.clone().filter(|_| session.status != Status::Complete);
    shop.unwrap_or_else(|| page_path("pay", &session.id))
}

async fn expire(id: &str) -> Result<Reply, Fault> {
    let Some(session) = find(id)? else { return Ok(unknown()) };
    end(&session.id).await?;
    delivery::send_waiting(Patience::Customer(&session.id)).await;
    Ok(Reply::see_other(&page_path("pay", &session.id)))
}

/// Ends an open session; `None` when it is not open.
pub(crate) async fn end(id: &str) -> Result<Option<Session>, Fault> {
    change(id, Delivery::Once, store_expire, event::expired).await
}

async fn refund(id: &str) -> Result<Reply, Fault> {
    let Some(session) = find(id)? else { return Ok(unknown()) };
    change(&session.id, Delivery::Once, store::refund, event::refunded).await?;
    delivery::send_waiting(Patience::Customer(&session.id)).await;
    Ok(Reply::see_other(&match session.payment {
        Some(payment) => page_path("receipts", &payment.charge),
        None => page_path("pay", &session.id),
    }))
}

async fn dispute(id: &str) -> Result<Reply, Fault> {
    let Some(session) = find(id)? else { return Ok(unknown()) };
    let dispute = ids::new("du_");
    let open = |run: &mut Run, id: &str| store::dispute(run, id, &dispute, ids::now());
    change(&session.id, Delivery::Once, open, |session, _, now, id| event::disputed(session, now, id)).await?;
    delivery::send_waiting(Patience::Customer(&session.id)).await;
    Ok(Reply::see_other(&page_path("pay", &session.id)))
}

async fn decide(id: &str, body: &[u8]) -> Result<Reply, Fault> {
    let Some(state) = decision(body) else {
        let page = pages::problem("Invalid form", "The form must say for whom the dispute is decided.");
        return Ok(Reply::page(400, page));
    };
    let Some(session) = find(id)? else { return Ok(unknown()) };
    let decide = |run: &mut Run, id: &str| store::decide_dispute(run, id, state);
    change(&session.id, Delivery::Once, decide, |session, _, now, id| event::disputed(session, now, id)).await?;
    delivery::send_waiting(Patience::Customer(&session.id)).await;
    Ok(Reply::see_other(&page_path("pay", &session.id)))
}

async fn receipt(charge: &str) -> Result<Reply, Fault> {
    if !ids::plausible(charge, "ch_") {
        return Ok(unknown());
    }
    Ok(match store::by_charge(&mut db::query, charge)? {
        Some(session) => match &session.payment {
            Some(payment) => Reply::page(200, pages::receipt(&session, payment)),
            None => unknown(),
        },
        None => unknown(),
    })
}

fn store_expire(run: &mut Run, id: &str) -> Result<Option<Session>, Fault> {
    store::expire(run, id, ids::now())
}

/// Performs an action and stores its events, in one transaction; `None` when the session's state does not allow the
/// action.
async fn change(
    id: &str,
    delivery: Delivery,
    action: impl FnOnce(&mut Run, &str) -> Result<Option<Session>, Fault>,
    events: impl FnOnce(&Session, &str, i64, fn() -> String) -> Vec<Event>,
) -> Result<Option<Session>, Fault> {
    let public_url = settings::public_url().ok_or_else(|| Fault("no public_url".into()))?;
    db::transaction(|run| {
        let Some(session) = action(run, id)? else { return Ok(None) };
        let events = events(&session, &public_url, ids::now(), || ids::new("evt_"));
        store::add_events(run, id, events, delivery)?;
        Ok(Some(session))
    })
}

/// The way of delivery in the form; the usual one if there is none.
fn delivery(body: &[u8]) -> Option<Delivery> {
    let asked = form_urlencoded::parse(body).find(|(name, _)| name == "delivery").map(|(_, value)| value.into_owned());
    match asked.as_deref() {
        None | Some("once") => Some(Delivery::Once),
        Some("duplicate") => Some(Delivery::Duplicate),
        Some("shuffled") => Some(Delivery::Shuffled),
        Some(_) => None,
    }
}

/// For whom the form decides a dispute: `won` is for the shop.
fn decision(body: &[u8]) -> Option<DisputeState> {
    let (_, word) = form_urlencoded::parse(body).find(|(name, _)| name == "state")?;
    DisputeState::of(&word).filter(|state| *state != DisputeState::Open)
}

/// A page of the sandbox, as a path: the host name by which the browser reached us does not matter.
fn page_path(page: &str, id: &str) -> String {
    format!("/stripe-sandbox/{page}/{id}")
}

fn unknown() -> Reply {
    Reply::page(404, pages::problem("No such page", "There is no payment at this address. Has it been copied in full?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{open, paid};

    #[test]
    fn a_cancellation_leads_back_to_the_shop_unless_the_session_is_paid() {
        assert_eq!(url_after_cancel(&open()), open().request.cancel_url.unwrap());
        assert_eq!(url_after_cancel(&paid()), format!("/stripe-sandbox/pay/{}", paid().id));
    }

    #[test]
    fn a_form_decides_a_dispute_for_one_of_the_two() {
        assert_eq!(decision(b"state=won"), Some(DisputeState::Won));
        assert_eq!(decision(b"a=b&state=lost"), Some(DisputeState::Lost));
        for none in [&b""[..], b"state=", b"state=needs_response", b"state=Won"] {
            assert_eq!(decision(none), None);
        }
    }

    #[test]
    fn a_form_may_ask_for_a_way_of_delivery() {
        assert_eq!(delivery(b""), Some(Delivery::Once));
        assert_eq!(delivery(b"delivery=once"), Some(Delivery::Once));
        assert_eq!(delivery(b"a=b&delivery=duplicate"), Some(Delivery::Duplicate));
        assert_eq!(delivery(b"delivery=shuffled"), Some(Delivery::Shuffled));
        assert_eq!(delivery(b"delivery=never"), None);
    }
}
