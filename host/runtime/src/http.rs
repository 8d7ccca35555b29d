//! One HTTP request into a component (`wasi:http/handler`).
//!
//! The guest may still write its body when the response's head is there, so the body carries the call with it until it
//! is read to its end; then the instance goes back to the pool. A client that goes away drops the body, which ends the
//! call and the instance with it. (hyper notices a client that has gone only where nothing of it is left unread: the
//! deadline ends the call of one that has sent more than its request.)
//!
//! A call that ends by force (a trap, its deadline) closes the guest's streams, and to a reader that looks like their
//! proper end. So the call says first that it was aborted, and the body then ends with an error: a client must be able
//! to tell half a response from a whole one.

use super::error::{CallError, Failure};
use super::pool::Pool;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use souk_bindings::call::CallContext;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::p3::{Request, bindings::http::types::ErrorCode};
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView};

type Head = Result<http::Response<WasiBody>, ErrorCode>;

/// A call under way; dropping it ends it.
type Call = BoxFuture<'static, Result<(), CallError>>;

/// The progress of a call, shared with the reader of its response.
#[derive(Default)]
struct CallProgress {
    /// The response's head is out.
    answered: AtomicBool,
    /// The call was ended before the guest was done.
    aborted: AtomicBool,
}

/// Marks a call as aborted when it is dropped, unless it is disarmed.
struct AbortedOnDrop<'a>(Option<&'a CallProgress>);

impl Drop for AbortedOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(progress) = self.0 {
            progress.aborted.store(true, Ordering::Release);
        }
    }
}

/// Spawns `call` as a task, which is aborted when the returned call is dropped.
fn spawned(call: Call) -> Call {
    let task = AbortOnDropHandle::new(tokio::spawn(call));
    // A task that was stopped has nobody who asks how it ended; one that panicked has dropped its sender.
    Box::pin(async move { task.await.unwrap_or(Ok(())) })
}

impl Pool {
    /// Lets the component answer `request`. Dropping the future, or the response's body before its end, ends the call.
    ///
    /// The call runs in whatever polls this future and then the body: a task of its own would cost every request two
    /// hops. A caller that is itself a guest cannot do that, see [`Pool::handle_spawned`].
    ///
    /// # Errors
    /// When no instance was to be had, the guest trapped, answered with an error code, or `context`'s deadline passed
    /// before the response's head.
    pub async fn handle<B>(
        self: &Arc<Self>,
        request: http::Request<B>,
        context: CallContext,
    ) -> Result<http::Response<ResponseBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        self.answer(request, context, |call| call).await
    }

    /// Like [`Pool::handle`], but spawned as a task: for callers inside another store's event loop, in which wasmtime
    /// 48 runs no second one.
    ///
    /// # Errors
    /// As [`Pool::handle`].
    pub async fn handle_spawned<B>(
        self: &Arc<Self>,
        request: http::Request<B>,
        context: CallContext,
    ) -> Result<http::Response<ResponseBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        self.answer(request, context, spawned).await
    }

    /// Drives the call, as `run` runs it, until its response's head is there.
    async fn answer<B>(
        self: &Arc<Self>,
        request: http::Request<B>,
        context: CallContext,
        run: fn(Call) -> Call,
    ) -> Result<http::Response<ResponseBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let (head, mut answered) = oneshot::channel();
        let progress = Arc::new(CallProgress::default());
        let call = self.clone().call_through(request, context, head, progress.clone());
        let mut call = Some(run(Box::pin(call)));
        let mut ended = Ok(());
        let head = std::future::poll_fn(|cx| {
            if let Some(running) = &mut call
                && let Poll::Ready(result) = running.as_mut().poll(cx)
            {
                (call, ended) = (None, result);
            }
            // A call that has ended without an answer has dropped its sender, so this is then ready too.
            Pin::new(&mut answered).poll(cx)
        })
        .await;
        match (head, ended) {
            (Ok(Ok(response)), _) => Ok(ResponseBody::attach(response, call, progress)),
            (Ok(Err(code)), _) => Err(self.error(Failure::Trapped, format_args!("the guest answered with {code:?}"))),
            (Err(_), Err(error)) => Err(error),
            (Err(_), Ok(())) => Err(self.error(Failure::Trapped, "the guest ended without a response")),
        }
    }

    /// The whole call, with its deadline and its log.
    async fn call_through<B>(
        self: Arc<Self>,
        request: http::Request<B>,
        context: CallContext,
        head: oneshot::Sender<Head>,
        progress: Arc<CallProgress>,
    ) -> Result<(), CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let (deadline, trace) = (tokio::time::Instant::from_std(context.deadline), context.trace.clone());
        let serving = self.serve(request, context, head, &progress);
        let result = match tokio::time::timeout_at(deadline, serving).await {
            Ok(result) => result,
            Err(_) => Err(self.error(Failure::Deadline, "")),
        };
        if let Err(error) = &result
            && progress.answered.load(Ordering::Relaxed)
        {
            // After the head nobody reads this result any more, so the log has it from here.
            tracing::error!(component = %self.component(), trace = %trace, "{error}");
        }
        result
    }

    async fn serve<B>(
        self: &Arc<Self>,
        request: http::Request<B>,
        context: CallContext,
        head: oneshot::Sender<Head>,
        progress: &CallProgress,
    ) -> Result<(), CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let mut lease = self.lease(context).await?;
        // After the lease, so that it goes first: the reader knows of the abort before the store closes the streams.
        let mut aborted = AbortedOnDrop(Some(progress));
        let instance = &mut lease.instance;
        let Some(service) = instance.service.clone() else {
            return Err(self.error(Failure::NotExported, "no wasi:http/handler"));
        };
        let slice = instance.slice.clone();
        let served = slice
            .run(instance.store.run_concurrent(async |accessor| {
                let (request, sent) = accessor.with(|mut store| {
                    let (request, sent) = Request::from_http(store.data_mut().http().hooks, request);
                    let sent: BoxFuture<'static, Result<(), Error>> = Box::pin(sent);
                    (request, sent)
                });
                let answer = match service.handle(accessor, request).await? {
                    Ok(response) => Ok(accessor.with(|store| response.into_http(store, sent))?),
                    Err(code) => Err(code),
                };
                progress.answered.store(answer.is_ok(), Ordering::Relaxed);
                // Nobody may be there to take it any more: the task is then about to be dropped.
                let _ = head.send(answer);
                std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
                wasmtime::error::Ok(())
            }))
            .await;
        match served {
            Ok(Ok(())) => {
                aborted.0 = None;
                lease.give_back();
                Ok(())
            }
            Ok(Err(error)) | Err(error) => Err(self.trapped(&error)),
        }
    }
}

