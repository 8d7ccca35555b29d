//! Orders as a table for a spreadsheet: CSV as RFC 4180 has it.
//!
//! The service is asked page by page, by the last order of the page before, until all orders are there, the table is as
//! large as one may be, or the call's time is nearly over: so the memory that it takes does not grow with the number of
//! orders. Its last line says when it is not all, and where to go on. Nothing in it is a formula: a spreadsheet would run a
//! customer's name.

use super::input::name;
use super::view::dispute;
use super::{customers, refused};
use crate::bindings::orders::{self, Actor, Order, Search};
use crate::http::error::Error;
use crate::http::reply::{Kind, Reply};
use crate::routes::customers::Customers;
use std::fmt::Write as _;
use std::time::Duration;

/// How many orders are asked for at once.
pub(super) const PAGE: u32 = 500;
/// With less time left no further page is asked for: one page and the last line take less.
const MIN_REMAINING: Duration = Duration::from_secs(5);
/// A table that is larger gets no further page: some 20,000 orders.
const MAX_BYTES: usize = 4 << 20;
/// The columns.
const COLUMNS: &str = "id,createdAt,status,totalAmount,currency,totalItems,paidAt,stripeChargeId,refundedAmount,\
                       refundDueAmount,dispute,customerId,customerName,customerEmail\r\n";

/// The answer with all orders that a search finds.
///
/// # Errors
/// When the first page cannot be had.
pub(super) fn reply(actor: &Actor, search: Search) -> Result<Reply, Error> {
    let mut lines = COLUMNS.to_owned();
    let mut next = page(actor, search, &mut lines)?;
    while let Some(search) = next {
        let after = search.after.clone().unwrap_or_default();
        let ended = match (lines.len() > MAX_BYTES, souk_call::remaining() < MIN_REMAINING) {
            (true, _) => Err("there are more orders than one table has"),
            (_, true) => Err("the time for one request is over"),
            _ => page(actor, search, &mut lines).map_err(|_| "a service did not answer"),
        };
        next = ended.unwrap_or_else(|why| {
            lines += &last(why, &after);
            None
        });
    }
    Ok(Reply {
        status: 200,
        body: lines.into_bytes(),
        kind: Kind::Csv("orders.csv"),
        public: false,
        retry_after: None,
        tag: None,
    })
}

/// The last line of a table that is not all.
fn last(why: &str, after: &str) -> String {
    format!("# incomplete: {why}; go on with after={after}\r\n")
}

/// Adds the lines of a page; returns the search of the next one.
fn page(actor: &Actor, search: Search, lines: &mut String) -> Result<Option<Search>, Error> {
    let found = orders::find(actor, &search).map_err(|error| refused(error, None))?;
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

/// With its two decimals, as a spreadsheet writes it.
fn amount(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// A text that no program takes for a formula, a column or a line of its own.
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
    fn a_table_that_is_not_all_says_where_to_go_on() {
        assert_eq!(
            last("a service did not answer", "o-1"),
            "# incomplete: a service did not answer; go on with after=o-1\r\n"
        );
    }
}
