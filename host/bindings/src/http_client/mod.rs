//! `wasi:http`'s client: requests of a component to the outside, and to other components of its application.
//!
//! Denied by default. A request passes the component's allow-list by scheme, host and port, and the address that its
//! name resolves to is checked again where the connection is made ([`connect`]). The guest follows redirects itself,
//! and each one is checked like any request. `CONNECT` is refused: a tunnel would pass both checks and could carry any
//! traffic.
//!
//! Each component has one [`Client`], created at start-up, with its own connection pool; it uses HTTP/2 where the
//! server offers it over TLS. The number of requests in progress is limited, and every wait ends at the call's deadline
//! at the latest.
//!
//! Requests to the application itself do not leave the process: see [`inside`]. Only such requests carry the call's
//! trace id, as `x-request-id`; other servers do not get it.

mod body;
mod connect;
mod error;
mod grant;
mod inside;
mod middleware;
mod open;
mod target;

pub use connect::tls_config;
pub use grant::{BINDING, Clients};
pub use inside::{Destination, Internal, InternalDispatch};
pub(crate) use middleware::{NextHooks, add_to_linker};
pub use tokio_rustls::rustls::ClientConfig as TlsConfig;

use crate::boundary::{Boundary, ComponentBoundaries};
use crate::brief;
use crate::call::CallContext;
use crate::framing::{self, Counted};
use crate::http_limits::MessageLimits;
use crate::outbound::{AllowedHosts, Resolve, system_resolver};
use crate::tape;
use crate::trace::Attribute;
use body::Limited;
use connect::{CONNECT_TIMEOUT, Connector};
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use open::OpenConnections;
use souk_manifest::SELF_HOSTS;
use souk_manifest::limits::FixedLimit;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use target::{INTERNAL, Target};
use tokio::sync::Semaphore;
use tokio::time::{timeout, timeout_at};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

souk_manifest::fixed_limits! {
    /// The fixed limits of requests to other services.
    pub(crate) const FIXED_LIMITS = "http client";

    /// How long an idle connection is kept; most servers close theirs after a minute.
    const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);
    /// The most idle connections to one host that are kept.
    const MAX_IDLE_PER_HOST: usize = 32, "connections";
    /// How many connections of a component may be open to servers, in use or idle, before a further one is closed after
    /// its response.
    const MAX_KEPT: usize = 128, "connections";
    /// How much of one response of HTTP/2 the host reads ahead of the component.
    const MAX_STREAM_AHEAD_BYTES: u32 = 256 << 10, bytes;
    /// How much of all responses of one HTTP/2 connection.
    const MAX_CONNECTION_AHEAD_BYTES: u32 = 1 << 20, bytes;
    /// How often an HTTP/2 connection that is in use is pinged.
    const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
    /// How long the answer to such a ping may take before the connection is closed.
    const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [FIXED_LIMITS, connect::FIXED_LIMITS, body::FIXED_LIMITS].concat()
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The HTTP client of one component; shared by its instances.
pub struct Client {
    component: Arc<str>,
    allowed: AllowedHosts,
    client: legacy::Client<Connector, WasiBody>,
    /// A client that keeps no connections.
    frugal: legacy::Client<Connector, WasiBody>,
    open: OpenConnections,
    under_way: Arc<Semaphore>,
    internal: Internal,
    inside: Boundary,
    outside: Boundary,
}

impl Client {
    /// The same client, with the boundaries that its requests cross.
    pub fn crossing(self, boundaries: &ComponentBoundaries) -> Self {
        Client { inside: boundaries.inside.clone(), outside: boundaries.outside.clone(), ..self }
    }

    /// A client for `component` that sends only to the hosts of `allowed`, with at most `requests` in progress.
    pub fn new(
        component: Arc<str>,
        allowed: AllowedHosts,
        requests: u64,
        internal: Internal,
        tls: Arc<TlsConfig>,
    ) -> Self {
        Self::with_resolver(component, allowed, requests, internal, tls, system_resolver())
    }

