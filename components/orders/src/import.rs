//! Orders of the NestJS system that this store replaces, from its PostgreSQL: `souk:imports/rows`.
//!
//! Ids, dates, charges and receipts are kept. Some old rows have values that our checks refuse; they are imported as
//! follows:
//!
//! | in the NestJS system | here |
//! |---|---|
//! | the total is not the sum of the lines (it counted only the last of several) | the sum, which is what was charged |
//! | PAID without a charge | PAID with the charge `imported-NUMBER`, which the payment provider does not know |
//! | PENDING, and paid | PAID |
//! | lines have no name | the catalogue's name, of a deleted product too; `Product 17` until the catalogue has it |
//! | a charge of two orders | both have it, and it is that of the first |
//! | a total of zero, no lines and no items, a quantity or price out of bounds | no order: the row is kept in `imported_orders`, until it comes as one that is good |
//!
//! So the products are imported first, and a catalogue that has only the examples refuses all rows: their names are not
//! those of the old lines. Orders of that system have no owner: only administrators see them.
//!
//! That system goes on selling until the domain points here, so an order may come again with another status: see
//! [`again`].

mod again;
mod order;

use crate::bindings::catalog;
use crate::bindings::imports::{Guest, Kind, Source, System, Verdict};
use crate::bindings::names;
use crate::draft::MAX_NAME_CHARS;
use crate::{Component, currency, sql, time};
use again::{Again, Stored};
use order::{Imported, Line};
use serde_json::{Value as Json, json};
use souk_database::{Database, Value};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

/// Prisma's tables. Lines are grouped once, because that system has no index of lines by order.
const QUERY: &str = r#"SELECT o.id, o."totalAmount", o."totalItems", o.status, o.paid, o."paidAt", o."stripeChargeId",
    o."createdAt", o."updatedAt", r."receiptUrl", i.items
FROM "Order" o
LEFT JOIN "OrderReceipt" r ON r."orderId" = o.id
LEFT JOIN (
    SELECT "orderId", json_agg(json_build_object('productId', "productId", 'quantity', quantity, 'price', price) ORDER BY id) AS items
    FROM "OrderItem" GROUP BY "orderId"
) i ON i."orderId" = o.id
ORDER BY o."createdAt", o.id"#;

/// The limits of the schema.
const MAX_CENTS: i64 = 999_999_999_999_999;
const MAX_LINES: usize = 1000;
const MAX_QUANTITY: i64 = 1_000_000;

/// The result of reading a row.
#[derive(Debug, PartialEq)]
enum ReadRow {
    Order(Box<Imported>),
    /// A row that cannot become an order: its id, and why.
    Archive(String, String),
    Refused(String),
}

impl Guest for Component {
    fn kinds() -> Vec<Kind> {
        vec![Kind {
            name: "orders".into(),
            about: "the orders of the NestJS system's orders-ms, with lines and receipts; after the products".into(),
            sources: vec![Source { system: System::Postgres, read: QUERY.into() }],
            in_order: true,
            distinct: None,
        }]
    }

    fn take(kind: String, rows: Vec<String>, dry_run: bool) -> Result<Vec<Verdict>, String> {
        if kind != "orders" {
            return Err(format!("there are no `{kind}` here"));
        }
        let currency = currency::of_prices().map_err(|_| "the variable `currency` has an unusable value".to_owned())?;
        let database = Database::open().map_err(text)?;
        take(&database, &rows, &currency, look_up, dry_run)
    }
}

