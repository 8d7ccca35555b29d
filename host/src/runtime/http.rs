//! One HTTP request into a component (`wasi:http/handler`).
//!
//! The guest may still write its body when the response's head is there, so the call goes on in its task until the body
//! is read to its end; then the instance goes back to the pool. A client that goes away drops the body, which ends the
//! task and the instance with it.
//!
//! A call that ends by force (a trap, its deadline) closes the guest's streams, and to a reader that looks like their
//! proper end. So the call says first that it was cut, and the body then ends with an error: a client must be able to
//! tell half a response from a whole one.

use super::error::{CallError, Failure};
use super::pool::Pool;
use crate::call::CallContext;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::p3::{Request, bindings::http::types::ErrorCode};
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView};

type Head = Result<http::Response<WasiBody>, ErrorCode>;

/// How far a call has come, for the reader of its response.
#[derive(Default)]
struct Course {
    /// The response's head is out.
    answered: AtomicBool,
    /// The call was ended before the guest was done.
    cut: AtomicBool,
}

/// Marks a call as cut when it is dropped, unless it is disarmed.
struct CutOnDrop<'a>(Option<&'a Course>);

impl Drop for CutOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(course) = self.0 {
            course.cut.store(true, Ordering::Release);
        }
    }
}

impl Pool {
    /// Lets the component answer `request`. Dropping the future, or the response's body before its end, ends the call.
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
        let (head, answered) = oneshot::channel::<Head>();
        let course = Arc::new(Course::default());
        let task = AbortOnDropHandle::new(tokio::spawn({
            let (pool, course) = (self.clone(), course.clone());
            async move {
                let (deadline, trace) = (tokio::time::Instant::from_std(context.deadline), context.trace.clone());
                let serving = pool.serve(request, context, head, &course);
                let result = match tokio::time::timeout_at(deadline, serving).await {
                    Ok(result) => result,
                    Err(_) => Err(pool.error(Failure::Deadline, "")),
                };
                if let Err(error) = &result
                    && course.answered.load(Ordering::Relaxed)
                {
                    // After the head nobody reads this result any more, so the log has it from here.
                    tracing::error!(component = %pool.component(), trace = %trace, "{error}");
                }
                result
            }
        }));
        match answered.await {
            Ok(Ok(response)) => Ok(ResponseBody::attach(response, task, course)),
            Ok(Err(code)) => Err(self.error(Failure::Trapped, format_args!("the guest answered with {code:?}"))),
            Err(_) => match task.await {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) => Err(self.error(Failure::Trapped, "the guest ended without a response")),
                Err(join) => Err(self.error(Failure::Trapped, format_args!("the call's task ended: {join}"))),
            },
        }
    }

    async fn serve<B>(
        self: &Arc<Self>,
        request: http::Request<B>,
        context: CallContext,
        head: oneshot::Sender<Head>,
        course: &Course,
    ) -> Result<(), CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let mut lease = self.lease(context).await?;
        // After the lease, so that it goes first: the reader knows of the cut before the store closes the streams.
        let mut cut = CutOnDrop(Some(course));
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
                course.answered.store(answer.is_ok(), Ordering::Relaxed);
                // Nobody may be there to take it any more: the task is then about to be dropped.
                let _ = head.send(answer);
                std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
                wasmtime::error::Ok(())
            }))
            .await;
        match served {
            Ok(Ok(())) => {
                cut.0 = None;
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
    task: Option<AbortOnDropHandle<Result<(), CallError>>>,
    course: Arc<Course>,
    /// The reader has been told of the cut.
    broken: bool,
}

impl ResponseBody {
    fn attach(
        response: http::Response<WasiBody>,
        task: AbortOnDropHandle<Result<(), CallError>>,
        course: Arc<Course>,
    ) -> http::Response<Self> {
        let length = response.headers().get(CONTENT_LENGTH);
        let remaining = length.and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        response.map(|body| ResponseBody { body, remaining, task: Some(task), course, broken: false })
    }

    /// Whether all that the guest has announced has been read: there is nothing more to wait for.
    pub fn has_arrived(&self) -> bool {
        self.remaining == Some(0)
    }

    /// Whether the call was ended before the guest was done. The log says why.
    pub fn is_cut(&self) -> bool {
        self.course.cut.load(Ordering::Acquire)
    }

    /// Leaves what is still to come unread. The guest may finish its call, as its instance is as good as before.
    pub fn detach(mut self) {
        self.finish();
    }

    /// The guest has written all of it and may go on after its return: let it finish, and keep the instance.
    fn finish(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
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
        let poll = Pin::new(&mut self.body).poll_frame(cx);
        match &poll {
            Poll::Ready(None) if self.is_cut() && !self.has_arrived() => {
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
        // In this order: streams that a cut has closed are seen as closed only after the cut.
        self.body.is_end_stream() && (self.has_arrived() || !self.is_cut())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
