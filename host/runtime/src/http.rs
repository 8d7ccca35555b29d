//! One HTTP request into a component, whichever handler it has (see [`handler`](super::handler)).
//!
//! The guest may still write its body when the response's head is there, so the body carries the call with it until it
//! is read to its end; then the instance goes back to the pool. A client that goes away drops the body, which ends the
//! call and the instance with it. (hyper notices a client that has gone only where nothing of it is left unread: the
//! deadline ends the call of one that has sent more than its request.)
//!
//! A call that ends by force (a trap, its deadline) closes the guest's streams, and to a reader that looks like their
//! proper end. So the call says first that it was aborted, and the body then ends with an error: a client must be able to
//! tell half a response from a whole one.
//!
//! Where a response ends, the host decides ([`framing`]). wasmtime counts bodies too, but the error that it makes of a
//! short one is lost where the reader has not yet taken what came before it; so it is not told of the length.

use super::error::{CallError, Failure};
use super::pool::{InUse, Pool};
use super::recorded;
use super::trial::Outcome;
use super::version::Version;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use souk_bindings::boundary::Crossing;
use souk_bindings::call::CallContext;
use souk_bindings::framing::{self, Count, Misframed};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::{Error, WasiBody};

/// A response with the count of its body, or why there is none.
pub(super) type Head = Result<(http::Response<WasiBody>, Count), Refusal>;

/// Why a guest's answer is no response.
pub(super) enum Refusal {
    /// The guest said so.
    Code(Error),
    /// Its head cannot be sent.
    Head(Misframed),
}

/// A call under way; dropping it ends it.
type Call = BoxFuture<'static, Result<(), CallError>>;

/// The progress of a call, shared with the reader of its response.
pub(super) struct CallProgress {
    /// Who answers, and in which call, for the log.
    component: Arc<str>,
    trace: Arc<str>,
    /// The response's head is out.
    pub(super) answered: AtomicBool,
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

/// A request that a version of the component has been asked, by whichever interface: what is measured of it.
pub(super) struct Asked {
    crossing: Crossing,
    /// Its version, while that is compared with another one, and when it began.
    counted: Option<(Arc<Version>, Instant)>,
}

impl Asked {
    /// It begins; `headers` and `context` get its place in a trace.
    pub(super) fn begin(version: &InUse, headers: &mut HeaderMap, context: &mut CallContext) -> Self {
        let crossing = version.0.requests.open(&context.span);
        crossing.enter(context);
        context.path.push(version.0.http_step);
        // For spans that the guest makes of its own.
        context.span.write(headers);
        let counted = version.0.tally.is_on().then(|| (version.0.clone(), Instant::now()));
        Asked { crossing, counted }
    }

    /// It is answered.
    pub(super) fn end<B>(mut self, answered: Answered<B>) -> Answered<B> {
        if let Err(error) = &answered {
            self.crossing.fails(|| error.to_string());
        }
        self.crossing.close_with(&answered, |error| error.failure.key());
        if let Some((version, start)) = self.counted {
            let outcome = match &answered {
                Err(error) => Outcome::of_failure(error.failure),
                Ok(response) if response.status().is_server_error() => Some(Outcome::ServerError),
                Ok(_) => Some(Outcome::Good),
            };
            if let Some(outcome) = outcome {
                version.tally.note(outcome, start.elapsed());
            }
        }
        answered
    }
}

/// A response, or why there is none.
type Answered<B> = Result<http::Response<B>, CallError>;

/// Runs `call` in a task, which ends when what is returned is dropped.
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

