//! Products of the NestJS system that this store replaces, from its SQLite: `souk:imports/rows`.
//!
//! Ids and dates are kept. A catalogue that has only the 47 examples refuses all rows: the examples have ids that a
//! shop's own products have too.
//!
//! That system goes on selling until the domain points here, so a product may come again with another price: it is taken
//! while nobody has changed the product here. One that was changed on both sides is refused, whichever was first, and one
//! that was changed here alone stays: the history has the price and the availability that an import brought. It has no
//! names, so a product that was changed here and has another name there is refused, too.

use crate::bindings::imports::{Guest, Kind, Source, System, Verdict};
use crate::{Catalog, MAX_PRICE_CENTS, sql};
use serde_json::{Value as Json, json};
use souk_database::{Database, Value};
use std::collections::{HashMap, HashSet};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// Prisma's table.
const QUERY: &str = r#"SELECT id, name, price, available, createdAt, updatedAt FROM "Product" ORDER BY id"#;

/// The largest id: the largest whole number that JavaScript, and so a browser, reads exactly. It also leaves room for the
/// ids of products that are created later.
const MAX_ID: i64 = (1 << 53) - 1;

/// How many examples there are; their ids begin at 1.
const EXAMPLES: i64 = 47;

/// Why a catalogue that has only the examples is not ready for rows of another shop.
pub(crate) const ONLY_EXAMPLES: &str = "the catalogue has the example products and no others\n  fix: stop the \
     application, run `souk seed --remove`, and start it with SPIN_VARIABLE_SEED=false";

/// A product as it is stored.
#[derive(Debug, PartialEq)]
struct Product {
    id: i64,
    name: String,
    cents: i64,
    available: bool,
    created_at: String,
    updated_at: String,
}

/// A product that is here already.
struct Stored {
    name: String,
    cents: i64,
    available: bool,
    created_at: String,
    /// It was imported, and nobody has changed it here.
    untouched: bool,
    /// The price that the last import has brought.
    imported_cents: i64,
    /// Whether it was available then.
    imported_available: bool,
}

impl Guest for Catalog {
    fn kinds() -> Vec<Kind> {
        vec![Kind {
            name: "products".into(),
            about: "the products of the NestJS system's products-ms, with their ids".into(),
            sources: vec![Source { system: System::Sqlite, read: QUERY.into() }],
            in_order: true,
            distinct: None,
        }]
    }

    fn take(kind: String, rows: Vec<String>, dry_run: bool) -> Result<Vec<Verdict>, String> {
        if kind != "products" {
            return Err(format!("there are no `{kind}` here"));
        }
        let database = Database::open().map_err(text)?;
        take(&database, &rows, dry_run)
    }
}