/// A response's body, with the call that writes it.
pub struct ResponseBody {
    body: WasiBody,
    /// Bytes still to come, when the guest has said how many.
    remaining: Option<u64>,
    call: Option<Call>,
    progress: Arc<CallProgress>,
    /// The reader has been told that the call was aborted.
    broken: bool,
}

impl ResponseBody {
    fn attach(
        response: http::Response<WasiBody>,
        call: Option<Call>,
        progress: Arc<CallProgress>,
    ) -> http::Response<Self> {
        let length = response.headers().get(CONTENT_LENGTH);
        let remaining = length.and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        response.map(|body| ResponseBody { body, remaining, call, progress, broken: false })
    }

    /// Whether all that the guest has announced has been read: there is nothing more to wait for.
    pub fn has_arrived(&self) -> bool {
        self.remaining == Some(0)
    }

    /// Whether the call was aborted before the guest was done. The log says why.
    pub fn is_aborted(&self) -> bool {
        self.progress.aborted.load(Ordering::Acquire)
    }

    /// Spawns the call as a task: for a reader that may stop reading, since a call that nobody drives would keep
    /// its instance, and what it holds of the processor, past its deadline.
    pub fn spawned(mut self) -> Self {
        self.call = self.call.take().map(spawned);
        self
    }

    /// Leaves what is still to come unread. The guest may finish its call, as its instance is as good as before.
    pub fn detach(mut self) {
        self.finish();
    }

    /// Lets the call go on. Whoever reads the body drives it.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if self.call.as_mut().is_some_and(|call| call.as_mut().poll(cx).is_ready()) {
            self.call = None;
        }
    }

    /// The guest has written all of it and may go on after its return: let it finish, and keep the instance. Mostly
    /// there is nothing left but to give the instance back, which needs no task. What a guest still does then is not
    /// waited for when the host stops: its response is out.
    fn finish(&mut self) {
        self.drive(&mut Context::from_waker(Waker::noop()));
        if let Some(call) = self.call.take() {
            tokio::spawn(call);
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A reader that knows the length stops before it has seen the end of the stream.
        if self.has_arrived() || self.is_end_stream() {
            self.finish();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.drive(cx);
        let poll = Pin::new(&mut self.body).poll_frame(cx);
        match &poll {
            Poll::Ready(None) if self.is_aborted() && !self.has_arrived() => {
                let error = Error::InternalError(Some("the call was ended before its response".into()));
                return Poll::Ready((!std::mem::replace(&mut self.broken, true)).then_some(Err(error)));
            }
            Poll::Ready(None) => self.finish(),
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.remaining = self.remaining.map(|left| left.saturating_sub(length));
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        // In this order: streams that an abort has closed are seen as closed only after it.
        self.body.is_end_stream() && (self.has_arrived() || !self.is_aborted())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
