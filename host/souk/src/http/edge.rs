//! Handles one request: its id, route, limits and component, and a response that HTTP allows.

use super::activity::UnderWay;
use super::body::{self, EdgeBody, buffer_small_body};
use super::budget::{Account, EdgeBudget, End, Owner};
use super::connections::Connections;
use super::outgoing::Outgoing;
use super::pace::Pace;
use super::peer::{Peer, TrustedProxies};
use super::request::{self, Caller, REQUEST_ID};
use super::static_files::StaticFiles;
use super::turns::{MAX_PEER_REQUESTS, Turn, Turns};
use super::upload::{self, Progress, Reading, Refused, Upload};
use super::{cookies, error};
use crate::app::{Answer, App, Handler, Routing};
use crate::readiness::Readiness;
use bytes::Bytes;
use futures::future::{AbortHandle, Abortable};
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, STRICT_TRANSPORT_SECURITY};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use parking_lot::RwLock;
use souk_bindings::boundary::{Boundary, Crossing, Refusals};
use souk_bindings::call::CallContext;
use souk_bindings::trace::{Attribute, Parent, Span};
use souk_links::remote::whole_body::Trailers;
use souk_manifest::limits::EdgeLimits;
use souk_runtime::{CallError, Failure, Plain, Pool};
use std::sync::{Arc, Weak};
use tokio::time::Instant;

/// Answers for as long as the host serves; the path is Spin's.
const HEALTH: &str = "/.well-known/spin/health";
/// Name and version of the application; the path and the answer are Spin's.
const INFO: &str = "/.well-known/spin/info";
/// Whether all routes can be served: 200 or 503.
const READY: &str = "/.well-known/souk/ready";

/// An environment variable for tests of both request paths: when set, components get requests only by `wasi:http`.
const WASI_HTTP_ONLY: &str = "SOUK_WASI_HTTP_ONLY";

/// A request that is being answered.
struct Answering<'a> {
    under_way: &'a UnderWay,
    /// Its client.
    peer: Peer,
    /// How to end it.
    end: &'a End,
    /// Its memory account; `None` when it was closed to make room.
    account: Option<Arc<Account>>,
    /// The latest time at which its call ends.
    call_until: Instant,
    /// Its body, until it is read.
    body: Option<Incoming>,
    /// The progress of its body, if the body was not read ahead completely.
    upload: Option<Arc<Progress>>,
    /// Whether the host will not read its body to the end.
    is_unread: bool,
    /// The boundary crossing that the request is recorded as.
    crossing: Crossing,
    /// Its span in a trace.
    span: Span,
    /// Its id, if the trace has it; the call then shares it.
    trace: Option<Arc<str>>,
}

/// A browser that has used TLS once uses only TLS for a year, unless the component says otherwise.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The public HTTP interface of an application.
pub struct Edge {
    app: Arc<App>,
    budget: Arc<EdgeBudget>,
    connections: Arc<Connections>,
    trusted: TrustedProxies,
    readiness: Arc<Readiness>,
    /// The boundary for requests that match no route.
    unrouted: Boundary,
    turns: Arc<Turns>,
    /// Counts the requests that were refused before they reached a component.
    refusals: Refusals,
    /// Whether components get requests only by `wasi:http` and never as plain values.
    wasi_http_only: bool,
    /// The static file folders of a routing, in the manifest's order.
    files: RwLock<(Weak<Routing>, Arc<Vec<StaticFiles>>)>,
    /// The limits of the application.
    limits: EdgeLimits,
    /// The answer to [`INFO`].
    info: Bytes,
    /// Whether responses tell clients why a component failed.
    dev: bool,
}

impl Edge {
    /// The HTTP interface of `app`. With `dev`, responses tell clients why a component failed: the clients are its
    /// developers.
    pub fn new(app: Arc<App>, readiness: Arc<Readiness>, dev: bool) -> Arc<Self> {
        let application = app.application();
        let info = serde_json::json!({ "name": application.name, "version": application.version });
        let budget = EdgeBudget::new(&application.limits);
        app.on_pool({
            let budget = budget.clone();
            move |pool| {
                let budget = budget.clone();
                pool.on_pressure(move |component| budget.free_instance(component));
            }
        });
        let trusted = TrustedProxies::new(&application.trusted_proxies);
        let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let limits = &application.limits;
        let connections = Connections::new(size(limits.connections), size(limits.peer_connections));
        app.use_of_edge({
            let (connections, budget) = (connections.clone(), budget.clone());
            move || [connections.uses(), budget.uses()].concat()
        });
        let unrouted = app.boundaries().requests("", "");
        let refusals = app.boundaries().refusals();
        Arc::new(Edge {
            files: RwLock::default(),
            limits: limits.clone(),
            info: info.to_string().into(),
            dev,
            app,
            budget,
            connections,
            trusted,
            readiness,
            unrouted,
            refusals,
            turns: Turns::new(MAX_PEER_REQUESTS),
            wasi_http_only: std::env::var_os(WASI_HTTP_ONLY).is_some(),
        })
    }

