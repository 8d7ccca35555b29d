//! `wasi:keyvalue@0.2.0-draft2` (the draft of 2024-10-17 that Spin ships): store, batch and atomics.
//!
//! The contract's functions are synchronous, so the guest's task waits, but the host's thread does not. More than the
//! draft requires, `set-many` and `delete-many` are all or nothing in a file and in Redis.

use super::{Cas, Handle, MAX_OPEN_HANDLES, Refusal, StoreError, Swap};
use crate::Ctx;
use wasmtime::component::{HasSelf, Linker, Resource};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/wasi-keyvalue-2024-10-17",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::key_value::Handle,
            "wasi:keyvalue/atomics.cas": crate::key_value::Cas,
        },
    });
}
pub(super) use generated::wasi::keyvalue::{atomics, batch, store as wit};

pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    batch::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    atomics::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)
}

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl Ctx {
    /// The outcome of an operation as the interface's type.
    fn bucket_answer<T>(&self, outcome: Result<T, StoreError>) -> Answer<T> {
        Ok(outcome.map_err(|error| wit::Error::Other(self.store_fault(&error))))
    }

    fn push_cas(&mut self, cas: Cas) -> Answer<Resource<Cas>> {
        if self.key_value_open >= MAX_OPEN_HANDLES {
            return Ok(Err(too_many_open()));
        }
        let handle = self.table.push(cas)?;
        self.key_value_open += 1;
        Ok(Ok(handle))
    }

    fn delete_cas(&mut self, cas: Resource<Cas>) -> wasmtime::Result<Cas> {
        let cas = self.table.delete(cas)?;
        self.key_value_open = self.key_value_open.saturating_sub(1);
        Ok(cas)
    }
}

/// This interface has no `store-table-full`.
fn too_many_open() -> wit::Error {
    wit::Error::Other(format!("more than {MAX_OPEN_HANDLES} buckets and CAS handles are open; drop some"))
}

impl wit::Host for Ctx {
    async fn open(&mut self, identifier: String) -> Answer<Resource<Handle>> {
        Ok(self.open_store(&identifier)?.map_err(|refusal| match refusal {
            Refusal::AccessDenied => wit::Error::AccessDenied,
            Refusal::TooManyOpen => too_many_open(),
        }))
    }
}

impl wit::HostBucket for Ctx {
    async fn get(&mut self, bucket: Resource<Handle>, key: String) -> Answer<Option<Vec<u8>>> {
        let outcome = self.store(&bucket)?.get(&key).await;
        self.bucket_answer(outcome)
    }

    async fn set(&mut self, bucket: Resource<Handle>, key: String, value: Vec<u8>) -> Answer<()> {
        let outcome = self.store(&bucket)?.set(key, value).await;
        self.bucket_answer(outcome)
    }

    async fn delete(&mut self, bucket: Resource<Handle>, key: String) -> Answer<()> {
        let outcome = self.store(&bucket)?.delete_many(vec![key]).await;
        self.bucket_answer(outcome)
    }

    async fn exists(&mut self, bucket: Resource<Handle>, key: String) -> Answer<bool> {
        let outcome = self.store(&bucket)?.exists(&key).await;
        self.bucket_answer(outcome)
    }

    async fn list_keys(&mut self, bucket: Resource<Handle>, cursor: Option<String>) -> Answer<wit::KeyResponse> {
        let outcome = self.store(&bucket)?.keys(cursor.as_deref()).await;
        self.bucket_answer(outcome.map(|page| wit::KeyResponse { keys: page.keys, cursor: page.next }))
    }

    async fn drop(&mut self, bucket: Resource<Handle>) -> wasmtime::Result<()> {
        self.close_store(bucket)
    }
}

impl batch::Host for Ctx {
    async fn get_many(
        &mut self,
        bucket: Resource<Handle>,
        keys: Vec<String>,
    ) -> Answer<Vec<(String, Option<Vec<u8>>)>> {
        let outcome = self.store(&bucket)?.get_many(keys).await;
        self.bucket_answer(outcome)
    }

    async fn set_many(&mut self, bucket: Resource<Handle>, entries: Vec<(String, Vec<u8>)>) -> Answer<()> {
        let outcome = self.store(&bucket)?.set_many(entries).await;
        self.bucket_answer(outcome)
    }

    async fn delete_many(&mut self, bucket: Resource<Handle>, keys: Vec<String>) -> Answer<()> {
        let outcome = self.store(&bucket)?.delete_many(keys).await;
        self.bucket_answer(outcome)
    }
}

impl atomics::Host for Ctx {
    async fn increment(&mut self, bucket: Resource<Handle>, key: String, delta: i64) -> Answer<i64> {
        let outcome = self.store(&bucket)?.increment(key, delta).await;
        self.bucket_answer(outcome)
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let cas = self.delete_cas(cas)?;
        let failure = match cas.store.swap(cas.key.clone(), cas.version, value).await {
            Ok(Swap::Done) => return Ok(Ok(())),
            // The new handle has the version of the write that won, as the contract demands, so that a retry can
            // succeed.
            Ok(Swap::Stale(version)) => match self.push_cas(Cas { version, ..cas })? {
                Ok(renewed) => atomics::CasError::CasFailed(renewed),
                Err(error) => atomics::CasError::StoreError(error),
            },
            Err(error) => atomics::CasError::StoreError(wit::Error::Other(self.store_fault(&error))),
        };
        Ok(Err(failure))
    }
}

impl atomics::HostCas for Ctx {
    async fn new(&mut self, bucket: Resource<Handle>, key: String) -> Answer<Resource<Cas>> {
        let store = self.store(&bucket)?;
        match store.version(&key).await {
            Ok(version) => self.push_cas(Cas { store, key, version }),
            Err(error) => self.bucket_answer(Err(error)),
        }
    }

    /// Reads the current value and moves the handle to its version, because `swap` must protect what the guest computes
    /// from this value.
    async fn current(&mut self, cas: Resource<Cas>) -> Answer<Option<Vec<u8>>> {
        let handle = self.table.get_mut(&cas)?;
        let outcome = handle.store.get_versioned(&handle.key).await.map(|found| {
            let (value, version) = found.unzip();
            handle.version = version;
            value
        });
        self.bucket_answer(outcome)
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.delete_cas(cas).map(drop)
    }
}
