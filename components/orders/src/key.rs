//! Idempotency keys: a client that does not know whether its order was stored sends the same request again with the
//! same key, and gets the answer that it missed.
//!
//! A key belongs to one user (under open access it has no owner, so all callers share it) and expires after 24 hours. A
//! hash of the ordered items is stored with it: the same key with other items is a client's mistake, and refused. A key
//! is stored in the same transaction or statement as its order, so of two concurrent calls with one key exactly one
//! stores an order.

use crate::bindings::orders::{Error, NewItem};
use crate::sql;
use sha2::{Digest, Sha256};
use souk_database::{Database, Transaction, Value};

/// The longest key, in characters.
const MAX_CHARS: usize = 255;

/// A key, with its owner and the hash of the ordered items.
#[derive(Debug)]
pub(crate) struct Key {
    owner: String,
    text: String,
    hash: Vec<u8>,
}

/// The earlier use of a key.
#[derive(Debug)]
pub(crate) struct Used {
    /// The order that was created with it.
    pub order_id: String,
    /// Why that order's bill was refused, if it was.
    pub refused: Option<String>,
}

impl Key {
    /// The key `text` of `owner` for an order of `items`.
    ///
    /// # Errors
    /// `invalid` when the text cannot be a key.
    pub(crate) fn new(owner: Option<&str>, text: String, items: &[NewItem]) -> Result<Key, Error> {
        check(&text)?;
        Ok(Key { owner: owner.unwrap_or_default().to_owned(), text, hash: hash(items) })
    }

    /// The order for which the key was used in the last 24 hours.
    ///
    /// # Errors
    /// `key-reused` when that order had other items.
    pub(crate) fn find(&self, database: &Database) -> Result<Option<Used>, Error> {
        let Some(mut row) = database.query(sql::FIND_KEY, &self.id())?.next() else { return Ok(None) };
        let (hash, order_id, refused) = (row.blob()?, row.text()?, row.optional_text()?);
        if hash == self.hash { Ok(Some(Used { order_id, refused })) } else { Err(Error::KeyReused) }
    }

    /// Claims the key for an order that the transaction is about to store; false when another order has it.
    pub(crate) fn claim(&self, transaction: &Transaction<'_>, order_id: &str) -> Result<bool, souk_database::Error> {
        let [owner, text, hash] = self.columns();
        let parameters = [owner, text, hash, order_id.into()];
        if transaction.query(sql::TAKE_KEY, &parameters)?.next().is_none() {
            return Ok(false);
        }
        transaction.query(sql::PURGE_KEYS, &[])?;
        Ok(true)
    }

    /// Stores that the order's bill was refused, so that the key gets the same answer again.
    pub(crate) fn refuse(
        &self,
        transaction: &Transaction<'_>,
        order_id: &str,
        why: &str,
    ) -> Result<(), souk_database::Error> {
        let [owner, text] = self.id();
        transaction.query(sql::REFUSE_KEY, &[owner, text, order_id.into(), why.into()]).map(drop)
    }

    /// Owner, text and hash: the stored columns of the key.
    pub(crate) fn columns(&self) -> [Value; 3] {
        let [owner, text] = self.id();
        [owner, text, Value::Blob(self.hash.clone())]
    }

    fn id(&self) -> [Value; 2] {
        [Value::text(self.owner.as_str()), Value::text(self.text.as_str())]
    }
}

/// Refuses a text that cannot be a key.
///
/// # Errors
/// `invalid` when it cannot.
pub(crate) fn check(text: &str) -> Result<(), Error> {
    if (1..=MAX_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::Invalid(format!("an idempotency key must be 1 to {MAX_CHARS} visible ASCII characters")))
}

/// SHA-256 of the items in their given order: product and quantity of each as bytes of fixed width, so that no two
/// lists give the same input.
fn hash(items: &[NewItem]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for NewItem { product_id, quantity } in items {
        hash.update(product_id.to_be_bytes());
        hash.update(quantity.to_be_bytes());
    }
    hash.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(lines: &[(u64, u32)]) -> Vec<NewItem> {
        lines.iter().map(|(product_id, quantity)| NewItem { product_id: *product_id, quantity: *quantity }).collect()
    }

    #[test]
    fn a_key_is_short_visible_ascii() {
        for good in ["a", "0f8f1b5e-1e2d-4c3b", "!~", &"k".repeat(255)] {
            assert!(Key::new(None, good.to_owned(), &[]).is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "é", "a\n", "\u{7f}", &"k".repeat(256)] {
            assert!(matches!(Key::new(None, bad.to_owned(), &[]), Err(Error::Invalid(_))), "{bad:?}");
        }
    }

    #[test]
    fn the_hash_tells_orders_apart() {
        let of = |lines: &[(u64, u32)]| hash(&items(lines));
        assert_eq!(of(&[(1, 2), (3, 4)]), of(&[(1, 2), (3, 4)]));
        for other in [&[(3, 4), (1, 2)][..], &[(1, 2)], &[(1, 2), (3, 5)], &[(2, 1), (3, 4)], &[(1, 2), (3, 4), (3, 4)]]
        {
            assert_ne!(of(&[(1, 2), (3, 4)]), of(other));
        }
    }
}