    /// The limits of the edge.
    pub fn limits(&self) -> &EdgeLimits {
        &self.limits
    }

    /// The static file folders of `routing`, which a reload replaces.
    fn files_of(&self, routing: &Arc<Routing>) -> Arc<Vec<StaticFiles>> {
        let known = self.files.read();
        if known.0.as_ptr() == Arc::as_ptr(routing) {
            return known.1.clone();
        }
        drop(known);
        let folders = routing.folders.iter();
        let files = Arc::new(folders.map(|folder| StaticFiles::new(folder, self.app.budget())).collect());
        *self.files.write() = (Arc::downgrade(routing), Arc::clone(&files));
        files
    }

    /// The memory budget of requests.
    pub fn budget(&self) -> &Arc<EdgeBudget> {
        &self.budget
    }

    /// The counters of refused requests.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The open connections.
    pub fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// The proxies that are trusted to name a client.
    pub fn trusted(&self) -> &TrustedProxies {
        &self.trusted
    }

    /// Answers one request. Never fails: an error becomes a response.
    pub async fn answer(&self, request: Request<Incoming>, caller: &Caller, under_way: UnderWay) -> Response<EdgeBody> {
        let peer = self.trusted.client(&caller.peer, request.headers());
        let account = self.budget.open_whatever(Owner::of(caller, &peer, false), request::head_bytes(&request));
        let start = Instant::now();
        let id = request::id(request.headers());
        let to_head = request.method() == Method::HEAD;
        let logged = tracing::enabled!(target: "access", tracing::Level::INFO)
            .then(|| (request.method().clone(), request.uri().clone()));
        let (method, version) = (request.method().clone(), request.version());
        let end = under_way.end(caller.peer.is_proxy());
        let from_proxy = caller.peer.is_proxy();
        let span = self.app.boundaries().tracer().at_edge(|| Parent::of(request.headers()), from_proxy, start);
        let mut crossing = self.unrouted.open_at(&span, start);
        let trace = crossing.is_recorded().then(|| request::shared(&id));
        if let Some(trace) = &trace {
            crossing.note("souk.request.id", || Attribute::Text(trace.clone()));
        }
        let expects = request.headers().contains_key(EXPECT);
        let (head, body) = request.into_parts();
        let mut answering = Answering {
            under_way: &under_way,
            peer,
            end: &end,
            account: Some(account.clone()),
            call_until: start,
            body: Some(body),
            upload: None,
            is_unread: false,
            crossing,
            span,
            trace,
        };
        let (mut response, component) = self.route(head, caller, &id, &account, &mut answering).await;
        drop(account);
        let Answering { account, call_until, body, upload, mut is_unread, crossing, .. } = answering;
        if let Some(mut body) = body.filter(|body| !body.is_end_stream()) {
            // Nobody reads it. A client that sends `expect` (RFC 9110, section 10.1.1) sends no body after this answer.
            let most = self.limits().request_body.as_u64().saturating_mul(2);
            is_unread = expects || !Box::pin(upload::discard(&mut body, most)).await;
        }
        is_unread |= upload.is_some_and(|upload| !upload.has_ended());
        let account = account.unwrap_or_else(|| self.budget.open_whatever(Owner::of(caller, &peer, false), 0));
        body::fit(&mut response, to_head);
        crossing.close_request(&method, Ok(response.status()));
        if let Some((method, uri)) = logged {
            tracing::info!(
                target: "access",
                trace = id.to_str().unwrap_or("-"),
                component = component.as_deref().unwrap_or("-"),
                peer = %peer.address.ip(),
                status = response.status().as_u16(),
                bytes = response.body().length(),
                us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
                "{} {}", request::method_for_log(&method), request::path_for_log(uri.path()),
            );
        }
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        if version < Version::HTTP_2 && is_unread {
            // The host may not find the connection's next request.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if caller.is_secure() {
            headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(HSTS);
        }
        let pace = Pace::new(self.limits().idle_timeout, self.limits().response_min_rate.as_u64());
        response.body_mut().send(Outgoing::new(under_way, account, end, pace, call_until));
        response
    }

