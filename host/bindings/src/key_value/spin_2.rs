//! `fermyon:spin/key-value@2.0.0`, which SDKs for WASI 0.2 import: the stores of `spin:key-value@3.0.0`, with
//! synchronous functions.
//!
//! `get-keys` returns one list, so a store with more keys than [`MAX_LISTED_KEYS_BYTES`] is refused with a pointer to
//! the interfaces that list in parts.

use super::{Handle, Refusal, StoreError};
use crate::Ctx;
use wasmtime::component::{HasSelf, Linker, Resource};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/fermyon-spin@2.0.0",
        inline: "package souk:bindings; world key-value { import fermyon:spin/key-value@2.0.0; }",
        world: "souk:bindings/key-value",
        imports: { default: async | trappable },
        with: { "fermyon:spin/key-value.store": crate::key_value::Handle },
    });
}
pub(super) use generated::fermyon::spin::key_value as wit;

souk_manifest::fixed_limits! {
    /// The fixed limits of lists of keys.
    pub(crate) const FIXED_LIMITS = "key-value";

    /// The most bytes that all keys in one answer of `get-keys` have together: they are in the host's memory at the
    /// same time.
    pub const MAX_LISTED_KEYS_BYTES: usize = 4 << 20, bytes;
}

pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)
}

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl Ctx {
    /// The outcome of an operation as the interface's type.
    fn store_2_answer<T>(&self, outcome: Result<T, StoreError>) -> Answer<T> {
        Ok(outcome.map_err(|error| wit::Error::Other(self.store_fault(&error))))
    }
}

impl wit::Host for Ctx {}

impl wit::HostStore for Ctx {
    async fn open(&mut self, label: String) -> Answer<Resource<Handle>> {
        Ok(self.open_store(&label)?.map_err(|refusal| match refusal {
            Refusal::AccessDenied => wit::Error::AccessDenied,
            Refusal::TooManyOpen => wit::Error::StoreTableFull,
        }))
    }

    async fn get(&mut self, handle: Resource<Handle>, key: String) -> Answer<Option<Vec<u8>>> {
        let outcome = self.store(&handle)?.get(&key).await;
        self.store_2_answer(outcome)
    }

    async fn set(&mut self, handle: Resource<Handle>, key: String, value: Vec<u8>) -> Answer<()> {
        let outcome = self.store(&handle)?.set(key, value).await;
        self.store_2_answer(outcome)
    }

    async fn delete(&mut self, handle: Resource<Handle>, key: String) -> Answer<()> {
        let outcome = self.store(&handle)?.delete_many(vec![key]).await;
        self.store_2_answer(outcome)
    }

    async fn exists(&mut self, handle: Resource<Handle>, key: String) -> Answer<bool> {
        let outcome = self.store(&handle)?.exists(&key).await;
        self.store_2_answer(outcome)
    }

    async fn get_keys(&mut self, handle: Resource<Handle>) -> Answer<Vec<String>> {
        let store = self.store(&handle)?;
        let (mut keys, mut bytes, mut from) = (Vec::new(), 0_usize, None);
        loop {
            let page = match store.keys(from.as_deref()).await {
                Ok(page) => page,
                Err(error) => return self.store_2_answer(Err(error)),
            };
            bytes = page.keys.iter().fold(bytes, |sum, key| sum.saturating_add(key.len()));
            if bytes > MAX_LISTED_KEYS_BYTES {
                return Ok(Err(wit::Error::Other(format!(
                    "the store's keys have more than {MAX_LISTED_KEYS_BYTES} bytes; list them in parts, with \
                     spin:key-value@3 or wasi:keyvalue"
                ))));
            }
            keys.extend(page.keys);
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(Ok(keys)),
            }
        }
    }

    async fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.close_store(handle)
    }
}
