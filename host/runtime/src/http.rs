//! One HTTP request into a component, whichever handler it has (see [`handler`](super::handler)).
//!
//! The guest may still write its body after the response's head, so the body owns the call until it is read to its end;
//! then the instance goes back to the pool. When a client goes away, the body is dropped, which ends the call and its
//! instance. (hyper only notices that a client has gone if no input of it is unread. If a client has sent more than its
//! request, the deadline ends its call.)
//!
//! A call that is aborted (by a trap or its deadline) closes the guest's streams, which looks to a reader like their
//! normal end. So the call is first marked as aborted, and then the body ends with an error: a client must be able to
//! tell an incomplete response from a complete one.
//!
//! The host decides where a response ends ([`framing`]). wasmtime counts bodies too, but its error for a short body is
//! lost if the reader has not yet read the preceding bytes; so wasmtime does not get the length.

use super::error::{CallError, Failure};
use super::handler::{CallProgress, Head, Refusal};
use super::pool::{InUse, Pool};
use super::recorded;
use super::trial::{CountedCall, Outcome};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use souk_bindings::boundary::Crossing;
use souk_bindings::call::CallContext;
use souk_bindings::framing::{self, Count};
use souk_bindings::{MAX_LINE_BYTES, brief};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::{Error, WasiBody};

/// A running call; dropping it ends it.
type Call = BoxFuture<'static, Result<(), CallError>>;

/// Marks a call as aborted when it is dropped, unless it is disarmed.
struct AbortedOnDrop<'a>(Option<&'a CallProgress>);

impl Drop for AbortedOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(progress) = self.0 {
            progress.aborted.store(true, Ordering::Release);
        }
    }
}

/// The measurements of a request to a version of the component, through any interface.
pub(super) struct RequestMeasurement {
    /// The number of the version.
    version: u64,
    crossing: Crossing,
    counted: CountedCall,
}

impl RequestMeasurement {
    /// Begins the request; `context` gets its place in a trace, which the caller must pass on in the request's headers,
    /// for spans that the guest creates itself.
    pub(super) fn begin(version: &InUse, context: &mut CallContext) -> Self {
        let crossing = version.0.requests.open(&context.span);
        crossing.enter(context);
        context.path.push(version.0.http_step);
        let counted = CountedCall::begin(&version.0.tally);
        RequestMeasurement { version: version.0.id().number, crossing, counted }
    }

    /// Records the answer.
    pub(super) fn end<B>(mut self, answered: Answered<B>) -> Answered<B> {
        if let Err(error) = &answered {
            self.crossing.fails(|| error.to_string());
        }
        self.crossing.close_with(&answered, |error| error.failure.key());
        self.counted.end(|| match &answered {
            Err(error) => Outcome::of_failure(error.failure),
            Ok(response) if response.status().is_server_error() => Some(Outcome::ServerError),
            Ok(_) => Some(Outcome::Good),
        });
        answered.map_err(|error| error.of_version(self.version))
    }

    /// Ends an attempt that is followed by another, which counts for the request.
    pub(super) fn end_uncounted(self) {
        self.crossing.close_unmeasured();
        self.counted.end(|| None);
    }
}

/// A response, or why there is none.
type Answered<B> = Result<http::Response<B>, CallError>;

/// Runs `call` in a task, which ends when the returned future is dropped.
fn spawned(call: Call) -> Call {
    let task = AbortOnDropHandle::new(tokio::spawn(call));
    // Nobody waits for the result of a stopped task; a task that panicked has dropped its sender.
    Box::pin(async move { task.await.unwrap_or(Ok(())) })
}

impl Pool {
    /// Lets the component answer `request`. Dropping the future, or the response's body before its end, ends the call.
    ///
    /// The call runs in the task that polls this future and then the body: a new task would cost every request two
    /// switches. A caller that is itself a guest must use [`Pool::handle_spawned`].
    ///
    /// # Errors
    /// When no instance was available, when the guest trapped or answered with an error code, or when `context`'s
    /// deadline passed before the response's head.
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

    /// Like [`Pool::handle`], in a new task. For callers inside another store's event loop, because wasmtime 48 cannot
    /// run a second one in it.
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