/// Imports rows into this database.
pub(crate) fn take(database: &Database, rows: &[String], dry_run: bool) -> Result<Vec<Verdict>, String> {
    if has_only_examples(database).map_err(text)? {
        return Err(ONLY_EXAMPLES.into());
    }
    let parsed: Vec<Result<(Product, Option<String>), String>> = rows.iter().map(|row| product(row)).collect();
    let ids: Vec<i64> = parsed.iter().filter_map(|row| Some(row.as_ref().ok()?.0.id)).collect();
    let there = stored(database, &ids)?;
    let (mut verdicts, mut new, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    // Products that have changed since, with the places of their verdicts.
    let (mut changed, mut places) = (Vec::new(), HashMap::new());
    for row in parsed {
        verdicts.push(match row {
            Err(why) => Verdict::Refused(why),
            Ok((product, _)) if !seen.insert(product.id) => Verdict::Refused("a row before it has the same id".into()),
            Ok((product, note)) => match there.get(&product.id) {
                None => {
                    new.push(columns(&product));
                    note.map_or(Verdict::Taken, Verdict::Changed)
                }
                Some(stored) => match compare(&product, stored) {
                    Verdict::Changed(why) => {
                        places.insert(product.id, verdicts.len());
                        changed.push(columns(&product));
                        Verdict::Changed(note.map_or(why.clone(), |note| format!("{why}; {note}")))
                    }
                    verdict => verdict,
                },
            },
        });
    }
    let json = |rows: Vec<Json>| [Value::Text(Json::Array(rows).to_string())];
    if !dry_run && !new.is_empty() {
        database.query(sql::IMPORT, &json(new)).map_err(text)?;
    }
    if !dry_run {
        // Also where all rows are there: the import before may have been killed between the two statements.
        database.query(sql::ADVANCE_SEQUENCE, &[]).map_err(text)?;
    }
    if !dry_run && !changed.is_empty() {
        for mut row in database.query(sql::CHANGED, &json(changed)).map_err(text)? {
            places.remove(&row.integer().map_err(text)?);
        }
        // Somebody changed them here, after they were compared.
        for place in places.into_values() {
            if let Some(verdict) = verdicts.get_mut(place) {
                *verdict = Verdict::Refused("it was changed here at the same time: run the import again".into());
            }
        }
    }
    Ok(verdicts)
}

/// The columns of a product, for the statements.
fn columns(product: &Product) -> Json {
    json!({
        "id": product.id, "name": product.name, "cents": product.cents, "available": product.available,
        "created": product.created_at, "updated": product.updated_at,
    })
}

/// The verdict on a product that is here already.
fn compare(product: &Product, stored: &Stored) -> Verdict {
    let (name, id) = (&stored.name, product.id);
    if product.created_at != stored.created_at {
        return Verdict::Refused(format!("the store has another product {id}: {name:?}"));
    }
    let state = |name: &str, cents: i64, available: bool| {
        format!("{name:?} for {cents} cents{}", if available { "" } else { ", not available" })
    };
    let (here, there) =
        (state(name, stored.cents, stored.available), state(&product.name, product.cents, product.available));
    match () {
        () if here == there => Verdict::There,
        () if stored.untouched => {
            Verdict::Changed(format!("it was {here} when it was imported before, and is {there} now"))
        }
        () if product.cents != stored.imported_cents || product.available != stored.imported_available => {
            Verdict::Refused(format!("it has changed on both sides: here it is {here}, and there {there}"))
        }
        () if product.name != stored.name => Verdict::Refused(format!(
            "it was changed here, and its name differs, which either side may have changed: here it is {here}, and \
             there {there}"
        )),
        () => Verdict::There,
    }
}

/// Whether the catalogue has example products and no others.
pub(crate) fn has_only_examples(database: &Database) -> Result<bool, souk_database::Error> {
    let mut rows = database.query(sql::EXAMPLES, &[])?;
    let Some(mut row) = rows.next() else { return Ok(false) };
    let (all, examples): (i64, i64) = (row.integer()?, row.integer()?);
    Ok(all > 0 && all == examples && all <= EXAMPLES)
}

/// The products with these ids, whether they are available or not.
fn stored(database: &Database, ids: &[i64]) -> Result<HashMap<i64, Stored>, String> {
    let list = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    let rows = database.query(sql::STORED, &[Value::Text(format!("[{list}]"))]).map_err(text)?;
    let read = rows.map(|mut row| {
        let id = row.integer()?;
        let (name, cents, available) = (row.text()?, row.integer()?, row.boolean()?);
        let (created_at, untouched) = (row.text()?, row.boolean()?);
        let (imported_cents, imported_available) = (row.integer()?, row.boolean()?);
        Ok((id, Stored { name, cents, available, created_at, untouched, imported_cents, imported_available }))
    });
    read.collect::<Result<_, souk_database::Error>>().map_err(text)
}

/// The product of a row, and a note if its price was rounded; or the reason why the row is refused.
fn product(row: &str) -> Result<(Product, Option<String>), String> {
    let row: Json = serde_json::from_str(row).map_err(|_| "it is not a JSON object".to_owned())?;
    let id = row.get("id").and_then(Json::as_i64).filter(|id| *id > 0).ok_or("its `id` is not a positive number")?;
    if id > MAX_ID {
        return Err(format!("its `id` is larger than {MAX_ID}"));
    }
    let name = row
        .get("name")
        .and_then(Json::as_str)
        .filter(|name| !name.is_empty())
        .ok_or("its `name` is empty, or not text")?;
    if name.contains('\0') {
        return Err("its `name` has the character U+0000".into());
    }
    let price = row
        .get("price")
        .and_then(Json::as_f64)
        .filter(|price| *price >= 0.0)
        .ok_or("its `price` is not an amount of money")?;
    let exact = price * 100.0;
    let cents = exact.round();
    if cents > MAX_PRICE_CENTS as f64 {
        return Err(format!("its `price` is more than {MAX_PRICE_CENTS} cents"));
    }
    let note = ((exact - cents).abs() > 1e-6).then(|| format!("its price was {price}, and is {} cents", cents as i64));
    let available = match row.get("available") {
        None | Some(Json::Null) => true,
        Some(Json::Bool(available)) => *available,
        Some(Json::Number(number)) => number.as_f64() != Some(0.0),
        Some(_) => return Err("its `available` is neither true nor false".into()),
    };
    let created_at = time(row.get("createdAt")).ok_or("its `createdAt` is not a time")?;
    let updated_at = time(row.get("updatedAt")).unwrap_or_else(|| created_at.clone());
    Ok((Product { id, name: name.to_owned(), cents: cents as i64, available, created_at, updated_at }, note))
}

/// A time as it is stored: Prisma writes milliseconds since 1970; SQL that somebody wrote by hand contains text.
fn time(value: Option<&Json>) -> Option<String> {
    match value? {
        Json::Number(millis) => from_millis(millis.as_i64()?),
        Json::String(text) => from_text(text),
        _ => None,
    }
}

/// The form in which times are stored, of milliseconds since 1970.
fn from_millis(millis: i64) -> Option<String> {
    in_stored_form(OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok()?)
}

/// The same form, from a text: `2024-02-27 15:50:27`, with `T` or a space, with or without a fraction, and in UTC unless it
/// names another offset.
fn from_text(text: &str) -> Option<String> {
    let (date, time) = text.trim().split_at_checked(10)?;
    let time = time.strip_prefix(['T', ' '])?;
    let offset = if time.contains(['Z', '+', '-']) { "" } else { "Z" };
    in_stored_form(OffsetDateTime::parse(&format!("{date}T{time}{offset}"), &Rfc3339).ok()?)
}

/// `2024-02-27T15:50:27.545Z`
fn in_stored_form(time: OffsetDateTime) -> Option<String> {
    let time = time.checked_to_offset(UtcOffset::UTC).filter(|time| time.year() > 0)?;
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, milli) = time.to_hms_milli();
    let month = u8::from(month);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"))
}

