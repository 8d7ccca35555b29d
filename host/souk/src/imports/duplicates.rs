//! Finds rows that share a value which must be unique, before the first row is imported.
//!
//! Two accounts whose e-mails differ only in letter case are one account here, and only the operator can say whose it
//! is. The order in a collection decides nothing, so neither is imported. The same is so for two rows with one id, say
//! from two exports in one file: batches that are imported at the same time do not see each other. For that, all rows
//! must be checked beforehand: they are read twice, with sixteen bytes and two numbers of each value kept in memory.

use super::{Kind, Place};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A digest of a value.
type Mark = [u8; 16];

/// The first two rows with the same value.
struct Rows {
    first: u64,
    second: Option<u64>,
}

/// The values that several rows share.
#[derive(Default)]
pub(super) struct Duplicates {
    fields: Vec<String>,
    shared: HashMap<Mark, Rows>,
}

impl Duplicates {
    /// Reads all rows of `place`; does nothing if rows of this kind have no unique field.
    ///
    /// # Errors
    /// When rows cannot be read.
    pub(super) async fn find(place: &Place, kind: &Kind) -> anyhow::Result<Duplicates> {
        let Some(distinct) = &kind.distinct else { return Ok(Duplicates::default()) };
        let fields: Vec<String> = distinct.split(',').map(str::to_owned).collect();
        let (mut rows, reading) = place.clone().rows(kind)?;
        let (mut values, mut number): (HashMap<Mark, Rows>, u64) = (HashMap::new(), 0);
        while let Some(row) = rows.recv().await {
            number += 1;
            for (_, mark) in marks(&fields, &row) {
                match values.entry(mark) {
                    Entry::Vacant(new) => {
                        new.insert(Rows { first: number, second: None });
                    }
                    Entry::Occupied(mut there) => {
                        there.get_mut().second.get_or_insert(number);
                    }
                }
            }
        }
        reading.await??;
        values.retain(|_, rows| rows.second.is_some());
        Ok(Duplicates { fields, shared: values })
    }

    /// Why the row with this number is refused.
    pub(super) fn refusal(&self, number: u64, row: &str) -> Option<String> {
        let mut shared = marks(&self.fields, row).filter_map(|(field, mark)| Some((field, self.shared.get(&mark)?)));
        let (field, rows) = shared.next()?;
        let other = rows.second.filter(|_| rows.first == number).unwrap_or(rows.first);
        Some(format!("row {other} has the same `{field}`, without regard to letter case: keep only one of them"))
    }
}

/// The digests of the values of `fields` in a row, ignoring letter case.
fn marks<'a>(fields: &'a [String], row: &str) -> impl Iterator<Item = (&'a str, Mark)> {
    let row: serde_json::Value = serde_json::from_str(row).unwrap_or_default();
    fields.iter().filter_map(move |field| {
        let value = row.get(field).filter(|value| !value.is_null())?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned).to_lowercase();
        let digest = Sha256::digest(format!("{field} {text}"));
        Some((field.as_str(), std::array::from_fn(|n| digest.get(n).copied().unwrap_or_default())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[tokio::test]
    async fn each_of_several_rows_with_one_value_names_another() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let rows = ["Ann@b.io", "bob@b.io", "ANN@b.io", "ann@B.io"].map(|email| format!("{{\"email\":\"{email}\"}}"));
        writeln!(file, "{}\nno JSON\n{{}}", rows.join("\n")).unwrap();
        let kind = |distinct: Option<&str>| Kind {
            name: "users".into(),
            about: String::new(),
            sources: Vec::new(),
            in_order: false,
            distinct: distinct.map(str::to_owned),
        };
        let place = Place::parse(file.path().to_str().unwrap()).unwrap();
        let duplicates = Duplicates::find(&place, &kind(Some("email"))).await.unwrap();
        let named = |duplicates: &Duplicates| {
            let all = rows.iter().zip(1..).map(|(row, number)| duplicates.refusal(number, row));
            all.map(|why| why.and_then(|why| why.split(' ').nth(1).map(str::to_owned))).collect::<Vec<_>>()
        };
        assert_eq!(named(&duplicates), [Some("3".to_owned()), None, Some("1".to_owned()), Some("1".to_owned())]);
        assert_eq!(duplicates.refusal(5, "no JSON"), None);
        let none = Duplicates::find(&place, &kind(None)).await.unwrap();
        assert_eq!(named(&none), [None, None, None, None]);
    }

    #[tokio::test]
    async fn rows_with_one_id_are_found_whatever_else_they_have() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let rows = [("6b", "ann"), ("6c", "bob"), ("6b", "eve")]
            .map(|(id, email)| format!("{{\"_id\":{{\"$oid\":\"{id}\"}},\"email\":\"{email}\"}}"));
        writeln!(file, "{}\n{{\"_id\":null}}\n{{\"_id\":null}}", rows.join("\n")).unwrap();
        let kind = Kind {
            name: "users".into(),
            about: String::new(),
            sources: Vec::new(),
            in_order: false,
            distinct: Some("email,_id".into()),
        };
        let place = Place::parse(file.path().to_str().unwrap()).unwrap();
        let duplicates = Duplicates::find(&place, &kind).await.unwrap();
        let refusal = |number: u64, row: &str| duplicates.refusal(number, row);
        assert!(refusal(1, &rows[0]).unwrap().contains("row 3 has the same `_id`"));
        assert!(refusal(3, &rows[2]).unwrap().contains("row 1 has the same `_id`"));
        assert_eq!((refusal(2, &rows[1]), refusal(4, "{\"_id\":null}")), (None, None));
    }
}