    fn with_resolver(
        component: Arc<str>,
        allowed: AllowedHosts,
        requests: u64,
        internal: Internal,
        tls: Arc<TlsConfig>,
        resolve: Resolve,
    ) -> Self {
        let open = OpenConnections::default();
        let connector = Connector::new(allowed.clone(), resolve, tls, open.clone());
        let client = |kept| {
            legacy::Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(POOL_IDLE_TIMEOUT)
                .pool_max_idle_per_host(kept)
                .http2_initial_stream_window_size(MAX_STREAM_AHEAD_BYTES)
                .http2_initial_connection_window_size(MAX_CONNECTION_AHEAD_BYTES)
                .http2_keep_alive_interval(HTTP2_PING_INTERVAL)
                .http2_keep_alive_timeout(HTTP2_PING_TIMEOUT)
                .build(connector.clone())
        };
        let requests = usize::try_from(requests).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Client {
            component,
            allowed,
            client: client(MAX_IDLE_PER_HOST),
            frugal: client(0),
            open,
            under_way: Arc::new(Semaphore::new(requests)),
            internal,
            inside: Boundary::off(),
            outside: Boundary::off(),
        }
    }

    /// Sends `request` and waits for the head of its response.
    async fn send(
        &self,
        request: Request<WasiBody>,
        options: RequestOptions,
        call: &CallContext,
    ) -> Result<Response<WasiBody>, Error> {
        let target = Target::of(request.uri()).ok_or(Error::HttpRequestUriInvalid)?;
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let mut request = self.framed(request, &target, call)?;
        let deadline = call.deadline;
        let boundary = if target.host.ends_with(INTERNAL) { &self.inside } else { &self.outside };
        let (mut crossing, method) = (boundary.open(&call.span), request.method().clone());
        crossing.note("server.address", || Attribute::text(target.host.clone()));
        let given = &call.span;
        let call = &CallContext { span: crossing.place(given), ..call.clone() };
        call.span.write_outside(given, request.headers_mut());
        let sent = async {
            match target.host.strip_suffix(INTERNAL).map(str::to_owned) {
                Some(name) => self.send_to_component(name, &target, request, options, call).await,
                None if SELF_HOSTS.contains(&target.host.as_str()) => {
                    self.send_to_own_routes(&target, request, options, call).await
                }
                None if self.allowed.allows(&target.server()) => {
                    self.send_outside(&target, request, options, call).await
                }
                None => Err(self.denied(&target, call)),
            }
        };
        let response = timeout_at(deadline, sent).await.unwrap_or(Err(Error::HttpResponseTimeout));
        crossing.close_request(&method, response.as_ref().map(Response::status).map_err(error::name));
        response
    }

    /// The request as the host sends it: without headers of the connection, and with its body counted.
    fn framed(
        &self,
        request: Request<WasiBody>,
        target: &Target,
        call: &CallContext,
    ) -> Result<Request<WasiBody>, Error> {
        let (mut head, body) = request.into_parts();
        let count = framing::request_head(&mut head)
            .map_err(|misframed| self.failed(target, call, &misframed.to_string(), misframed.of_request()))?;
        let (component, trace, to) = (self.component.clone(), call.trace.clone(), target.entry());
        let body = Counted::new(body, count, move |misframed| {
            tracing::error!(%component, %trace, to, "component `{component}` broke off its request: {misframed}");
        });
        Ok(Request::from_parts(head, body.boxed_unsync()))
    }

