//! Key-value stores: `spin:key-value@3.0.0`, `fermyon:spin/key-value@2.0.0` and `wasi:keyvalue@0.2.0-draft2`, three
//! interfaces to the same store, which is kept in a file, in NATS, in Redis or in MongoDB.
//!
//! A component opens a store by a label that its manifest grants (`key_value_stores`); any other label is
//! `access-denied`, whether such a store exists or not. All interfaces reach the same keys.

mod bucket;
mod commit;
mod conflicts;
mod error;
mod file;
mod grant;
#[cfg(feature = "mongodb")]
mod mongodb;
mod names;
mod nats;
mod redis;
mod spin;
mod spin_2;
mod store;
mod types;
mod wasi;

pub use error::StoreError;
pub use grant::{BINDING, Granted, NotOpened, Stores, open_at};
pub use nats::ELECTION_TIMEOUT;
pub use spin_2::MAX_LISTED_KEYS_BYTES;
pub use store::Store;
pub use types::{
    KEYS_PAGE, MAX_BATCH_BYTES, MAX_BATCH_KEYS, MAX_BUCKET_BYTES, MAX_FILE_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Page,
    SERVER_TIMEOUT, Swap, Version, Versioned,
};

use crate::Ctx;
use souk_manifest::limits::FixedLimit;
use std::sync::Arc;
use wasmtime::component::{Linker, Resource};

souk_manifest::fixed_limits! {
    /// The fixed limits of key-value handles.
    pub(crate) const FIXED_LIMITS = "key-value";

    /// The most stores and compare-and-swap handles that one instance holds open, over all interfaces; Spin's table has
    /// the same size.
    pub const MAX_OPEN_HANDLES: usize = 256, "handles";
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [
        FIXED_LIMITS,
        types::FIXED_LIMITS,
        conflicts::FIXED_LIMITS,
        commit::FIXED_LIMITS,
        spin_2::FIXED_LIMITS,
        file::FIXED_LIMITS,
        redis::FIXED_LIMITS,
        bucket::FIXED_LIMITS,
        nats::FIXED_LIMITS,
        #[cfg(feature = "mongodb")]
        mongodb::FIXED_LIMITS,
    ]
    .concat()
}

/// An open store, as the guest holds it: `store` in Spin's interface, `bucket` in WASI's.
pub struct Handle(pub(crate) Arc<Store>);

/// A compare-and-swap in progress.
pub struct Cas {
    store: Arc<Store>,
    key: String,
    /// The version that the guest has seen last.
    version: Option<Version>,
}

/// Links the interfaces.
fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    spin::add_to_linker(linker)?;
    spin_2::add_to_linker(linker)?;
    wasi::add_to_linker(linker)
}

/// Why a store was not opened.
enum Refusal {
    AccessDenied,
    TooManyOpen,
}

impl Ctx {
    /// Opens the store `label` for the guest.
    fn open_store(&mut self, label: &str) -> wasmtime::Result<Result<Resource<Handle>, Refusal>> {
        let Some(store) = self.grants.key_value.get(label).cloned() else {
            let entry = format!("it to key_value_stores of [component.{}]", self.grants.component);
            self.grants.denials.refused(&format!("the key-value store {label:?}"), &entry, &self.call.trace);
            return Ok(Err(Refusal::AccessDenied));
        };
        if self.key_value_open >= MAX_OPEN_HANDLES {
            return Ok(Err(Refusal::TooManyOpen));
        }
        let handle = self.table.push(Handle(store))?;
        self.key_value_open += 1;
        Ok(Ok(handle))
    }

    /// The store behind a guest's handle.
    fn store(&self, handle: &Resource<Handle>) -> wasmtime::Result<Arc<Store>> {
        Ok(self.table.get(handle)?.0.within(&self.call))
    }

    /// Closes a guest's handle.
    fn close_store(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        self.key_value_open = self.key_value_open.saturating_sub(1);
        Ok(())
    }

    /// The text of `other(..)` for a failed operation; what SQLite or the server said goes to the log.
    fn store_fault(&self, error: &StoreError) -> String {
        self.fault().text(error)
    }

    /// A reporter for failed operations of this call; it also works after the call has ended.
    fn fault(&self) -> Fault {
        Fault { component: self.grants.component.clone(), trace: self.call.trace.clone() }
    }
}

/// The component and call of a failed operation, for the log.
struct Fault {
    component: Arc<str>,
    trace: Arc<str>,
}

impl Fault {
    /// The text of `other(..)` for a failed operation; what SQLite or the server said goes to the log.
    fn text(&self, error: &StoreError) -> String {
        if let Some(cause) = error.cause() {
            tracing::error!(component = %self.component, trace = %self.trace, cause, "{error}");
        }
        error.to_string()
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod kinds;

#[cfg(test)]
mod server_tests;

#[cfg(feature = "mongodb")]
#[cfg(test)]
mod mongodb_tests;
