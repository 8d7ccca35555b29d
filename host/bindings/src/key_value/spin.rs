//! `spin:key-value@3.0.0`: every function is async in the contract, so the guest can go on while the host writes to the
//! disk.

use super::{Fault, Handle, Page, Refusal, Store, StoreError};
use crate::pending::{Pending, PendingCall};
use crate::producer::{Batch, Producer, Source};
use crate::{Ctx, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;
use wasmtime::component::{Accessor, FutureReader, HasSelf, Linker, Resource, StreamReader};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/spin-key-value@3.0.0",
        inline: "package souk:bindings; world key-value { import spin:key-value/key-value@3.0.0; }",
        world: "souk:bindings/key-value",
        imports: { default: trappable },
        with: { "spin:key-value/key-value.store": crate::key_value::Handle },
    });
}
pub(super) use generated::spin::key_value::key_value as wit;

pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)
}

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;
type Guest = Accessor<Ctx, HasSelf<Ctx>>;

/// The store behind `handle`.
fn store(guest: &Guest, handle: &Resource<Handle>) -> wasmtime::Result<Arc<Store>> {
    guest.with(|mut access| access.get().store(handle))
}

/// The outcome of an operation as the interface's type.
fn answer<T>(guest: &Guest, outcome: Result<T, StoreError>) -> Answer<T> {
    Ok(outcome.map_err(|error| wit::Error::Other(guest.with(|mut access| access.get().store_fault(&error)))))
}

impl wit::Host for Ctx {}

impl wit::HostStore for Ctx {
    fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.close_store(handle)
    }
}

impl wit::HostStoreWithStore<Ctx> for HasSelf<Ctx> {
    async fn open(guest: &Guest, label: String) -> Answer<Resource<Handle>> {
        let opened = guest.with(|mut access| access.get().open_store(&label))?;
        Ok(opened.map_err(|refusal| match refusal {
            Refusal::AccessDenied => wit::Error::AccessDenied,
            Refusal::TooManyOpen => wit::Error::StoreTableFull,
        }))
    }

    async fn get(guest: &Guest, handle: Resource<Handle>, key: String) -> Answer<Option<Vec<u8>>> {
        let _call = pending::begin(guest, key.len())?;
        answer(guest, store(guest, &handle)?.get(&key).await)
    }

    async fn set(guest: &Guest, handle: Resource<Handle>, key: String, value: Vec<u8>) -> Answer<()> {
        let _call = pending::begin(guest, key.len() + value.len())?;
        answer(guest, store(guest, &handle)?.set(key, value).await)
    }

    async fn delete(guest: &Guest, handle: Resource<Handle>, key: String) -> Answer<()> {
        let _call = pending::begin(guest, key.len())?;
        answer(guest, store(guest, &handle)?.delete_many(vec![key]).await)
    }

    async fn exists(guest: &Guest, handle: Resource<Handle>, key: String) -> Answer<bool> {
        let _call = pending::begin(guest, key.len())?;
        answer(guest, store(guest, &handle)?.exists(&key).await)
    }

    async fn get_keys(
        guest: &Guest,
        handle: Resource<Handle>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), wit::Error>>)> {
        let store = store(guest, &handle)?;
        guest.with(|mut access| {
            let (outcome, end) = oneshot::channel();
            let (fault, pending) = (access.get().fault(), access.get().pending.clone());
            let keys = StreamReader::new(&mut access, Producer::new(Keys::of(store, fault, pending), Some(outcome)))?;
            // A guest that drops the stream early drops the sender with it: no error then.
            let end = async move { wasmtime::error::Ok(end.await.unwrap_or(Ok(()))) };
            Ok((keys, FutureReader::new(&mut access, end)?))
        })
    }
}

/// A page whose read is in progress.
type Fetch = Pin<Box<dyn Future<Output = Result<Page, StoreError>> + Send>>;

/// Lists the keys of a store page by page, as the guest reads them. A page has a limited number of keys and bytes, which
/// count as memory of the instance until the guest asks for the next one; a page of a file is read directly in
/// `poll_batch`.
struct Keys {
    store: Arc<Store>,
    fault: Fault,
    pending: Pending,
    /// What the last page counts for.
    held: Option<PendingCall>,
    /// `None` after the last page.
    page: Option<Fetch>,
}

impl Keys {
    fn of(store: Arc<Store>, fault: Fault, pending: Pending) -> Self {
        let mut keys = Keys { store, fault, pending, held: None, page: None };
        keys.fetch(None);
        keys
    }

    fn fetch(&mut self, from: Option<String>) {
        let store = self.store.clone();
        self.page = Some(Box::pin(async move { store.keys(from.as_deref()).await }));
    }
}

impl Source for Keys {
    type Item = String;
    type Error = wit::Error;

    fn poll_batch(&mut self, cx: &mut Context<'_>, _wanted: usize) -> Poll<Batch<Self>> {
        let Some(page) = &mut self.page else {
            return Poll::Ready(None);
        };
        let page = ready!(page.as_mut().poll(cx));
        (self.page, self.held) = (None, None);
        Poll::Ready(Some(match page {
            Ok(page) => {
                match self.pending.begin(pending::texts(&page.keys)) {
                    Ok(held) => self.held = Some(held),
                    Err(error) => return Poll::Ready(Some(Err(wit::Error::Other(error.to_string())))),
                }
                if page.next.is_some() {
                    self.fetch(page.next);
                }
                Ok(page.keys)
            }
            Err(error) => Err(wit::Error::Other(self.fault.text(&error))),
        }))
    }

    fn is_done(&self) -> bool {
        self.page.is_none()
    }
}
