//! The pages: plain HTML that works without scripts, with a keyboard and in a screen reader. maud escapes every text in
//! them, and there is no other way here to put a text into a page.

use crate::money;
use crate::session::{Dispute, DisputeState, Payment, Session, Status};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use time::OffsetDateTime;

/// The style of all pages. It is our own and contains no `<`, so the page includes it unescaped; the content security
/// policy has its hash.
pub(crate) const STYLE: &str = include_str!("style.css");

/// The page of a session, according to its state.
pub(crate) fn checkout(session: &Session) -> Markup {
    let amount = money::show(session.amount, &session.currency);
    match (session.status, &session.payment) {
        (Status::Open, _) => page(&format!("Pay {amount}"), open(session, &amount)),
        (Status::Complete, Some(payment)) => page("Paid", complete(session, payment, &amount)),
        _ => page("This payment page has ended", ended(session)),
    }
}

fn open(session: &Session, amount: &str) -> Markup {
    html! {
        h1 { "Pay for your order" }
        p.amount { (amount) }
        (order(session))
        (bill(session, "What you pay for"))
        form #pay method="post" action={ "/stripe-sandbox/pay/" (session.id) } {
            button.primary { "Pay " (amount) }
        }
        form method="post" action={ "/stripe-sandbox/cancel/" (session.id) } {
            button { "Cancel and go back" }
        }
        details {
            summary { "For testers" }
            fieldset {
                legend { "When I pay, send each event" }
                (delivery("once", "once, in order", true))
                (delivery("duplicate", "twice", false))
                (delivery("shuffled", "once, the last one first", false))
            }
            form method="post" action={ "/stripe-sandbox/expire/" (session.id) } {
                button { "Let this page expire" }
            }
        }
        footer.soft {
            p { "This page can be used until " (time_text(session.expires_at)) "." }
        }
    }
}

/// A choice of how events are sent; it belongs to the form with the Pay button.
fn delivery(value: &str, label: &str, chosen: bool) -> Markup {
    html! {
        label { input type="radio" name="delivery" form="pay" value=(value) checked[chosen]; (label) }
    }
}

fn complete(session: &Session, payment: &Payment, amount: &str) -> Markup {
    html! {
        h1.good { "Paid" }
        p.amount { (amount) }
        (order(session))
        (bill(session, "What you paid for"))
        a.button.primary href=(session.success_url()) { "Back to the shop" }
        a.button href={ "/stripe-sandbox/receipts/" (payment.charge) } { "Show the receipt" }
        @match &payment.dispute {
            Some(dispute) => (disputed(session, dispute)),
            None if payment.refunded == session.amount => p.soft { "The payment was refunded." },
            None => details {
                summary { "For testers" }
                @if payment.refunded == 0 {
                    p.soft { "Gives the whole amount back, and sends the event that says so." }
                    form method="post" action={ "/stripe-sandbox/refund/" (session.id) } {
                        button { "Refund " (amount) }
                    }
                }
                p.soft { "Disputes the payment, as a customer does at their bank, and sends the events that say so." }
                form method="post" action={ "/stripe-sandbox/dispute/" (session.id) } {
                    button { "Dispute " (amount) }
                }
            },
        }
    }
}

/// How far a dispute has come; an open one can be decided.
fn disputed(session: &Session, dispute: &Dispute) -> Markup {
    let decide = |state: DisputeState, label: &str| {
        html! {
            form method="post" action={ "/stripe-sandbox/decide/" (session.id) } {
                input type="hidden" name="state" value=(state.word());
                button { (label) }
            }
        }
    };
    html! {
        @match dispute.state {
            DisputeState::Won => p.soft { "The payment was disputed, and the shop has won." },
            DisputeState::Lost => p.soft { "The payment was disputed, and the customer has won." },
            DisputeState::Open => {
                p.soft { "The payment is disputed." }
                details open {
                    summary { "For testers" }
                    (decide(DisputeState::Won, "The shop wins"))
                    (decide(DisputeState::Lost, "The customer wins"))
                }
            },
        }
    }
}

fn ended(session: &Session) -> Markup {
    html! {
        h1.large { "This payment page has ended" }
        p { "Nothing was paid. The shop can open a new page for the same order." }
        (order(session))
        @if let Some(url) = &session.request.cancel_url {
            a.button.primary href=(url) { "Back to the shop" }
        }
    }
}

/// The receipt of a payment.
pub(crate) fn receipt(session: &Session, payment: &Payment) -> Markup {
    let amount = money::show(session.amount, &session.currency);
    let content = html! {
        h1 { "Receipt" }
        p.amount { (amount) }
        (order(session))
        dl {
            dt { "Paid" } dd { (time_text(payment.paid_at)) }
            @if payment.refunded > 0 {
                dt { "Refunded" } dd { (money::show(payment.refunded, &session.currency)) }
            }
            dt { "Payment" } dd { (payment.charge) }
        }
        (bill(session, "What was paid for"))
    };
    page(&format!("Receipt for {amount}"), content)
}

