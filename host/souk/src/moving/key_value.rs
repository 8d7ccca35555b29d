//! Copies a key-value store from one place to another, and compares both.
//!
//! Values are copied unchanged. A number of `increment` is the same digits in every kind of store, so it remains one.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use souk_bindings::key_value::{MAX_BATCH_BYTES, MAX_VALUE_BYTES, Store, StoreError};
use std::collections::HashSet;

/// How many values fit into one batch, whatever their sizes.
const BATCH: usize = MAX_BATCH_BYTES / MAX_VALUE_BYTES;

souk_manifest::fixed_limits! {
    /// The fixed limits of copies of key-value stores.
    pub(super) const FIXED_LIMITS = "moving";

    /// The most batches of values of a key-value store that are copied at one time.
    const MAX_CONCURRENT_BATCHES: usize = 8, "batches";
}

/// Why a store was not copied completely. What was already copied stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// Reading failed.
    #[error("the source store: {0}\n  fix: start its server, and run the same copy again: it continues")]
    From(#[source] StoreError),
    /// Writing failed.
    #[error("the target store: {0}\n  fix: start its server, with enough space, and run the same copy again")]
    To(#[source] StoreError),
    /// The target is in use.
    #[error(
        "the target store has keys, but no copy into it was begun from here\n  fix: name an empty store; this one has \
         other data"
    )]
    NotEmpty,
    /// The comparison failed.
    #[error(
        "the stores differ after the copy: {from} keys in the source, {to} in the target, or other values\n  fix: stop \
         everything that writes to either, empty the target, and copy again"
    )]
    Differs {
        /// Keys of the source.
        from: u64,
        /// Keys of the target.
        to: u64,
    },
}

/// How many keys there are, and a checksum that does not depend on their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sum {
    keys: u64,
    digest: (u128, u128),
}

impl Sum {
    fn add(&mut self, key: &str, value: &[u8]) {
        let mut entry = Sha256::new();
        entry.update(key.len().to_le_bytes());
        entry.update(key);
        entry.update(value);
        let digest = entry.finalize();
        let (high, low) = digest.split_at(16);
        let number = |half: &[u8]| half.try_into().map_or(0, u128::from_le_bytes);
        self.digest.0 = self.digest.0.wrapping_add(number(high));
        self.digest.1 = self.digest.1.wrapping_add(number(low));
        self.keys += 1;
    }
}

/// Refuses a store that has keys.
pub(crate) async fn must_be_empty(store: &Store) -> Result<(), CopyError> {
    match store.keys(None).await.map_err(CopyError::To)?.keys.is_empty() {
        true => Ok(()),
        false => Err(CopyError::NotEmpty),
    }
}

/// Copies everything from `from` to `to`, which must be empty unless this copy was begun before, and compares both.
/// Returns the number of keys; `progress` is called about every thousand keys.
pub(crate) async fn copy(from: &Store, to: &Store, resumed: bool, progress: impl Fn(u64)) -> Result<u64, CopyError> {
    if !resumed {
        must_be_empty(to).await?;
    }
    let (mut sum, mut seen, mut page) = (Sum::default(), HashSet::new(), None);
    loop {
        let found = from.keys(page.as_deref()).await.map_err(CopyError::From)?;
        // A listing may contain a key twice.
        let keys: Vec<String> = found.keys.into_iter().filter(|key| seen.insert(mark(key))).collect();
        let mut batches = Vec::new();
        for keys in keys.chunks(BATCH) {
            batches.push(moved(from, to, keys.to_vec()));
        }
        let batches: Vec<_> = stream::iter(batches).buffered(MAX_CONCURRENT_BATCHES).try_collect().await?;
        for (key, value) in batches.iter().flatten() {
            sum.add(key, value);
        }
        progress(sum.keys);
        page = found.next;
        if page.is_none() {
            break;
        }
    }
    let there = checksum(to).await.map_err(CopyError::To)?;
    if sum != there {
        return Err(CopyError::Differs { from: sum.keys, to: there.keys });
    }
    Ok(sum.keys)
}

/// Copies these keys and returns them with their values. Keys that exist in the target are not written again.
async fn moved(from: &Store, to: &Store, keys: Vec<String>) -> Result<Vec<(String, Vec<u8>)>, CopyError> {
    let there = to.get_many(keys.clone()).await.map_err(CopyError::To)?;
    let entries = from.get_many(keys).await.map_err(CopyError::From)?;
    let entries: Vec<(String, Vec<u8>)> = entries.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let known: HashSet<(&str, &[u8])> =
        there.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?))).collect();
    let new = entries.iter().filter(|(key, value)| !known.contains(&(key.as_str(), value.as_slice())));
    let new: Vec<_> = new.cloned().collect();
    if !new.is_empty() {
        to.set_many(new).await.map_err(CopyError::To)?;
    }
    Ok(entries)
}

/// The checksum of a whole store.
async fn checksum(store: &Store) -> Result<Sum, StoreError> {
    let (mut sum, mut seen, mut page) = (Sum::default(), HashSet::new(), None);
    loop {
        let found = store.keys(page.as_deref()).await?;
        let keys: Vec<String> = found.keys.into_iter().filter(|key| seen.insert(mark(key))).collect();
        let mut batches = Vec::new();
        for keys in keys.chunks(BATCH) {
            batches.push(store.get_many(keys.to_vec()));
        }
        let batches: Vec<_> = stream::iter(batches).buffered(MAX_CONCURRENT_BATCHES).try_collect().await?;
        for (key, value) in batches.into_iter().flatten() {
            sum.add(&key, &value.unwrap_or_default());
        }
        page = found.next;
        if page.is_none() {
            return Ok(sum);
        }
    }
}

/// A digest of sixteen bytes for a key: a store may have millions of keys.
fn mark(key: &str) -> [u8; 16] {
    let digest = Sha256::digest(key);
    std::array::from_fn(|n| digest.get(n).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    async fn filled(path: &Path, count: usize) -> Store {
        let store = Store::open(path, "one").unwrap();
        for chunk in (0..count).collect::<Vec<_>>().chunks(500) {
            store
                .set_many(chunk.iter().map(|n| (format!("k{n}"), n.to_string().into_bytes())).collect())
                .await
                .unwrap();
        }
        store
    }

    #[tokio::test]
    async fn a_copy_is_compared_and_one_that_has_broken_off_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let from = filled(&dir.path().join("from.db"), 1200).await;
        from.set("large".into(), vec![7; MAX_VALUE_BYTES]).await.unwrap();
        let to = filled(&dir.path().join("to.db"), 0).await;
        must_be_empty(&to).await.unwrap();
        assert_eq!(copy(&from, &to, false, |_| {}).await.unwrap(), 1201);
        assert!(matches!(must_be_empty(&to).await, Err(CopyError::NotEmpty)));
        assert_eq!(to.get("k1199").await.unwrap(), Some(b"1199".to_vec()));

        assert!(matches!(copy(&from, &to, false, |_| {}).await, Err(CopyError::NotEmpty)));
        to.delete_many(vec!["k7".into()]).await.unwrap();
        to.set("k8".into(), b"half".to_vec()).await.unwrap();
        assert_eq!(copy(&from, &to, true, |_| {}).await.unwrap(), 1201);
        assert_eq!(to.get("k8").await.unwrap(), Some(b"8".to_vec()));

        to.set("more".into(), vec![]).await.unwrap();
        let differs = copy(&from, &to, true, |_| {}).await.unwrap_err();
        assert!(matches!(differs, CopyError::Differs { from: 1201, to: 1202 }), "{differs}");
    }
}
