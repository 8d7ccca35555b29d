//! One HTTP request into a component (`wasi:http/handler`).
//!
//! The guest may still write its body when the response's head is there, so the call goes on in its task until the body
//! is read to its end; then the instance goes back to the pool. A client that goes away drops the body, which ends the
//! task and the instance with it.

use super::error::{CallError, Failure};
use super::pool::Pool;
use crate::call::CallContext;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::p3::{Request, bindings::http::types::ErrorCode};
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView};

type Head = Result<http::Response<WasiBody>, ErrorCode>;

impl Pool {
    /// Lets the component answer `request`. Dropping the future, or the response's body before its end, ends the call.
    ///
    /// # Errors
    /// When no instance was to be had, the guest trapped, answered with an error code, or `context`'s deadline passed
    /// before the response's head.
    pub async fn handle(
        self: &Arc<Self>,
        request: http::Request<WasiBody>,
        context: CallContext,
    ) -> Result<http::Response<ResponseBody>, CallError> {
        let (head, answered) = oneshot::channel::<Head>();
        let pool = self.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let deadline = tokio::time::Instant::from_std(context.deadline);
            match tokio::time::timeout_at(deadline, pool.serve(request, context, head)).await {
                Ok(result) => result,
                Err(_) => Err(pool.error(Failure::Deadline, "")),
            }
        }));
        match answered.await {
            Ok(Ok(response)) => Ok(ResponseBody::attach(response, task)),
            Ok(Err(code)) => Err(self.error(Failure::Trapped, format_args!("the guest answered with {code:?}"))),
            Err(_) => match task.await {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) => Err(self.error(Failure::Trapped, "the guest ended without a response")),
                Err(join) => Err(self.error(Failure::Trapped, format_args!("the call's task ended: {join}"))),
            },
        }
    }

    async fn serve(
        self: &Arc<Self>,
        request: http::Request<WasiBody>,
        context: CallContext,
        head: oneshot::Sender<Head>,
    ) -> Result<(), CallError> {
        let trace = context.trace.clone();
        let mut lease = self.lease(context).await?;
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
                // Nobody may be there to take it any more: the task is then about to be dropped.
                let _ = head.send(answer);
                std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
                wasmtime::error::Ok(())
            }))
            .await;
        match served {
            Ok(Ok(())) => {
                lease.give_back();
                Ok(())
            }
            Ok(Err(error)) | Err(error) => {
                let error = self.trapped(&error);
                // After the head nobody reads this result any more, so the log has it from here.
                tracing::error!(component = %self.component(), trace = %trace, "{error}");
                Err(error)
            }
        }
    }
}

/// A response's body, with the call that writes it.
pub struct ResponseBody {
    body: WasiBody,
    /// Bytes still to come, when the guest has said how many.
    remaining: Option<u64>,
    task: Option<AbortOnDropHandle<Result<(), CallError>>>,
}

impl ResponseBody {
    fn attach(
        response: http::Response<WasiBody>,
        task: AbortOnDropHandle<Result<(), CallError>>,
    ) -> http::Response<Self> {
        let length = response.headers().get(CONTENT_LENGTH);
        let remaining = length.and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        response.map(|body| ResponseBody { body, remaining, task: Some(task) })
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
        if self.remaining == Some(0) || self.body.is_end_stream() {
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
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