/// Imports rows into this database; `names` looks up products in the catalogue.
pub(crate) fn take(
    database: &Database,
    rows: &[String],
    currency: &str,
    names: impl FnOnce(&BTreeSet<i64>) -> Result<HashMap<i64, String>, String>,
    dry_run: bool,
) -> Result<Vec<Verdict>, String> {
    let read: Vec<ReadRow> = rows.iter().map(|row| order(row)).collect();
    let ids: Vec<&str> = read
        .iter()
        .filter_map(|row| match row {
            ReadRow::Order(order) => Some(order.id.as_str()),
            ReadRow::Archive(id, _) => Some(id.as_str()),
            ReadRow::Refused(_) => None,
        })
        .collect();
    let known = Value::Text(json!(ids).to_string());
    let mut there = again::stored(database.query(sql::import::STORED, &[known]).map_err(text)?).map_err(text)?;
    let products: BTreeSet<i64> = read
        .iter()
        .filter_map(|row| if let ReadRow::Order(order) = row { Some(order) } else { None })
        .flat_map(|order| match there.get(&order.id) {
            Some(stored) if !stored.is_archived() => stored.unnamed.clone(),
            _ => order.lines.iter().map(|line| line.product).collect(),
        })
        .collect();
    let names = names(&products)?;
    let mut owners = owners(database, &read)?;
    let (mut verdicts, mut orders, mut lines, mut charges, mut archive) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // Orders that have changed since, with the places of their verdicts and their charges.
    let (mut changed, mut places) = (Vec::new(), HashMap::new());
    // Orders that were none here when they came before, and names of lines that had none.
    let (mut recovered, mut named) = (Vec::new(), Vec::new());
    for (row, read) in rows.iter().zip(read) {
        verdicts.push(match read {
            ReadRow::Refused(why) => Verdict::Refused(why),
            ReadRow::Archive(id, why) => match there.entry(id.clone()) {
                Entry::Occupied(_) => Verdict::There,
                Entry::Vacant(new) => {
                    new.insert(Stored::archived());
                    archive.push(json!({ "id": id, "reason": why, "source": row }));
                    Verdict::Changed(format!("it is kept in the table imported_orders: {why}"))
                }
            },
            ReadRow::Order(order) if there.get(&order.id).is_some_and(|stored| !stored.is_archived()) => {
                let stored = there.get(&order.id);
                let now_named = stored.map_or(Vec::new(), |stored| now_named(&order, stored, &names));
                let note = (!now_named.is_empty()).then(|| "its lines have the names of their products now".to_owned());
                match stored.map_or(Again::Same, |stored| again::compare(&order, stored)) {
                    Again::Differs(why) => Verdict::Refused(why),
                    Again::Same => {
                        named.extend(now_named);
                        note.map_or(Verdict::There, Verdict::Changed)
                    }
                    Again::Changed(why) => {
                        named.extend(now_named);
                        places.insert(order.id.clone(), (verdicts.len(), charge(&order)));
                        changed.push(columns(&order, changed.len(), currency));
                        let notes = [why].into_iter().chain(note).chain(shared(&mut owners, &order));
                        Verdict::Changed(notes.chain(order.notes.clone()).collect::<Vec<_>>().join("; "))
                    }
                }
            }
            ReadRow::Order(order) => {
                let mut notes = order.notes.clone();
                if there.insert(order.id.clone(), Stored::of(&order)).is_some() {
                    notes.insert(0, "it was kept in the table imported_orders before, and is an order now".into());
                    recovered.push(order.id.clone());
                }
                for (n, line) in order.lines.iter().enumerate() {
                    let name = names.get(&line.product).cloned().unwrap_or_else(|| {
                        notes.push(format!(
                            "the catalogue has no product {}, so its line has no real name",
                            line.product
                        ));
                        unnamed(line.product)
                    });
                    lines.push(json!({
                        "order": order.id, "line": n, "product": line.product,
                        "name": name, "cents": line.cents, "quantity": line.quantity,
                    }));
                }
                notes.extend(shared(&mut owners, &order));
                charges.extend(charge(&order));
                orders.push(columns(&order, orders.len(), currency));
                if notes.is_empty() { Verdict::Taken } else { Verdict::Changed(notes.join("; ")) }
            }
        });
    }
    if !dry_run {
        let json = |rows: Vec<Json>| [Value::Text(Json::Array(rows).to_string())];
        let stored = database.transaction(|tx| {
            tx.query(sql::import::ORDERS, &json(orders))?;
            tx.query(sql::import::LINES, &json(lines))?;
            for mut row in tx.query(sql::import::CHANGED, &json(changed))? {
                charges.extend(places.remove(&row.text()?).and_then(|(_, charge)| charge));
            }
            tx.query(sql::import::NAMES, &json(named))?;
            tx.query(sql::import::CHARGES, &json(charges))?;
            tx.query(sql::import::ARCHIVE, &json(archive))?;
            tx.query(sql::import::RECOVERED, &json(recovered.into_iter().map(Json::String).collect())).map(drop)
        });
        stored.map_err(text)?;
        // Somebody changed them here, after they were compared.
        for (place, _) in places.into_values() {
            if let Some(verdict) = verdicts.get_mut(place) {
                *verdict = Verdict::Refused("it was changed here at the same time: run the import again".into());
            }
        }
    }
    Ok(verdicts)
}

/// The columns of an order, for the statements.
fn columns(order: &Imported, number: usize, currency: &str) -> Json {
    json!({
        "n": number, "id": order.id, "currency": currency, "total": order.total_cents,
        "items": order.total_items, "status": order.status, "paid": order.paid_at,
        "charge": order.charge, "receipt": order.receipt,
        "created": order.created_at, "updated": order.updated_at,
    })
}

