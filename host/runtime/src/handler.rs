//! How an instance handles one HTTP request: through WASI 0.3 (`wasi:http/handler`), or through WASI 0.2
//! (`wasi:http/incoming-handler`), which most components for other hosts use.
//!
//! Both take the same request, send the response's head to the same channel, and write its body while the reader of the
//! response drives the call. An instance that has handled a WASI 0.2 request is not reused: engines of other languages
//! keep state from one request to the next, and a reused JavaScript instance took two seconds for a request.

use super::panic;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::response::Parts;
use http::uri::Scheme;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body;
use souk_bindings::framing::{self, Count, Misframed};
use souk_bindings::trace::SharedRedaction;
use souk_bindings::{Ctx, Exception};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::oneshot;
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{AsContextMut as _, Store};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme as Scheme02;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyIndices};
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::{Service, ServiceIndices};
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView};

/// A response with the count of its body, or why there is none.
pub(super) type Head = Result<(http::Response<WasiBody>, Count), Refusal>;

/// Why a guest's answer is not a valid response.
pub(super) enum Refusal {
    /// The guest returned this error code.
    Code(Error),
    /// Its head cannot be sent.
    Head(Misframed),
}

/// The progress of a call, shared with the reader of its response.
pub(super) struct CallProgress {
    /// The component that answers, for the log.
    pub(super) component: Arc<str>,
    /// The number of its version.
    pub(super) version: u64,
    pub(super) trace: Arc<str>,
    /// The values that the log leaves out of the component's texts.
    pub(super) hidden: SharedRedaction,
    /// Whether the response's head was sent.
    pub(super) answered: AtomicBool,
    /// Whether the call was ended before the guest was done.
    pub(super) aborted: AtomicBool,
}

/// The handler's indices in a component.
#[derive(Clone)]
pub(super) enum HandlerIndices {
    /// `wasi:http/handler@0.3`.
    Wasi03(ServiceIndices),
    /// `wasi:http/incoming-handler@0.2`.
    Wasi02(ProxyIndices),
}

impl HandlerIndices {
    /// The handler of WASI 0.3.
    pub(super) fn wasi_0_3(pre: &InstancePre<Ctx>) -> wasmtime::Result<Self> {
        ServiceIndices::new(pre).map(HandlerIndices::Wasi03)
    }

    /// The handler of WASI 0.2.
    pub(super) fn wasi_0_2(pre: &InstancePre<Ctx>) -> wasmtime::Result<Self> {
        ProxyIndices::new(pre).map(HandlerIndices::Wasi02)
    }

    /// The handler of an instance.
    pub(super) fn load(&self, store: &mut Store<Ctx>, instance: &Instance) -> wasmtime::Result<Handler> {
        Ok(match self {
            HandlerIndices::Wasi03(indices) => Handler::Wasi03(Arc::new(indices.load(store, instance)?)),
            HandlerIndices::Wasi02(indices) => Handler::Wasi02(Arc::new(indices.load(store, instance)?)),
        })
    }
}

/// The handler of an instance.
#[derive(Clone)]
pub(super) enum Handler {
    /// `wasi:http/handler@0.3`.
    Wasi03(Arc<Service>),
    /// `wasi:http/incoming-handler@0.2`.
    Wasi02(Arc<Proxy>),
}

impl Handler {
    /// Whether the instance may serve another call afterwards.
    pub(super) fn allows_reuse(&self) -> bool {
        matches!(self, Handler::Wasi03(_))
    }

    /// Runs the guest on `request` until all its work is done, including the work after its response's head.
    ///
    /// # Errors
    /// When the guest traps.
    pub(super) async fn handle<B>(
        &self,
        store: &mut Store<Ctx>,
        request: http::Request<B>,
        head: oneshot::Sender<Head>,
        progress: &Arc<CallProgress>,
    ) -> wasmtime::Result<()>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        match self {
            Handler::Wasi03(service) => handle_0_3(service, store, request, head, progress).await,
            Handler::Wasi02(proxy) => handle_0_2(proxy, store, request, head, progress).await,
        }
    }
}

/// Adds the exception that the guest has printed to its answer 500: SDKs catch exceptions, and tell clients nothing.
fn note_exception(head: &mut Parts, printed: impl FnOnce() -> Option<Exception>) {
    if head.status == StatusCode::INTERNAL_SERVER_ERROR
        && let Some(exception) = printed()
    {
        head.extensions.insert(exception);
    }
}

async fn handle_0_3<B>(
    service: &Service,
    store: &mut Store<Ctx>,
    request: http::Request<B>,
    head: oneshot::Sender<Head>,
    progress: &CallProgress,
) -> wasmtime::Result<()>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Error>,
{
    let slice = store.data().slice.clone();
    let to_head = request.method() == Method::HEAD;
    let call = pin!(store.run_concurrent(async |accessor| {
        let (request, sent) = accessor.with(|mut store| {
            let (request, sent) = Request::from_http(store.data_mut().http().hooks, request);
            let sent: BoxFuture<'static, Result<(), Error>> = Box::pin(sent);
            (request, sent)
        });
        let answer = match service.handle(accessor, request).await? {
            Ok(mut response) => accessor.with(|mut store| {
                // wasmtime would parse the length, and end the whole call if it is not a number.
                let headers: HeaderMap = std::mem::take(&mut response.headers).into();
                let (mut head, ()) = http::Response::new(()).into_parts();
                (head.status, head.headers) = (response.status, headers);
                note_exception(&mut head, || store.data_mut().printed_exception()());
                match framing::response_head(&mut head, to_head) {
                    Ok(count) => {
                        let response = response.into_http(store.as_context_mut(), sent)?;
                        Ok(Ok((http::Response::from_parts(head, response.into_body()), count)))
                    }
                    Err(misframed) => wasmtime::error::Ok(Err(Refusal::Head(misframed))),
                }
            })?,
            Err(code) => Err(Refusal::Code(code.into())),
        };
        progress.answered.store(answer.is_ok(), Ordering::Relaxed);
        // The receiver may be gone; then this task is about to be dropped.
        let _ = head.send(answer);
        std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
        wasmtime::error::Ok(())
    }));
    panic::drive(&slice, call).await.flatten()
}

async fn handle_0_2<B>(
    proxy: &Proxy,
    store: &mut Store<Ctx>,
    request: http::Request<B>,
    head: oneshot::Sender<Head>,
    progress: &Arc<CallProgress>,
) -> wasmtime::Result<()>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Error>,
{
    let slice = store.data().slice.clone();
    let call = pin!(async {
        let scheme = if request.uri().scheme() == Some(&Scheme::HTTPS) { Scheme02::Https } else { Scheme02::Http };
        let (progress, to_head) = (progress.clone(), request.method() == Method::HEAD);
        let exception = store.data().printed_exception();
        let mut view = store.data_mut().http();
        let request = view.new_incoming_request(scheme, request)?;
        let out = view.new_response_outparam_from_callback(move |answer| {
            let answer = match answer.map(http::Response::into_parts) {
                Ok((mut parts, body)) => {
                    note_exception(&mut parts, exception);
                    match framing::response_head(&mut parts, to_head) {
                        Ok(count) => Ok((http::Response::from_parts(parts, body), count)),
                        Err(misframed) => Err(Refusal::Head(misframed)),
                    }
                }
                Err(code) => Err(Refusal::Code(code.into())),
            };
            progress.answered.store(answer.is_ok(), Ordering::Relaxed);
            let _ = head.send(answer);
        })?;
        proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, out).await
    });
    panic::drive(&slice, call).await
}
