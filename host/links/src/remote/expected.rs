//! The types that callers expect of components on other hosts. All hosts of the application share this record.
//!
//! When a host starts, it writes down the types of its callers, under a key for each called component, in the bucket of
//! what the hosts have agreed on. So a new version of a component knows which older types callers use before it takes a
//! call, and a running version learns of newer types ([`other_types`](super::other_types)).
//!
//! A type is stored as its signature. A reader parses the signature and computes the digest itself, so text that is not
//! a signature has no effect. Anyone who may publish on NATS can write here, as they could call the component. When
//! there are more than [`MAX_TYPES`] types, the oldest are removed.

use super::called::{CalledFunction, ExpectedType};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use souk_codec::signature::digest_of;
use souk_manifest::clock::since_epoch;
use souk_manifest::subject::token;
use souk_nats::Nats;
use souk_nats::record::{MAX_RECORD_BYTES, Record, RecordError, Records};
use std::collections::BTreeMap;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of types that callers expect.
    pub(crate) const FIXED_LIMITS = "remote";

    /// The most types of one component's functions that are remembered for callers.
    const MAX_TYPES: usize = 256, "types";
    /// How often a host tries to write a record while others write it too.
    const MAX_WRITES: usize = 32, "attempts";
    /// How often a host looks for callers with other types of its functions.
    pub(super) const TYPES_INTERVAL: Duration = Duration::from_secs(2);
}

const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;

/// A function of a component, with a type that some caller expects of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    interface: String,
    function: String,
    signature: String,
    /// When a host that expects it started last, in days since 1970.
    day: u64,
}

/// Opens the bucket of these records.
pub(super) async fn open(nats: &Nats) -> Result<Records, RecordError> {
    Records::open(nats, crate::cluster::BUCKET).await
}

/// The record of `component`.
pub(super) async fn get(records: &Records, component: &str) -> Result<Record, RecordError> {
    records.get(&key(component)).await
}

fn key(component: &str) -> String {
    format!("types_{}", token(component))
}

/// The functions of a record; none if it cannot be read.
pub(super) fn read(record: &Record) -> Vec<CalledFunction> {
    let function = |entry: Entry| CalledFunction {
        digest: digest_of(&entry.signature),
        interface: entry.interface,
        name: entry.function,
        signature: entry.signature,
    };
    entries(record).into_iter().map(function).collect()
}

fn entries(record: &Record) -> Vec<Entry> {
    record.value.as_ref().and_then(|value| serde_json::from_slice(value).ok()).unwrap_or_default()
}

/// Writes down the types that this host's callers expect. Returns whether some of them are new.
///
/// # Errors
/// When JetStream does not answer.
pub(super) async fn publish(nats: &Nats, expected: &[ExpectedType]) -> Result<bool, RecordError> {
    let mut components: BTreeMap<&str, Vec<&CalledFunction>> = BTreeMap::new();
    for ExpectedType { component, function, .. } in expected {
        components.entry(component).or_default().push(function);
    }
    if components.is_empty() {
        return Ok(false);
    }
    let mut is_new = false;
    let (records, today) = (open(nats).await?, since_epoch().as_secs() / SECONDS_OF_A_DAY);
    for (component, functions) in components {
        for _ in 0..MAX_WRITES {
            let record = get(&records, component).await?;
            let Some(value) = with(entries(&record), &functions, today) else { break };
            let known = read(&record);
            if records.replace(&key(component), value, record.revision).await? {
                is_new |= functions.iter().any(|function| !known.contains(function));
                break;
            }
        }
    }
    Ok(is_new)
}

/// The record with these functions added; `None` when it has them already.
fn with(mut entries: Vec<Entry>, functions: &[&CalledFunction], today: u64) -> Option<Bytes> {
    let mut changed = false;
    for CalledFunction { interface, name, signature, .. } in functions {
        let same = |entry: &&mut Entry| {
            entry.interface == *interface && entry.function == *name && entry.signature == *signature
        };
        match entries.iter_mut().find(same) {
            Some(entry) if entry.day >= today => {}
            Some(entry) => {
                entry.day = today;
                changed = true;
            }
            None => {
                let (interface, function, signature) = (interface.clone(), name.clone(), signature.clone());
                entries.push(Entry { interface, function, signature, day: today });
                changed = true;
            }
        }
    }
    if !changed {
        return None;
    }
    // The oldest last; entries of the same day keep their order.
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.day));
    entries.truncate(MAX_TYPES);
    loop {
        // Texts and numbers cannot fail to become JSON.
        let value = serde_json::to_vec(&entries).unwrap_or_default();
        if value.len() <= MAX_RECORD_BYTES || entries.pop().is_none() {
            return Some(value.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(signature: &str) -> CalledFunction {
        let (interface, name, signature) = ("n:p/i@1.0.0".to_owned(), "f".to_owned(), signature.to_owned());
        CalledFunction { digest: digest_of(&signature), interface, name, signature }
    }

    fn record(value: Bytes) -> Record {
        Record { value: Some(value), revision: 1 }
    }

    #[test]
    fn what_is_written_is_read_once_and_the_oldest_go_first() {
        let first = function("f: func(a: u64)");
        let one = record(with(Vec::new(), &[&first], 1).unwrap());
        assert_eq!(read(&one), std::slice::from_ref(&first));
        assert_eq!(with(entries(&one), &[&first], 1), None);
        let again = record(with(entries(&one), &[&first], 2).unwrap());
        assert_eq!((read(&again).len(), entries(&again)[0].day), (1, 2));
        let many: Vec<CalledFunction> = (0..MAX_TYPES).map(|n| function(&format!("f: func(a{n}: u64)"))).collect();
        let full = record(with(entries(&one), &many.iter().collect::<Vec<_>>(), 3).unwrap());
        assert_eq!(read(&full).len(), MAX_TYPES);
        assert!(!read(&full).contains(&first));
        let long: Vec<CalledFunction> = (0..4)
            .map(|n| function(&format!("f: func({}: u64)", format!("a{n}").repeat(MAX_RECORD_BYTES / 6))))
            .collect();
        let bounded = with(entries(&full), &long.iter().collect::<Vec<_>>(), 4).unwrap();
        assert!(bounded.len() <= MAX_RECORD_BYTES && !read(&record(bounded)).is_empty());
    }

    #[test]
    fn a_record_of_somebody_else_is_read_as_nothing() {
        for garbage in ["", "{}", "[1]", "[{\"interface\":1}]", "\u{0}"] {
            assert_eq!(read(&record(garbage.to_owned().into())), []);
        }
        assert_eq!(read(&Record { value: None, revision: 0 }), []);
    }
}