/// The charge of an order, for the statements.
fn charge(order: &Imported) -> Option<Json> {
    let (charge, at) = (order.charge.as_ref()?, order.paid_at.as_ref()?);
    Some(json!({
        "id": charge, "order": order.id, "cents": order.total_cents, "receipt": order.receipt, "at": at,
    }))
}

/// The names that the catalogue has now for lines of an order that have none, for the statements.
fn now_named(order: &Imported, stored: &Stored, names: &HashMap<i64, String>) -> Vec<Json> {
    let found = stored.unnamed.iter().filter_map(|product| Some((product, names.get(product)?)));
    let found = found.filter(|(product, name)| **name != unnamed(**product));
    found.map(|(product, name)| json!({ "order": order.id, "product": product, "name": name })).collect()
}

/// The name of a line whose product the catalogue does not have.
fn unnamed(product: i64) -> String {
    format!("Product {product}")
}

/// The orders of those charges of the rows that are known here already.
fn owners(database: &Database, read: &[ReadRow]) -> Result<HashMap<String, String>, String> {
    let charges: Vec<&String> = read
        .iter()
        .filter_map(|row| if let ReadRow::Order(order) = row { order.charge.as_ref() } else { None })
        .collect();
    let known = database.query(sql::import::CHARGED, &[Value::Text(json!(charges).to_string())]).map_err(text)?;
    known.map(|mut row| Ok((row.text()?, row.text()?))).collect::<Result<_, souk_database::Error>>().map_err(text)
}

/// A note if the charge of an order is that of another one, too. `owners` has the orders of all charges so far.
fn shared(owners: &mut HashMap<String, String>, order: &Imported) -> Option<String> {
    let charge = order.charge.as_ref()?;
    let owner = owners.entry(charge.clone()).or_insert_with(|| order.id.clone());
    (*owner != order.id).then(|| format!("its charge {charge} is that of order {owner}, too: see which one it paid"))
}

/// The names of those products that the catalogue has or had; an error while it has only the examples.
fn look_up(products: &BTreeSet<i64>) -> Result<HashMap<i64, String>, String> {
    let ids: Vec<u64> = products.iter().filter_map(|id| u64::try_from(*id).ok()).collect();
    let mut names = HashMap::new();
    // Also without a product: orders are not imported before the catalogue is ready for them.
    let batches = if ids.is_empty() { vec![ids.as_slice()] } else { ids.chunks(1000).collect() };
    for ids in batches {
        let found = names::look_up(ids).map_err(|error| match error {
            catalog::Error::Invalid(why) => why,
            _ => "the catalogue does not answer".to_owned(),
        })?;
        for named in found {
            let name = named.name.chars().take(MAX_NAME_CHARS).collect();
            names.insert(i64::try_from(named.id).unwrap_or_default(), name);
        }
    }
    Ok(names)
}

