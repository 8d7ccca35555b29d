//! Export of orders for spreadsheets, as CSV (RFC 4180).
//!
//! The gateway reads orders page by page, each after the last order of the previous page, and sends each page before it
//! reads the next one. So any number of orders takes the memory of one page. It ends when there are no more, or when the
//! call's deadline is near. If orders are missing, the last line says so, and where to continue. A text that looks like a
//! formula gets an apostrophe in front: otherwise a spreadsheet would execute a customer's name.

use super::input::name;
use super::view::dispute;
use super::{customers, to_http_error};
use crate::bindings::orders::{self, Actor, Order, Search};
use crate::http::error::Error;
use crate::http::reply::{Kind, Reply, Rest};
use crate::routes::customers::Customers;
use std::fmt::Write as _;
use std::time::Duration;

/// With less time than this, no further page is read; one page and the last line take less.
const MIN_REMAINING: Duration = Duration::from_secs(5);
/// The columns.
const COLUMNS: &str = "id,createdAt,status,totalAmount,currency,totalItems,paidAt,stripeChargeId,refundedAmount,\
                       refundDueAmount,dispute,customerId,customerName,customerEmail\r\n";

/// The answer with all orders that a search finds.
///
/// # Errors
/// When the first page cannot be read.
pub(super) fn reply(actor: Actor, search: Search) -> Result<Reply, Error> {
    let mut body = COLUMNS.to_owned();
    let next = page(&actor, search, &mut body)?;
    Ok(Reply {
        status: 200,
        body: body.into_bytes(),
        rest: next.map(|search| rest(actor, search)),
        kind: Kind::Csv("orders.csv"),
        public: false,
        retry_after: None,
        tag: None,
    })
}

/// The pages from this search on, each read when it is asked for.
fn rest(actor: Actor, search: Search) -> Rest {
    let mut next = Some(search);
    Rest(Box::new(move || {
        let search = next.take()?;
        let after = search.after.clone().unwrap_or_default();
        let mut lines = String::new();
        let read = match souk_call::remaining() < MIN_REMAINING {
            true => Err("the time limit of one request is reached"),
            false => page(&actor, search, &mut lines).map_err(|_| "a service did not answer"),
        };
        match read {
            Ok(following) => next = following,
            Err(why) => lines = incomplete_line(why, &after),
        }
        Some(lines.into_bytes())
    }))
}

/// The last line of an incomplete table.
fn incomplete_line(why: &str, after: &str) -> String {
    format!("# incomplete: {why}; continue with after={after}\r\n")
}

/// Adds the lines of a page; returns the search of the next one.
fn page(actor: &Actor, search: Search, lines: &mut String) -> Result<Option<Search>, Error> {
    let found = orders::find(actor, &search).map_err(|error| to_http_error(error, None))?;
    let customers = customers(actor, &found.orders)?;
    found.orders.iter().for_each(|order| line(lines, order, &customers));
    Ok(found.next.map(|next| Search { after: Some(next), ..search }))
}

fn line(lines: &mut String, order: &Order, customers: &Customers) {
    let owner = order.owner.as_deref().unwrap_or_default();
    let (customer, email) = customers.name_and_email(owner);
    // Writing to a String cannot fail.
    let _ = write!(
        lines,
        "{},{},{},{},{},{},{},{},{},{},{},{},",
        order.id,
        order.created_at,
        name(order.status),
        amount(order.total.cents),
        order.total.currency,
        order.total_items,
        order.paid_at.as_deref().unwrap_or_default(),
        text(order.charge_id.as_deref().unwrap_or_default()),
        amount(order.refunded_cents),
        amount(order.refund_due_cents),
        order.dispute.map(dispute).unwrap_or_default(),
        text(owner),
    );
    let _ = write!(lines, "{},{}\r\n", text(customer), text(email));
}

/// An amount with two decimals, so that a spreadsheet reads it as a number.
fn amount(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// A CSV field with `text`, quoted so that no program reads it as a formula or splits it into columns or lines.
fn text(text: &str) -> String {
    let formula =
        text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    if !formula && !text.contains(['"', ',', '\r', '\n', ';']) {
        return text.to_owned();
    }
    let quote = if formula { "'" } else { "" };
    format!("\"{quote}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_no_formula_and_stays_in_its_column() {
        for (sent, written) in [
            ("Ann", "Ann"),
            ("", ""),
            ("=cmd|' /C calc'!A0", "\"'=cmd|' /C calc'!A0\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("Lee, \"Ann\"", "\"Lee, \"\"Ann\"\"\""),
            ("a\r\n=1", "\"a\r\n=1\""),
            ("\u{ff1d}1", "\"'\u{ff1d}1\""),
        ] {
            assert_eq!(text(sent), written);
        }
    }

    #[test]
    fn an_incomplete_table_says_where_to_continue() {
        assert_eq!(
            incomplete_line("a service did not answer", "o-1"),
            "# incomplete: a service did not answer; continue with after=o-1\r\n"
        );
    }
}
