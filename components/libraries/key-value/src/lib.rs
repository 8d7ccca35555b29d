//! A component's key-value stores, with synchronous functions, so that a `func` of a contract can use them.
//!
//! A component opens a store by a label that the manifest grants it in `key_value_stores`. spin-sdk's `key_value` has
//! `async` functions, for which a `func` cannot wait. This library uses `wasi:keyvalue` instead, which can also change
//! a value only if nobody else has changed it.
//!
//! ```no_run
//! use souk_key_value::Store;
//!
//! # fn main() -> Result<(), souk_key_value::Error> {
//! let store = Store::open("default")?;
//! store.set("colour", b"red")?;
//! assert_eq!(store.get("colour")?, Some(b"red".to_vec()));
//! assert_eq!(store.increment("visits", 1)?, 1);
//! # Ok(())
//! # }
//! ```

mod bindings;

use bindings::atomics::{self, Cas, CasError};
use bindings::store::{self, Bucket};
use std::fmt;

/// How often [`Store::update`] tries when others change the same value.
const MAX_TRIES: u32 = 100;

/// Why a store refused or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The manifest does not grant the store to the component, or there is no store with this label.
    NotGranted,
    /// The store cannot answer now, as the text says; the same call may succeed later.
    Unavailable(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotGranted => f.write_str("the store is not in the component's `key_value_stores`"),
            Error::Unavailable(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        match error {
            store::Error::NoSuchStore | store::Error::AccessDenied => Error::NotGranted,
            store::Error::Other(reason) => Error::Unavailable(reason),
        }
    }
}

/// A store that is granted to the component.
#[derive(Debug)]
pub struct Store(Bucket);

impl Store {
    /// Opens the store with this label.
    ///
    /// # Errors
    /// [`Error::NotGranted`] when the label is not in `key_value_stores`.
    pub fn open(label: &str) -> Result<Store, Error> {
        Ok(Store(store::open(label)?))
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key)?)
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// When the store cannot answer, or the value is too large for it.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        Ok(self.0.set(key, value)?)
    }

    /// Deletes a key, if it exists.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        Ok(self.0.delete(key)?)
    }

    /// Whether a key exists.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn exists(&self, key: &str) -> Result<bool, Error> {
        Ok(self.0.exists(key)?)
    }

    /// Some of the keys, and the cursor for the next ones; begin with `None`.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn keys(&self, cursor: Option<&str>) -> Result<(Vec<String>, Option<String>), Error> {
        let found = self.0.list_keys(cursor)?;
        Ok((found.keys, found.cursor))
    }

    /// Adds `delta` to a number and returns the sum; a missing key counts as 0.
    ///
    /// # Errors
    /// When the store cannot answer, or the value is not a number.
    pub fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        Ok(atomics::increment(&self.0, key, delta)?)
    }

    /// Changes a value with a function, which runs again if somebody else has changed the value meanwhile. Returns the
    /// stored value.
    ///
    /// # Errors
    /// When the store cannot answer, or others keep changing the value.
    pub fn update(&self, key: &str, mut change: impl FnMut(Option<Vec<u8>>) -> Vec<u8>) -> Result<Vec<u8>, Error> {
        let mut cas = Cas::new(&self.0, key)?;
        for _ in 0..MAX_TRIES {
            let value = change(cas.current()?);
            match atomics::swap(cas, &value) {
                Ok(()) => return Ok(value),
                Err(CasError::CasFailed(next)) => cas = next,
                Err(CasError::StoreError(error)) => return Err(error.into()),
            }
        }
        Err(Error::Unavailable("others keep changing the same value".to_owned()))
    }
}