fn text(error: souk_database::Error) -> String {
    match error {
        souk_database::Error::Unavailable => "the catalogue's database does not answer".into(),
        souk_database::Error::Internal => "the catalogue's database refused a row; its log says which".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_as_prisma_writes_it_is_a_product() {
        let row = r#"{"id":3,"name":"Monitor","price":150.25,"available":1,"createdAt":1709049027545,"updatedAt":"2024-02-27 15:50:28"}"#;
        let (product, note) = product(row).unwrap();
        assert_eq!((product.id, product.cents, product.available, note), (3, 15025, true, None));
        assert_eq!(product.created_at, "2024-02-27T15:50:27.545Z");
        assert_eq!(product.updated_at, "2024-02-27T15:50:28.000Z");
    }

    #[test]
    fn times_become_calendar_dates_and_no_other_text_is_one() {
        for (millis, expected) in [
            (0, Some("1970-01-01T00:00:00.000Z")),
            (-1, Some("1969-12-31T23:59:59.999Z")),
            (951_782_400_000, Some("2000-02-29T00:00:00.000Z")),
            (4_102_444_799_999, Some("2099-12-31T23:59:59.999Z")),
            (i64::MAX, None),
        ] {
            assert_eq!(from_millis(millis).as_deref(), expected);
        }
        for (text, expected) in [
            ("2024-02-27T15:50:27.5", Some("2024-02-27T15:50:27.500Z")),
            ("2024-02-27 15:50:27+00:00", Some("2024-02-27T15:50:27.000Z")),
            ("2024-02-27T01:50:27.545+02:00", Some("2024-02-26T23:50:27.545Z")),
            ("yesterday", None),
            ("2024-02-30 15:50:27", None),
            ("2024-13-01T15:50:27Z", None),
            ("2024-02-27 24:00:00", None),
            ("0000-01-01 00:00:00", None),
            ("9999-12-31 23:59:59-01:00", None),
        ] {
            assert_eq!(from_text(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_refusal_has_the_reason_and_a_rounded_price_is_reported() {
        for (row, why) in [
            (r#"{"id":0,"name":"x","price":1,"createdAt":0}"#, "`id`"),
            (r#"{"id":9007199254740992,"name":"x","price":1,"createdAt":0}"#, "`id` is larger"),
            (r#"{"id":1,"name":"","price":1,"createdAt":0}"#, "`name`"),
            (r#"{"id":1,"name":{"$binary":"ff"},"price":1,"createdAt":0}"#, "`name`"),
            (r#"{"id":1,"name":"x","price":-1,"createdAt":0}"#, "`price`"),
            (r#"{"id":1,"name":"x","price":1}"#, "`createdAt`"),
            (r#"{"id":1,"name":"x","price":1,"available":"false","createdAt":0}"#, "`available`"),
            ("7", "`id`"),
        ] {
            assert!(product(row).unwrap_err().contains(why), "{row}");
        }
        let (product, note) = product(r#"{"id":1,"name":"x","price":1.005,"createdAt":0}"#).unwrap();
        assert!(note.unwrap().contains("1.005") && (100..=101).contains(&product.cents));
    }
}