/// Reads a row.
fn order(row: &str) -> ReadRow {
    let Ok(row) = serde_json::from_str::<Json>(row) else { return ReadRow::Refused("it is not a JSON object".into()) };
    let text = |key: &str| row.get(key).and_then(Json::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let Some(id) = text("id").map(|id| id.to_lowercase()).filter(|id| id.len() == 36 && Uuid::try_parse(id).is_ok())
    else {
        return ReadRow::Refused("its `id` is not a UUID".into());
    };
    // PostgreSQL stores no such text, so one row would keep all others from being imported.
    if let Some(key) =
        ["stripeChargeId", "receiptUrl"].into_iter().find(|&key| text(key).is_some_and(|text| text.contains('\0')))
    {
        return ReadRow::Refused(format!("its `{key}` has the character U+0000"));
    }
    let Some(created_at) = text("createdAt").and_then(|text| time_of(&text)) else {
        return ReadRow::Refused("its `createdAt` is not a time".into());
    };
    let lines = match lines(&row) {
        Ok(lines) => lines,
        Err(why) => return ReadRow::Archive(id, why),
    };
    let mut notes = rounded(&row);
    let total = row.get("totalAmount").and_then(Json::as_f64).and_then(cents);
    let sum = lines.iter().map(|line| line.cents.saturating_mul(line.quantity)).fold(0_i64, i64::saturating_add);
    let total_cents = if lines.is_empty() { total.unwrap_or(0) } else { sum };
    if !(1..=MAX_CENTS).contains(&total_cents) {
        return ReadRow::Archive(id, format!("its total is {total_cents} cents"));
    }
    if total != Some(total_cents) {
        let was = row.get("totalAmount").map_or("missing".to_owned(), Json::to_string);
        notes.push(format!("its total was {was}, and is the sum of its lines, {total_cents} cents"));
    }
    let total_items = match lines.is_empty() {
        true => row.get("totalItems").and_then(Json::as_i64).unwrap_or(0),
        false => lines.iter().map(|line| line.quantity).sum(),
    };
    if !(1..=1_000_000_000).contains(&total_items) {
        return ReadRow::Archive(id, format!("it has {total_items} items"));
    }
    let updated_at = text("updatedAt").and_then(|text| time_of(&text)).unwrap_or_else(|| created_at.clone());
    let (was, paid) = (text("status").unwrap_or_default(), row.get("paid") == Some(&Json::Bool(true)));
    let charge = text("stripeChargeId");
    let is_paid = paid || charge.is_some();
    let status = match was.as_str() {
        "PAID" => "PAID",
        "PENDING" if is_paid => {
            notes.push("it was PENDING and paid, and is PAID".into());
            "PAID"
        }
        "PENDING" => "PENDING",
        "DELIVERED" => "DELIVERED",
        "CANCELLED" => "CANCELLED",
        _ => return ReadRow::Refused(format!("its `status` is {was:?}")),
    };
    if status == "CANCELLED" && is_paid {
        notes.push("it is CANCELLED and was paid: see whether that was given back".into());
    }
    let (paid_at, charge) = match (is_paid || status == "PAID", charge) {
        (false, _) => (None, None),
        (true, charge) => {
            let at = text("paidAt").and_then(|text| time_of(&text)).unwrap_or_else(|| updated_at.clone());
            let charge = charge.unwrap_or_else(|| {
                notes.push("it was paid and had no charge: it has one that the payment provider does not know".into());
                format!("imported-{id}")
            });
            (Some(at), Some(charge))
        }
    };
    let receipt = text("receiptUrl");
    ReadRow::Order(Box::new(Imported {
        id,
        total_cents,
        total_items,
        status,
        paid_at,
        charge,
        receipt,
        created_at,
        updated_at,
        lines,
        notes,
    }))
}

/// The lines of a row, or the reason why one of them cannot be stored.
fn lines(row: &Json) -> Result<Vec<Line>, String> {
    let lines = row.get("items").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    if lines.len() > MAX_LINES {
        return Err(format!("it has {} lines", lines.len()));
    }
    lines
        .iter()
        .map(|line| {
            let number = |key: &str| line.get(key).and_then(Json::as_i64);
            let quantity = number("quantity").filter(|quantity| (1..=MAX_QUANTITY).contains(quantity));
            Ok(Line {
                product: number("productId").ok_or("a line has no `productId`")?,
                quantity: quantity.ok_or("a line has a quantity out of bounds")?,
                cents: line.get("price").and_then(Json::as_f64).and_then(cents).ok_or("a line has no price")?,
            })
        })
        .collect()
}

/// Notes about prices of lines that are no whole cents.
fn rounded(row: &Json) -> Vec<String> {
    let lines = row.get("items").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let note = |line: &Json| {
        let price = line.get("price").and_then(Json::as_f64)?;
        let exact = price * 100.0;
        // What a float cannot hold is no fraction of a cent.
        let is_whole = (exact - exact.round()).abs() <= (exact.abs() * 4.0 * f64::EPSILON).max(1e-6);
        let (product, cents) = (line.get("productId").and_then(Json::as_i64).unwrap_or_default(), exact.round() as i64);
        (!is_whole).then(|| format!("the price of product {product} was {price}, and is {cents} cents"))
    };
    lines.iter().filter_map(note).collect()
}

/// An amount in cents, rounded: the NestJS system stored a float.
fn cents(amount: f64) -> Option<i64> {
    let cents = (amount * 100.0).round();
    (0.0..=MAX_CENTS as f64).contains(&cents).then_some(cents as i64)
}

/// A time of PostgreSQL's `timestamp(3)`, which is UTC in that system, in the form that is stored here.
fn time_of(text: &str) -> Option<String> {
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00")).unwrap_or(text).replace(' ', "T");
    let (second, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let time = format!("{second}.{fraction:0<3.3}Z");
    time::is_timestamp(&time).then_some(time)
}

fn text(error: souk_database::Error) -> String {
    match error {
        souk_database::Error::Unavailable => "the orders' database does not answer".into(),
        souk_database::Error::Internal => "the orders' database refused a row; its log says which".into(),
    }
}