    async fn route(
        &self,
        mut head: Parts,
        caller: &Caller,
        id: &HeaderValue,
        account: &Arc<Account>,
        answering: &mut Answering<'_>,
    ) -> (Response<EdgeBody>, Option<Arc<str>>) {
        let authority = match request::authority(&head) {
            Ok(authority) => authority,
            Err(wrong) => {
                self.refusals.count("malformed");
                return (error::response(StatusCode::BAD_REQUEST, wrong), None);
            }
        };
        if head.method == Method::CONNECT {
            // A 2xx response would turn the connection into a tunnel.
            self.refusals.count("connect");
            return (error::response(StatusCode::NOT_IMPLEMENTED, "the host is not a proxy: CONNECT is refused"), None);
        }
        let uri = std::mem::take(&mut head.uri);
        match uri.path() {
            HEALTH => return (fixed(&head.method, "health", "text/plain", Bytes::from_static(b"OK")), None),
            READY => return (self.ready(&head.method), None),
            INFO => return (fixed(&head.method, "info", "application/json", self.info.clone()), None),
            _ => {}
        }
        cookies::strip_admin(&mut head.headers);
        let routing = self.app.routing();
        let Some(found) = routing.router.route(uri.path()) else {
            self.refusals.count("no-route");
            return (error::response(StatusCode::NOT_FOUND, "no route has this path"), None);
        };
        answering.crossing.at(&found.target.boundary);
        let entry = match &found.target.answer {
            Answer::Component(entry) => entry,
            Answer::Static(response) => return (body::of_manifest(response), None),
            Answer::Files(folder) => {
                let files = self.files_of(&routing);
                let Some(files) = files.get(*folder) else {
                    return (error::response(StatusCode::NOT_FOUND, "no route has this path"), None);
                };
                let trace = id.to_str().unwrap_or("-");
                return (files.answer(&head, found.trailing_wildcard(), uri.query(), trace).await, None);
            }
        };
        let handler = &entry.handler;
        let component = handler.component();
        if account.admit(found.target.reserved).is_err() {
            answering.account = None;
            return (self.refusal(&Refused::NoMemory, 0), Some(component.clone()));
        }
        let (limit, whole) = match handler {
            Handler::Local(_) => (self.limits().request_body.as_u64(), false),
            Handler::Remote(remote, _) => {
                (self.limits().request_body.as_u64().min(remote.max_request_bytes() as u64), true)
            }
        };
        if answering.body.as_ref().is_some_and(|body| body.size_hint().lower() > limit) {
            return (self.refusal(&Refused::TooLarge, limit), Some(component.clone()));
        }
        let Some(url) = request::target(&uri, authority, caller) else {
            return (
                error::response(StatusCode::BAD_REQUEST, "the request's target is not a URL"),
                Some(component.clone()),
            );
        };
        found.target.headers.set(&mut head.headers, &url, &found, &caller.header_of(&answering.peer));
        head.headers.insert(REQUEST_ID, id.clone());
        head.uri = url;
        let to_head = head.method == Method::HEAD;
        let trace = &answering.trace.take().unwrap_or_else(|| request::shared(id));
        let reading = Reading {
            limit,
            whole,
            pace: Pace::new(self.limits().body_read_timeout, self.limits().body_min_rate.as_u64()),
            account,
            under_way: answering.under_way,
            end: answering.end.clone(),
        };
        let read = match answering.body.take() {
            Some(body) => Upload::read(body, reading).await.inspect_err(|_| answering.is_unread = true),
            None => Ok(Upload::default()),
        };
        let ready = match read {
            Ok(upload) => {
                answering.upload = upload.progress();
                self.turn(caller, answering, account, found.target.reserved).await.map(|turn| (upload, turn))
            }
            Err(refused) => Err(refused),
        };
        let (upload, _turn) = match ready {
            Ok(ready) => ready,
            Err(refused) => {
                // The account may have been closed to make room; the refusal opens a new one.
                answering.account = None;
                return (self.refusal(&refused, limit), Some(component.clone()));
            }
        };
        let span = answering.crossing.place(&answering.span);
        let rest = entry.rest.clone();
        let context = CallContext { rest, span, ..CallContext::new(trace.clone(), handler.call_deadline()) };
        answering.call_until = context.deadline;
        answering.under_way.call_until(context.deadline);
        if let Handler::Local(pool) = handler {
            account.holds_instance(pool.component());
        }
        let answer = match handler {
            Handler::Local(pool) => match self.plain(pool, &head, &upload, &context) {
                Some(plain) => {
                    // Charged until the component has received it.
                    let (body, _, charge) = upload.into_ready();
                    let mut request = Request::from_parts(head, body);
                    match plain.handle(&mut request, context.clone()).await {
                        Ok(Some(response)) => Ok(body::whole(response, to_head)),
                        Ok(None) => {
                            let request = request.map(|body| Upload::of_ready(body, charge));
                            self.by_wasi_http(pool, request, context).await
                        }
                        Err(failed) => Ok(failure(&failed, trace, self.dev)),
                    }
                }
                None => self.by_wasi_http(pool, Request::from_parts(head, upload), context).await,
            },
            Handler::Remote(remote, _) => {
                let (body, trailers, _reservation) = upload.into_ready();
                Trailers::put(&mut head.extensions, trailers);
                match remote.handle(&Request::from_parts(head, body), "-", &context).await {
                    Ok(response) => Ok(body::whole(response, to_head)),
                    Err(failed) => Ok(failure(&failed, trace, self.dev)),
                }
            }
        };
        let response = match answer {
            _ if answering.upload.as_ref().is_some_and(|upload| upload.has_exceeded()) => too_large(limit),
            Ok(response) => response,
            // Nothing was sent yet, and the log has the reason.
            Err(_) => error::response(StatusCode::INTERNAL_SERVER_ERROR, &format!("{component} failed")),
        };
        (response, Some(component.clone()))
    }

