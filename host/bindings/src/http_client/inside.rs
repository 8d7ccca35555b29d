//! Requests that do not leave the process: to another component, to the application's own public routes, and from a
//! middleware to what comes after it. Each is one more hop of the same call.
//!
//! They do not count as outgoing requests in progress: they hold no socket, and the callee's own pool limits them.

use super::body::Limited;
use super::target::Target;
use super::{Client, REQUEST_ID};
use crate::call::CallContext;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{timeout, timeout_at};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

/// Where a request inside the application goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The component with this name, through its middleware: `http://NAME.spin.internal`.
    Component(String),
    /// The public route that matches the request's path: `http://self`.
    OwnRoutes,
    /// The component with this name, as the next of a chain of middleware: the request stays as it is.
    Next(Arc<str>),
}

/// Hands a request to its destination and returns the response.
///
/// It must run the component in a task of its own: wasmtime refuses to run one store from within another. A component
/// that does not exist is [`Error::DestinationNotFound`].
pub type InternalDispatch = Arc<
    dyn Fn(Destination, Request<WasiBody>, CallContext) -> BoxFuture<'static, Result<Response<WasiBody>, Error>>
        + Send
        + Sync,
>;

/// The dispatch function for the application's own components. It is set later, because clients are created before the
/// components.
#[derive(Clone, Default)]
pub struct Internal(Arc<OnceLock<InternalDispatch>>);

impl Internal {
    /// Sets the dispatch function for all clients that share it; only the first call has an effect.
    pub fn set(&self, dispatch: InternalDispatch) {
        let _ = self.0.set(dispatch);
    }
}

impl Client {
    /// Sends a request to the component `name`.
    pub(super) async fn send_to_component(
        &self,
        name: String,
        target: &Target,
        mut request: Request<WasiBody>,
        options: RequestOptions,
        call: &CallContext,
    ) -> Result<Response<WasiBody>, Error> {
        if name.is_empty() || !target.has_usual_port() || !self.allowed.allows_internal(&target.scheme, &name) {
            return Err(self.denied(target, call));
        }
        if let Ok(host) = HeaderValue::try_from(&target.host) {
            request.headers_mut().insert(header::HOST, host);
        }
        let Some(next) = call.next(call.remaining()) else { return Err(self.looped(target, call)) };
        self.dispatch(Destination::Component(name), target, request, options, next).await
    }

    /// Sends a request to the application's own public routes.
    pub(super) async fn send_to_own_routes(
        &self,
        target: &Target,
        request: Request<WasiBody>,
        options: RequestOptions,
        call: &CallContext,
    ) -> Result<Response<WasiBody>, Error> {
        if !target.has_usual_port() || !self.allowed.allows_self() {
            return Err(self.denied(target, call));
        }
        let Some(next) = call.next(call.remaining()) else { return Err(self.looped(target, call)) };
        self.dispatch(Destination::OwnRoutes, target, request, options, next).await
    }

    /// Passes a request on to the next component in the chain in which this component is middleware.
    pub(super) async fn send_next(
        &self,
        request: Request<WasiBody>,
        options: RequestOptions,
        call: &CallContext,
    ) -> Result<Response<WasiBody>, Error> {
        let target = Target::of(request.uri()).ok_or(Error::HttpRequestUriInvalid)?;
        let Some((component, rest)) = call.rest.as_ref().and_then(|chain| chain.next()) else {
            let why = "it called wasi:http/handler, but is not a middleware of this request";
            return Err(self.failed(&target, call, why, Error::DestinationNotFound));
        };
        let Some(next) = call.next(call.remaining()) else { return Err(self.looped(&target, call)) };
        let request = self.framed(request, &target, call)?;
        let sent = self.dispatch(Destination::Next(component), &target, request, options, CallContext { rest, ..next });
        timeout_at(call.deadline, sent).await.unwrap_or(Err(Error::HttpResponseTimeout))
    }

    async fn dispatch(
        &self,
        destination: Destination,
        target: &Target,
        mut request: Request<WasiBody>,
        options: RequestOptions,
        call: CallContext,
    ) -> Result<Response<WasiBody>, Error> {
        let Some(dispatch) = self.internal.0.get() else {
            return Err(self.failed(target, &call, "the application has not started", Error::DestinationUnavailable));
        };
        let headers = request.headers_mut();
        if let (false, Ok(id)) = (headers.contains_key(REQUEST_ID), HeaderValue::try_from(&*call.trace)) {
            headers.insert(REQUEST_ID, id);
        }
        let deadline = call.deadline;
        let response =
            timeout(options.first_byte_timeout.unwrap_or(Duration::MAX), dispatch(destination, request, call));
        let response = response.await.unwrap_or(Err(Error::ConnectionReadTimeout))?;
        Ok(response.map(|body| Limited::new(body, options.between_bytes_timeout, deadline, None).boxed_unsync()))
    }

    fn looped(&self, target: &Target, call: &CallContext) -> Error {
        self.failed(target, call, "the call has crossed too many components", Error::LoopDetected)
    }
}
