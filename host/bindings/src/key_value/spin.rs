//! `spin:key-value@3.0.0`: every function is async in the contract, so the guest goes on while the disk is written.

use super::{Handle, Page, Refusal, Store, StoreError};
use crate::Ctx;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, Destination, FutureReader, HasSelf, Linker, Resource, StreamProducer, StreamReader, StreamResult,
    VecBuffer,
};

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

/// The outcome of an operation in the interface's terms.
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
        answer(guest, store(guest, &handle)?.get(&key).await)
    }

    async fn set(guest: &Guest, handle: Resource<Handle>, key: String, value: Vec<u8>) -> Answer<()> {
        answer(guest, store(guest, &handle)?.set(key, value).await)
    }

    async fn delete(guest: &Guest, handle: Resource<Handle>, key: String) -> Answer<()> {
        answer(guest, store(guest, &handle)?.delete_many(vec![key]).await)
    }

    async fn exists(guest: &Guest, handle: Resource<Handle>, key: String) -> Answer<bool> {
        answer(guest, store(guest, &handle)?.exists(&key).await)
    }

    async fn get_keys(
        guest: &Guest,
        handle: Resource<Handle>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), wit::Error>>)> {
        let store = store(guest, &handle)?;
        guest.with(|mut access| {
            let (outcome, end) = oneshot::channel();
            let keys = StreamReader::new(
                &mut access,
                Keys { page: fetch(store.clone(), None), store, outcome: Some(outcome) },
            )?;
            // A guest that drops the stream early drops the sender with it: no error then.
            let end = async move { wasmtime::error::Ok(end.await.unwrap_or(Ok(()))) };
            Ok((keys, FutureReader::new(&mut access, end)?))
        })
    }
}

/// A page that is being read.
type Fetch = Pin<Box<dyn Future<Output = Result<Page, StoreError>> + Send>>;

fn fetch(store: Arc<Store>, from: Option<String>) -> Fetch {
    Box::pin(async move { store.keys(from.as_deref()).await })
}

/// Lists the keys of a store a page at a time, as the guest reads them.
struct Keys {
    store: Arc<Store>,
    page: Fetch,
    outcome: Option<oneshot::Sender<Result<(), wit::Error>>>,
}

impl Keys {
    fn finish(&mut self, outcome: Result<(), wit::Error>) -> StreamResult {
        if let Some(sender) = self.outcome.take() {
            // Nobody listens when the guest dropped the future; that is its right.
            let _ = sender.send(outcome);
        }
        StreamResult::Dropped
    }
}

impl StreamProducer<Ctx> for Keys {
    type Item = String;
    type Buffer = VecBuffer<String>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut guest: StoreContextMut<'a, Ctx>,
        mut destination: Destination<'a, String, VecBuffer<String>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // A read of length zero asks whether keys are ready; the next read answers it.
        if destination.remaining(&mut guest) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        // One page is bounded in keys and in bytes; that of a file is read where it is polled.
        Poll::Ready(Ok(match self.page.as_mut().poll(cx) {
            Poll::Pending if finish => StreamResult::Cancelled,
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(page)) => {
                destination.set_buffer(page.keys.into());
                if page.next.is_none() {
                    self.finish(Ok(()))
                } else {
                    self.page = fetch(self.store.clone(), page.next);
                    StreamResult::Completed
                }
            }
            Poll::Ready(Err(error)) => {
                let text = guest.data().store_fault(&error);
                self.finish(Err(wit::Error::Other(text)))
            }
        }))
    }
}