    fn refusal(&self, refused: &Refused, limit: u64) -> Response<EdgeBody> {
        self.refusals.count(refused.key());
        refusal(refused, limit)
    }

    /// Lets the component answer through its `wasi:http` handler.
    async fn by_wasi_http(
        &self,
        pool: &Arc<Pool>,
        request: Request<Upload>,
        context: CallContext,
    ) -> Result<Response<EdgeBody>, wasmtime_wasi_http::Error> {
        let (to_head, trace) = (request.method() == Method::HEAD, context.trace.clone());
        // Boxed, because it is large and most requests do not need it.
        match Box::pin(pool.handle(request, context)).await {
            Ok(response) => {
                Ok(error::of_exception(buffer_small_body(response, to_head).await?, pool.component(), self.dev))
            }
            Err(failed) => Ok(failure(&failed, &trace, self.dev)),
        }
    }

    /// Handles the request as plain values, if the component and this request allow that (`wit/http` defines which do).
    fn plain(&self, pool: &Arc<Pool>, head: &Parts, upload: &Upload, context: &CallContext) -> Option<Plain> {
        let fits = upload.is_whole() && head.method != Method::HEAD && !head.headers.contains_key(EXPECT);
        if self.wasi_http_only || !fits || context.rest.is_some() {
            return None;
        }
        pool.plain(context.draw)
    }

    /// Waits for the request's turn to get an instance. `None` for a request that needs no turn.
    async fn turn(
        &self,
        caller: &Caller,
        answering: &Answering<'_>,
        account: &Arc<Account>,
        reserved: bool,
    ) -> Result<Option<Turn>, Refused> {
        let share = answering.peer.share;
        if reserved || !share.is_bounded() {
            return Ok(None);
        }
        if let Some(turn) = self.turns.take_now(share) {
            return Ok(Some(turn));
        }
        let (abort, registration) = AbortHandle::new_pair();
        let turn = Abortable::new(self.turns.take(share, caller.connection), registration);
        // A request that waits for others of its own peer can also be ended to make room for them.
        account.waits(End::Task(abort));
        answering.under_way.works_until(Instant::now() + self.limits().idle_timeout);
        let turn = turn.await.map_err(|_| Refused::NoMemory)?;
        account.works();
        Ok(Some(turn))
    }
}

impl Edge {
    /// Whether all routes can be served, for a load balancer; `/readyz` of the administration says what is missing.
    fn ready(&self, method: &Method) -> Response<EdgeBody> {
        let mut response = fixed(method, "readiness", "text/plain", Bytes::new());
        if response.status() == StatusCode::OK {
            if !self.readiness.is_ready() {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            let headers = response.headers_mut();
            headers.remove(CONTENT_TYPE);
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response
    }
}

/// The response for a failed call; the log has all details.
fn failure(failed: &CallError, trace: &str, dev: bool) -> Response<EdgeBody> {
    let (component, version) = (&*failed.component, failed.version);
    match failed.failure {
        // No component's fault, and there may be thousands of them.
        Failure::Overloaded | Failure::Unreachable => tracing::warn!(component, version, trace, "{failed}"),
        _ => tracing::error!(component, version, trace, "{failed}"),
    }
    error::from_call(failed, dev)
}

/// The host's own answer to a GET for `what`.
fn fixed(method: &Method, what: &str, content_type: &'static str, text: Bytes) -> Response<EdgeBody> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = error::response(StatusCode::METHOD_NOT_ALLOWED, &format!("{what} is read with GET"));
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(EdgeBody::full(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

fn refusal(refused: &Refused, limit: u64) -> Response<EdgeBody> {
    match refused {
        Refused::TooLarge => too_large(limit),
        Refused::NoMemory => {
            error::response(StatusCode::SERVICE_UNAVAILABLE, "too many request bodies are being received")
        }
        Refused::TooSlow => error::response(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
        // The client may be gone already.
        Refused::Broken => error::response(StatusCode::BAD_REQUEST, "the body broke off"),
    }
}

fn too_large(limit: u64) -> Response<EdgeBody> {
    error::response(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is larger than {limit} bytes"))
}