    /// Like [`Pool::handle`], in a task of its own: for callers inside another store's event loop, in which wasmtime 48
    /// runs no second one.
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
        mut request: http::Request<B>,
        mut context: CallContext,
        run: fn(Call) -> Call,
    ) -> Result<http::Response<ResponseBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let version = self.choose(context.draw);
        let asked = Asked::begin(&version, request.headers_mut(), &mut context);
        if version.0.grants().recorder.is_some() {
            // In a box: it is seldom, and a request is large enough.
            return asked.end(Box::pin(self.answer_recorded(version, request, context, run)).await);
        }
        let mut answer = pin!(self.answer_crossing(version, request, context, run));
        asked.end(answer.as_mut().await)
    }

    /// The same as [`Pool::answer_crossing`], and it is recorded.
    async fn answer_recorded<B>(
        self: &Arc<Self>,
        version: InUse,
        request: http::Request<B>,
        mut context: CallContext,
        run: fn(Call) -> Call,
    ) -> Result<http::Response<ResponseBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let (request, tape) = version.0.record_request(request, &mut context);
        let answered = self.answer_crossing(version, request, context, run).await;
        let Some(tape) = tape else { return answered };
        recorded::end_request(&tape, answered.as_ref().err());
        answered.map(|response| {
            let (head, mut body) = response.into_parts();
            body.body = recorded::end_response(tape, &head, std::mem::take(&mut body.body));
            http::Response::from_parts(head, body)
        })
    }

    async fn answer_crossing<B>(
        self: &Arc<Self>,
        version: InUse,
        request: http::Request<B>,
        context: CallContext,
        run: fn(Call) -> Call,
    ) -> Result<http::Response<ResponseBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let (head, mut answered) = oneshot::channel();
        let progress = Arc::new(CallProgress {
            component: self.component().clone(),
            trace: context.trace.clone(),
            answered: AtomicBool::default(),
            aborted: AtomicBool::default(),
        });
        let call = self.clone().call_through(version, request, context, head, progress.clone());
        let mut call = Some(run(Box::pin(call)));
        let (mut ended, mut silent) = (Ok(()), false);
        let head = std::future::poll_fn(|cx| {
            if let Some(running) = &mut call
                && let Poll::Ready(result) = running.as_mut().poll(cx)
            {
                (call, ended) = (None, result);
            }
            if !silent {
                match Pin::new(&mut answered).poll(cx) {
                    Poll::Ready(Err(_)) => silent = true,
                    head => return head.map(Result::ok),
                }
            }
            // There will be no answer. The call says why when it ends.
            if call.is_some() { Poll::Pending } else { Poll::Ready(None) }
        })
        .await;
        match (head, ended) {
            (Some(Ok((response, count))), _) => {
                Ok(response.map(|body| ResponseBody { body, count, call, progress, broken: false }))
            }
            (Some(Err(Refusal::Code(code))), _) => {
                Err(self.error(Failure::Trapped, format_args!("the guest answered with {code}")))
            }
            (Some(Err(Refusal::Head(misframed))), _) => Err(self.error(Failure::Trapped, misframed)),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(self.error(Failure::Trapped, "the guest ended without a response")),
        }
    }

    /// The whole call, with its deadline and its log.
    async fn call_through<B>(
        self: Arc<Self>,
        version: InUse,
        request: http::Request<B>,
        context: CallContext,
        head: oneshot::Sender<Head>,
        progress: Arc<CallProgress>,
    ) -> Result<(), CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let (deadline, trace) = (context.deadline, context.trace.clone());
        let counted = version.0.tally.is_on().then(|| version.0.clone());
        let mut serving = pin!(self.serve(version, request, context, head, &progress));
        let result = match tokio::time::timeout_at(deadline, serving.as_mut()).await {
            Ok(result) => result,
            Err(_) => Err(self.error(Failure::Deadline, "")),
        };
        if let Err(error) = &result
            && progress.answered.load(Ordering::Relaxed)
        {
            // After the head nobody reads this result any more, so the log has it from here.
            tracing::error!(component = %self.component(), trace = %trace, "{error}");
            if let (Some(version), Some(outcome)) = (counted, Outcome::of_failure(error.failure)) {
                version.tally.note(outcome, self.call_deadline());
            }
        }
        result
    }

    async fn serve<B>(
        self: &Arc<Self>,
        version: InUse,
        request: http::Request<B>,
        context: CallContext,
        head: oneshot::Sender<Head>,
        progress: &Arc<CallProgress>,
    ) -> Result<(), CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let mut lease = self.lease(version, context).await?;
        // After the lease, so that it goes first: the reader knows of the abort before the store closes the streams.
        let mut aborted = AbortedOnDrop(Some(progress));
        let instance = &mut lease.instance;
        let Some(handler) = instance.handler.clone() else {
            return Err(self.error(Failure::NotExported, "no wasi:http/handler"));
        };
        match handler.handle(instance, request, head, progress).await {
            Ok(()) => {
                aborted.0 = None;
                if handler.allows_reuse() {
                    lease.give_back()
                } else {
                    lease.finish()
                }
                Ok(())
            }
            Err(error) => {
                // Before it is looked for where the guest was, which can take a while.
                drop(aborted);
                Err(self.trapped(&error, &mut lease).await)
            }
        }
    }
}

/// A response's body, with the call that writes it. Why one breaks off is in the log.
pub struct ResponseBody {
    body: WasiBody,
    count: Count,
    call: Option<Call>,
    progress: Arc<CallProgress>,
    /// The reader has been told that it breaks off.
    broken: bool,
}

impl ResponseBody {
    /// Whether all that the guest has announced has been read.
    pub fn has_arrived(&self) -> bool {
        self.count.is_complete() && !self.broken
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

    /// Breaks the body off with `error`, which `why` explains to the log.
    fn break_off(&mut self, error: Error, why: &dyn std::fmt::Display) -> Option<Result<Frame<Bytes>, Error>> {
        if std::mem::replace(&mut self.broken, true) {
            return None;
        }
        let CallProgress { component, trace, .. } = &*self.progress;
        tracing::error!(%component, %trace, "component `{component}`: its response broke off: {why}");
        Some(Err(error))
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
        if !self.broken && (self.has_arrived() || self.is_end_stream()) {
            self.finish();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.broken {
            return Poll::Ready(None);
        }
        self.drive(cx);
        let next = loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) if framing::is_empty(&frame) => {}
                next => break next,
            }
        };
        Poll::Ready(match next {
            None if self.is_aborted() && !self.has_arrived() => {
                // The call has said why.
                self.broken = true;
                Some(Err(Error::InternalError(Some("the call was ended before its response".into()))))
            }
            None => match self.count.end() {
                Ok(()) => {
                    self.finish();
                    None
                }
                Err(short) => self.break_off(short.of_response(), &short),
            },
            Some(Ok(frame)) => match self.count.add(frame.data_ref().map_or(0, Bytes::len)) {
                Ok(()) => Some(Ok(match frame.into_trailers() {
                    Ok(mut trailers) => {
                        framing::clean_trailers(&mut trailers);
                        Frame::trailers(trailers)
                    }
                    Err(frame) => frame,
                })),
                Err(long) => self.break_off(long.of_response(), &long),
            },
            Some(Err(error)) => {
                let why = error.to_string();
                self.break_off(error, &why)
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        // In this order: streams that an abort has closed are seen as closed only after it.
        // A body that lacks something has not ended: its reader must come and hear of it.
        self.broken
            || self.body.is_end_stream() && (self.has_arrived() || !self.is_aborted() && self.count.end().is_ok())
    }

    fn size_hint(&self) -> SizeHint {
        match self.count.remaining() {
            Some(remaining) => SizeHint::with_exact(remaining),
            None => self.body.size_hint(),
        }
    }
}