    /// Drives the call that `run` starts until it has the response's head.
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
        let measurement = RequestMeasurement::begin(&version, &mut context);
        context.span.write(request.headers_mut());
        if version.0.grants().recorder.is_some() {
            // Boxed, because it is rare and the future of a request is already large.
            return measurement.end(Box::pin(self.answer_recorded(version, request, context, run)).await);
        }
        let mut answer = pin!(self.answer_crossing(version, request, context, run));
        measurement.end(answer.as_mut().await)
    }

    /// Like [`Pool::answer_crossing`], and records the request.
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
            version: version.0.id().number,
            trace: context.trace.clone(),
            hidden: self.hidden().clone(),
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
            // There will be no answer. The end of the call gives the reason.
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
            // Nobody reads this result after the head, so it is logged here.
            tracing::error!(component = %self.component(), version = progress.version, trace = %trace, "{error}");
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
        // Declared after the lease, so that it is dropped first: the reader learns of the abort before the store closes
        // the streams.
        let mut aborted = AbortedOnDrop(Some(progress));
        let Some(handler) = lease.instance.handler.clone() else {
            return Err(self.error(Failure::NotExported, "no wasi:http/handler"));
        };
        match handler.handle(&mut lease.instance.store, request, head, progress).await {
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
                // Before the stack of the guest is resolved, which can take a while.
                drop(aborted);
                Err(self.trapped(&error, &mut lease).await)
            }
        }
    }
}

/// A response's body, with the call that writes it. The log says why a body breaks off.
pub struct ResponseBody {
    body: WasiBody,
    count: Count,
    call: Option<Call>,
    progress: Arc<CallProgress>,
    /// Whether the reader has got the error that ends it.
    broken: bool,
}

impl ResponseBody {
    /// Whether all bytes that the guest has declared were read.
    pub fn has_arrived(&self) -> bool {
        self.count.is_complete() && !self.broken
    }

    /// Whether the call was aborted before the guest was done. The log says why.
    pub fn is_aborted(&self) -> bool {
        self.progress.aborted.load(Ordering::Acquire)
    }

    /// Spawns the call as a task: for a reader that may stop reading. A call that nobody drives would keep its instance
    /// and its processor permit beyond its deadline.
    pub fn spawned(mut self) -> Self {
        self.call = self.call.take().map(spawned);
        self
    }

    /// Stops reading the body. The guest may still finish its call, so that its instance can be reused.
    pub fn detach(mut self) {
        self.finish();
    }

    /// Lets the call go on. The reader of the body drives it.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if self.call.as_mut().is_some_and(|call| call.as_mut().poll(cx).is_ready()) {
            self.call = None;
        }
    }

    /// Ends the body with `error`, and logs the reason `why`.
    fn abort_body(&mut self, error: Error, why: &dyn std::fmt::Display) -> Option<Result<Frame<Bytes>, Error>> {
        if std::mem::replace(&mut self.broken, true) {
            return None;
        }
        let CallProgress { component, version, trace, .. } = &*self.progress;
        tracing::error!(%component, version, %trace, "component `{component}`: its response broke off: {why}");
        Some(Err(error))
    }

    /// Called when the guest has written all of the body: lets it finish its work, and keeps the instance. Usually it
    /// only remains to give the instance back, which needs no task. A stopping host does not wait for such work,
    /// because the response is already sent.
    fn finish(&mut self) {
        self.drive(&mut Context::from_waker(Waker::noop()));
        if let Some(call) = self.call.take() {
            tokio::spawn(call);
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A reader that knows the length stops before it sees the end of the stream.
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
                // The call has logged the reason.
                self.broken = true;
                Some(Err(Error::InternalError(Some("the call was ended before its response".into()))))
            }
            None => match self.count.end() {
                Ok(()) => {
                    self.finish();
                    None
                }
                Err(short) => self.abort_body(short.of_response(), &short),
            },
            Some(Ok(frame)) => match self.count.frame(&frame) {
                Ok(()) => Some(Ok(match frame.into_trailers() {
                    Ok(mut trailers) => {
                        framing::clean_trailers(&mut trailers);
                        Frame::trailers(trailers)
                    }
                    Err(frame) => frame,
                })),
                Err(misframed) => self.abort_body(misframed.of_response(), &misframed),
            },
            Some(Err(error)) => {
                // The guest's own text may be in it.
                let why = brief(&self.progress.hidden.beginning(&error.to_string(), MAX_LINE_BYTES));
                self.abort_body(error, &why)
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        // The order matters: a stream that an abort closes looks closed only after the abort is marked. A body with
        // missing bytes has not ended: its reader must poll again and get the error.
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