    async fn send_outside(
        &self,
        target: &Target,
        mut request: Request<WasiBody>,
        options: RequestOptions,
        call: &CallContext,
    ) -> Result<Response<WasiBody>, Error> {
        let connect_timeout = options.connect_timeout.unwrap_or(CONNECT_TIMEOUT).min(CONNECT_TIMEOUT);
        // The guest waits for its turn at most as long as for a connection.
        let permit = match timeout(connect_timeout, self.under_way.clone().acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => {
                let component = &self.component;
                tracing::warn!(
                    %component, trace = %call.trace,
                    "component `{component}` has too many HTTP requests in progress; raise `outbound_requests` under \
                     [component.{component}.tool.souk.limits] in the manifest if it needs more"
                );
                return Err(Error::ConnectionLimitReached);
            }
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let (head, body) = request.into_parts();
            let body = body::with_length(body).await;
            let body = body.map_err(|error| self.failed(target, call, "the body broke off", error))?;
            request = Request::from_parts(head, body);
            // RFC 9110, section 8.6: hyper sends no `content-length` for an empty body.
            let has_content = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
            if has_content && request.body().size_hint().exact() == Some(0) {
                request.headers_mut().entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(0));
            }
        }
        let mut connection = capture_connection(&mut request);
        let client = if self.open.count() < MAX_KEPT { &self.client } else { &self.frugal };
        let mut response = pin!(client.request(request));
        let early = tokio::select! {
            biased;
            response = &mut response => Some(response),
            _ = connection.wait_for_connection_metadata() => None,
            () = tokio::time::sleep(connect_timeout) => {
                return Err(self.failed(target, call, "no connection in time", Error::ConnectionTimeout));
            }
        };
        let response = match (early, options.first_byte_timeout) {
            (Some(response), _) => Ok(response),
            (None, Some(time)) => timeout(time, response).await,
            (None, None) => Ok(response.await),
        };
        let response = response
            .map_err(|_| self.failed(target, call, "no response in time", Error::ConnectionReadTimeout))?
            .map_err(|error| self.failed(target, call, &error::chain(&error), error::of_request(&error)))?;
        let deadline = call.deadline;
        let limit = |body| Limited::new(body, options.between_bytes_timeout, deadline, Some(permit)).boxed_unsync();
        Ok(response.map(limit))
    }

    /// The error for a request to a host that is not on the list; the log says which entry to add.
    fn denied(&self, target: &Target, call: &CallContext) -> Error {
        self.allowed.denied("a request", &target.server(), &call.trace);
        Error::HttpRequestDenied
    }

    /// Returns `code`, and logs the details that the guest does not get. The log line has no path: it may contain
    /// secrets.
    fn failed(&self, target: &Target, call: &CallContext, why: &str, code: Error) -> Error {
        let component = &self.component;
        // Both may contain what the guest or the server has written.
        let (why, error) = (brief(why), brief(&code.to_string()));
        tracing::warn!(%component, trace = %call.trace, to = target.entry(), why, "an HTTP request failed: {error}");
        code
    }
}

/// The `wasi:http` hooks of one instance.
pub(super) struct Hooks {
    client: Arc<Client>,
    /// The call that the instance serves now.
    pub(super) call: CallContext,
    limits: MessageLimits,
}

impl Hooks {
    pub(super) fn new(client: Arc<Client>, call: CallContext, limits: MessageLimits) -> Self {
        Hooks { client, call, limits }
    }
}

type Processing = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    /// The client sets `host` from the URI where the protocol needs it.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        self.limits.chunk_bytes()
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        self.limits.chunk_bytes()
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Processing,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Processing), Error>> + Send> {
        let (client, call, limits) = (self.client.clone(), self.call.clone(), self.limits.clone());
        let taped = call.tape.clone().map(|tape| (tape::begin(&tape), tape));
        Box::new(async move {
            let options = options.unwrap_or_default();
            let response = match taped {
                None => client.send(request, options, &call).await?,
                Some((slot, tape)) => {
                    tape::send(tape, slot, request, |request| client.send(request, options, &call)).await?
                }
            };
            // The pool drives the connection, so the guest's store does not have to.
            Ok((limits.check(response)?, Box::new(std::future::ready(Ok(()))) as Processing))
        })
    }
}

#[cfg(test)]
mod framing_tests;
#[cfg(test)]
mod inside_tests;
#[cfg(test)]
mod tests;
