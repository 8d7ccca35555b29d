//! Orders as a table for a spreadsheet: CSV as RFC 4180 has it, streamed.
//!
//! The service is asked page by page, by the last order of the page before, when the client has taken what came before: so
//! the memory that it takes does not grow with the number of orders. Its last line says when it is not all: the call's time
//! was over, or a service did not answer. Nothing in it is a formula: a spreadsheet would run a customer's name.

use super::input::name;
use super::view::dispute;
use super::{customers, refused};
use crate::bindings::orders::{self, Actor, Order, Search};
use crate::http::error::Error;
use crate::http::reply::{Kind, More, Reply};
use crate::routes::customers::Customers;
use std::fmt::Write as _;
use std::time::Duration;

/// How many orders are asked for at once.
pub(super) const PAGE: u32 = 500;
/// With less time left no further page is asked for: one page and the last line take less.
const MIN_REMAINING: Duration = Duration::from_secs(5);
/// The columns.
const COLUMNS: &str = "id,createdAt,status,totalAmount,currency,totalItems,paidAt,stripeChargeId,refundedAmount,\
                       refundDueAmount,dispute,customerId,customerName,customerEmail\r\n";

/// The answer with all orders that a search finds.
///
/// # Errors
/// When the first page cannot be had.
pub(super) fn reply(actor: Actor, search: Search) -> Result<Reply, Error> {
    let mut export = Export { actor, next: Some(search) };
    let mut body = COLUMNS.as_bytes().to_vec();
    body.extend(export.page()?);
    Ok(Reply {
        status: 200,
        body,
        kind: Kind::Csv("orders.csv"),
        public: false,
        retry_after: None,
        more: More(Some(Box::new(export))),
    })
}

/// An export under way.
struct Export {
    actor: Actor,
    /// What to ask for next; nothing when all was asked for.
    next: Option<Search>,
}

impl Export {
    /// The lines of the next page.
    fn page(&mut self) -> Result<Vec<u8>, Error> {
        let Some(search) = self.next.take() else { return Ok(Vec::new()) };
        let found = orders::find(&self.actor, &search);
        // Should it fail, the last line says where to go on.
        self.next = Some(search);
        let found = found.map_err(|error| refused(error, None))?;
        let customers = customers(&self.actor, &found.orders)?;
        self.next = self.next.take().zip(found.next).map(|(search, next)| Search { after: Some(next), ..search });
        let mut lines = String::new();
        found.orders.iter().for_each(|order| line(&mut lines, order, &customers));
        Ok(lines.into_bytes())
    }

    /// The last line of an export that ends too early.
    fn end(&mut self, why: &str) -> Vec<u8> {
        let after = self.next.take().and_then(|search| search.after).unwrap_or_default();
        format!("# incomplete: {why}; go on with after={after}\r\n").into_bytes()
    }
}

impl Iterator for Export {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.next.as_ref()?;
        if souk_call::remaining() < MIN_REMAINING {
            return Some(self.end("the time for one request is over"));
        }
        Some(match self.page() {
            Ok(lines) => lines,
            Err(_) => self.end("a service did not answer"),
        })
    }
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
    fn an_export_that_ends_too_early_says_where_to_go_on_and_ends() {
        let filter = orders::Filter {
            status: None,
            customer: None,
            made_from: None,
            made_before: None,
            min_cents: None,
            max_cents: None,
            refund_due: false,
            disputed: false,
        };
        let search = Search { filter, sort: orders::Sort::Oldest, after: Some("o-1".into()), limit: PAGE };
        let mut export = Export { actor: Actor::Anyone, next: Some(search) };
        let last = String::from_utf8(export.end("a service did not answer")).unwrap();
        assert_eq!(last, "# incomplete: a service did not answer; go on with after=o-1\r\n");
        assert_eq!(export.next(), None);
    }
}
