//! An order of the other system that comes a second time: whether it has changed there since, and what that means here.
//!
//! The other system goes on selling while its data comes over, so the import before the switch finds orders that were
//! PENDING the first time and are paid now. Its status, charge and receipt are taken while nobody has changed the order
//! here. An order that was changed on both sides is refused, and its line says what each side has: only a person can say
//! which of them counts, above all where money is concerned. So is one whose total or number of items has changed, because
//! the amount here may be on a payment page already. Where only this side has changed it, there is nothing to do.

use super::order::Imported;
use souk_database::Rows;
use std::collections::HashMap;

/// An order that is here already.
#[derive(Debug)]
pub(super) struct Stored {
    /// Empty for a row of `imported_orders`.
    status: String,
    charge: Option<String>,
    updated_at: String,
    /// Nobody has changed it here.
    untouched: bool,
    receipt: Option<String>,
    total_cents: i64,
    total_items: i64,
    /// The products of lines that have no real name.
    pub(super) unnamed: Vec<i64>,
}

impl Stored {
    /// An order that an earlier row of the same call has brought.
    pub(super) fn of(order: &Imported) -> Stored {
        Stored {
            status: order.status.to_owned(),
            charge: order.charge.clone(),
            updated_at: order.updated_at.clone(),
            untouched: true,
            receipt: order.receipt.clone(),
            total_cents: order.total_cents,
            total_items: order.total_items,
            unnamed: Vec::new(),
        }
    }

    /// A row that cannot be an order.
    pub(super) fn archived() -> Stored {
        Stored {
            status: String::new(),
            charge: None,
            updated_at: String::new(),
            untouched: true,
            receipt: None,
            total_cents: 0,
            total_items: 0,
            unnamed: Vec::new(),
        }
    }

    /// Whether it is such a row.
    pub(super) fn is_archived(&self) -> bool {
        self.status.is_empty()
    }
}

/// The rows of the statement `STORED`, by id.
///
/// # Errors
/// The database's.
pub(super) fn stored(rows: Rows) -> Result<HashMap<String, Stored>, souk_database::Error> {
    let stored = rows.map(|mut row| {
        let (id, status, charge, updated_at) = (row.text()?, row.text()?, row.optional_text()?, row.text()?);
        let (untouched, receipt) = (row.boolean()?, row.optional_text()?);
        let (total_cents, total_items) = (row.integer()?, row.integer()?);
        let products = row.optional_text()?.unwrap_or_default();
        let unnamed = products.split(',').filter_map(|id| id.parse().ok()).collect();
        Ok((id, Stored { status, charge, updated_at, untouched, receipt, total_cents, total_items, unnamed }))
    });
    stored.collect()
}

/// What to do with an order that is here already.
#[derive(Debug, PartialEq)]
pub(super) enum Again {
    /// Nothing.
    Same,
    /// It is changed here too; this is what has changed.
    Changed(String),
    /// Somebody must look at it, for this reason.
    Differs(String),
}

/// Compares an order of the other system with the order that is here.
pub(super) fn compare(order: &Imported, stored: &Stored) -> Again {
    if (order.total_cents, order.total_items) != (stored.total_cents, stored.total_items) {
        return Again::Differs(format!(
            "its lines have changed: here they are {} items for {} cents, and there {} items for {} cents",
            stored.total_items, stored.total_cents, order.total_items, order.total_cents
        ));
    }
    let charge_differs = order.charge.is_some() && order.charge != stored.charge;
    if order.status == stored.status && !charge_differs {
        // A receipt that is here for another reason than an import may be newer.
        return match &order.receipt {
            Some(receipt) if stored.untouched && order.charge == stored.charge && order.receipt != stored.receipt => {
                Again::Changed(format!("its receipt is {receipt} now"))
            }
            _ => Again::Same,
        };
    }
    // A charge that is here stays with its order, whatever the other system says about it now.
    if stored.untouched && (stored.charge.is_none() || stored.charge == order.charge) {
        return Again::Changed(format!(
            "it was {} when it was imported before, and is {} now",
            stored.status, order.status
        ));
    }
    if !charge_differs && (!stored.untouched && order.updated_at <= stored.updated_at) {
        return Again::Same;
    }
    let with = |charge: Option<&String>| charge.map_or(String::new(), |charge| format!(" with the charge {charge}"));
    Again::Differs(format!(
        "it has changed on both sides: here it is {}{}, and there {}{}",
        stored.status,
        with(stored.charge.as_ref()),
        order.status,
        with(order.charge.as_ref())
    ))
}