/// A page that only describes a problem.
pub(crate) fn problem(title: &str, text: &str) -> Markup {
    page(title, html! { h1.large { (title) } p { (text) } })
}

fn order(session: &Session) -> Markup {
    html! { @if let Some(order) = session.request.metadata.get("orderId") { p.soft { "Order " (order) } } }
}

fn bill(session: &Session, caption: &str) -> Markup {
    html! {
        // If the table is too wide for a narrow window, it scrolls by itself, with the keyboard too.
        div.scroll role="region" aria-label=(caption) tabindex="0" {
            table {
                caption { (caption) }
                thead {
                    tr {
                        th scope="col" { "Item" }
                        th.number scope="col" { "Price" }
                        th.number scope="col" { "Quantity" }
                        th.number scope="col" { "Amount" }
                    }
                }
                tbody {
                    @for line in &session.request.lines {
                        tr {
                            th scope="row" { (line.name) }
                            td.number { (money::plain(line.unit_amount)) }
                            td.number { (line.quantity) }
                            td.number { (money::plain(line.amount())) }
                        }
                    }
                }
                tfoot {
                    tr {
                        th scope="row" colspan="2" { "Total" }
                        td.number colspan="2" { (money::show(session.amount, &session.currency)) }
                    }
                }
            }
        }
    }
}

fn page(title: &str, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                // An empty icon: without it, browsers request /favicon.ico.
                link rel="icon" href="data:,";
                title { (title) " – payment sandbox" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header.note {
                    p { strong { "Sandbox." } " This page stands in for the payment provider; no money moves." }
                }
                main { (content) }
            }
        }
    }
}

/// A time for people: `23 November 2026, 11:45 UTC`.
fn time_text(seconds: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(time) => {
            format!("{} {} {}, {:02}:{:02} UTC", time.day(), time.month(), time.year(), time.hour(), time.minute())
        }
        Err(_) => "an unknown time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{disputed, open, paid};

    #[test]
    fn names_and_urls_are_escaped_on_every_page() {
        let mut session = open();
        session.request.metadata.insert("orderId".into(), "\"><script>alert(1)</script>".into());
        session.request.cancel_url = Some("http://a/?\"><script>".into());
        let mut complete = paid();
        complete.request = session.request.clone();
        let mut ended = session.clone();
        ended.status = Status::Expired;
        let payment = complete.payment.clone().unwrap();
        for page in [checkout(&session), checkout(&complete), checkout(&ended), receipt(&complete, &payment)] {
            let page = page.into_string();
            assert!(!page.contains("<script"), "{page}");
            assert!(!page.contains("<b>Gift"), "{page}");
        }
        assert!(checkout(&session).into_string().contains("&lt;b&gt;Gift&lt;/b&gt; &amp; more"));
    }

    #[test]
    fn an_open_page_has_two_buttons_for_customers_and_the_total_in_words() {
        let page = checkout(&open()).into_string();
        for part in [
            "<html lang=\"en\">",
            "<title>Pay USD\u{a0}150.50 – payment sandbox</title>",
            "<button class=\"primary\">Pay USD\u{a0}150.50</button>",
            "<button>Cancel and go back</button>",
            "<th scope=\"row\">Teclado</th>",
            "no money moves",
            "value=\"duplicate\"",
            "15 November 2023, 22:13 UTC",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
        assert_eq!(page.matches("<h1").count(), 1);
    }

    #[test]
    fn a_paid_or_ended_page_cannot_be_paid() {
        let mut ended = open();
        ended.status = Status::Expired;
        for page in [checkout(&paid()), checkout(&ended)] {
            let page = page.into_string();
            assert!(!page.contains("/stripe-sandbox/pay/"), "{page}");
        }
    }

    #[test]
    fn a_refund_is_offered_once_and_then_on_the_receipt() {
        let mut session = paid();
        assert!(checkout(&session).into_string().contains("/stripe-sandbox/refund/"));
        session.payment.as_mut().unwrap().refunded = session.amount;
        assert!(!checkout(&session).into_string().contains("/stripe-sandbox/refund/"));
        let receipt = receipt(&session, session.payment.as_ref().unwrap()).into_string();
        assert!(receipt.contains("Refunded"), "{receipt}");
    }

    #[test]
    fn a_payment_can_be_disputed_once_and_an_open_dispute_decided() {
        let page = |session: &Session| checkout(session).into_string();
        assert!(page(&paid()).contains("/stripe-sandbox/dispute/"));
        let mut session = disputed();
        let open = page(&session);
        assert_eq!(open.matches("/stripe-sandbox/decide/").count(), 2, "{open}");
        for state in [DisputeState::Won, DisputeState::Lost] {
            session.payment.as_mut().unwrap().dispute.as_mut().unwrap().state = state;
            let decided = page(&session);
            for action in ["decide", "dispute", "refund"] {
                assert!(!decided.contains(&format!("/stripe-sandbox/{action}/")), "{decided}");
            }
        }
    }

    #[test]
    fn the_style_cannot_end_its_element() {
        assert!(!STYLE.contains('<'));
    }
}
