//! The way of one request: id, route, bounds, the component, and the response made fit for the wire.

use super::activity::UnderWay;
use super::body::{self, EdgeBody, buffer_small_body};
use super::error;
use super::request::{self, Caller, REQUEST_ID, Target};
use super::upload::{self, MemoryBudget, Refused, Upload};
use crate::app::{App, Handler};
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use souk_bindings::call::CallContext;
use souk_manifest::Router;
use souk_manifest::limits::EdgeLimits;
use souk_runtime::{CallError, Failure};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Answers while the host serves; the path is Spin's.
const HEALTH: &str = "/.well-known/spin/health";

/// The public face of an application.
pub struct Edge {
    app: Arc<App>,
    router: Router<Target>,
    budget: MemoryBudget,
}

impl Edge {
    /// The edge of `app`.
    pub fn new(app: Arc<App>) -> Arc<Self> {
        let routes = app.application().routes.iter().filter_map(|route| {
            let (pattern, handler) = (route.pattern.as_ref()?, app.handler(&route.component)?);
            Some((pattern.clone(), Target::new(pattern, handler.clone())))
        });
        let router = Router::new(routes);
        Arc::new(Edge { app, router, budget: MemoryBudget::new() })
    }

    /// The limits of the edge.
    pub fn limits(&self) -> &EdgeLimits {
        &self.app.application().limits
    }

    /// Answers one request. Never fails: what goes wrong becomes a response.
    pub async fn answer(&self, request: Request<Incoming>, caller: &Caller, under_way: UnderWay) -> Response<EdgeBody> {
        let start = Instant::now();
        let id = request::id(request.headers());
        let to_head = request.method() == Method::HEAD;
        let logged = tracing::enabled!(target: "access", tracing::Level::INFO)
            .then(|| (request.method().clone(), request.uri().clone()));
        let (mut response, component) = self.route(request, caller, &id, &under_way).await;
        body::fit(&mut response, to_head);
        if let Some((method, uri)) = logged {
            tracing::info!(
                target: "access",
                trace = id.to_str().unwrap_or("-"),
                component = component.unwrap_or("-"),
                peer = %caller.peer.ip(),
                status = response.status().as_u16(),
                bytes = response.body().length(),
                us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
                "{method} {}", uri.path(),
            );
        }
        response.headers_mut().insert(REQUEST_ID, id);
        response.body_mut().keep(under_way);
        response
    }

    async fn route<'a>(
        &'a self,
        request: Request<Incoming>,
        caller: &Caller,
        id: &HeaderValue,
        under_way: &UnderWay,
    ) -> (Response<EdgeBody>, Option<&'a str>) {
        let (mut head, body) = request.into_parts();
        let authority = match request::authority(&head) {
            Ok(authority) => authority,
            Err(wrong) => return (error::response(StatusCode::BAD_REQUEST, wrong), None),
        };
        let uri = std::mem::take(&mut head.uri);
        if uri.path() == HEALTH {
            return (health(&head.method), None);
        }
        let Some(found) = self.router.route(uri.path()) else {
            return (error::response(StatusCode::NOT_FOUND, "no route has this path"), None);
        };
        let handler = &found.target.handler;
        let component: &str = handler.component();
        let (limit, whole) = match handler {
            Handler::Local(_) => (self.limits().request_body.as_u64(), false),
            Handler::Remote(remote, _) => (self.limits().request_body.as_u64().min(remote.most() as u64), true),
        };
        if body.size_hint().lower() > limit {
            // A client that asks first (RFC 9110, section 10.1.1) sends nothing when it is told no.
            if !head.headers.contains_key(EXPECT) {
                upload::discard(body, limit.saturating_mul(2)).await;
            }
            return (too_large(limit), Some(component));
        }
        let Some(url) = request::target(&uri, authority, caller) else {
            return (error::response(StatusCode::BAD_REQUEST, "the request's target is not a URL"), Some(component));
        };
        request::spin_headers(&mut head.headers, &url, &found, caller);
        head.headers.insert(REQUEST_ID, id.clone());
        head.uri = url;
        let to_head = head.method == Method::HEAD;
        let trace = id.to_str().unwrap_or("-");
        let patience = self.limits().body_read_timeout;
        let upload = match Upload::read(body, limit, whole, patience, &self.budget).await {
            Ok(upload) => upload,
            Err(refused) => return (refusal(&refused, limit), Some(component)),
        };
        let context = CallContext::new(trace, handler.call_deadline());
        under_way.call_until(context.deadline);
        let exceeded = upload.exceeded();
        let answer = match handler {
            Handler::Local(pool) => match pool.handle(Request::from_parts(head, upload), context).await {
                Ok(response) if response.status().is_informational() => Err(informational(response.status())),
                Ok(response) => buffer_small_body(response, to_head)
                    .await
                    .map_err(|error| error.map(|e| format!("the body broke off: {e}"))),
                Err(failed) => Ok(failure(&failed, trace)),
            },
            Handler::Remote(remote, _) => {
                let (body, _reservation) = upload.into_ready();
                match remote.handle(&Request::from_parts(head, body), "-", &context).await {
                    Ok(response) if response.status().is_informational() => Err(informational(response.status())),
                    Ok(response) => Ok(body::whole(response, to_head)),
                    Err(failed) => Ok(failure(&failed, trace)),
                }
            }
        };
        let response = match answer {
            _ if exceeded.is_some_and(|exceeded| exceeded.load(Ordering::Relaxed)) => too_large(limit),
            Ok(response) => response,
            Err(detail) => {
                if let Some(detail) = detail {
                    tracing::error!(component, trace, "{detail}");
                }
                error::response(StatusCode::INTERNAL_SERVER_ERROR, &format!("{component} failed"))
            }
        };
        (response, Some(component))
    }
}

/// The host alone speaks about the state of a connection.
fn informational(status: StatusCode) -> Option<String> {
    Some(format!("the guest answered with the informational status {status}"))
}

/// The response for a call that failed, which the log has in full.
fn failure(failed: &CallError, trace: &str) -> Response<EdgeBody> {
    let component = &*failed.component;
    match failed.failure {
        // Nobody's mistake, and there may be thousands of them.
        Failure::Overloaded | Failure::Unreachable => tracing::warn!(component, trace, "{failed}"),
        _ => tracing::error!(component, trace, "{failed}"),
    }
    error::from_call(failed)
}

fn health(method: &Method) -> Response<EdgeBody> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = error::response(StatusCode::METHOD_NOT_ALLOWED, "health is read with GET");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = Response::new(EdgeBody::full("OK".into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("2"));
    response
}

fn refusal(refused: &Refused, limit: u64) -> Response<EdgeBody> {
    match refused {
        Refused::TooLarge => too_large(limit),
        Refused::NoMemory => error::response(StatusCode::SERVICE_UNAVAILABLE, "too many bodies are on their way"),
        Refused::TooSlow => error::response(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
        // There may be nobody left to read it.
        Refused::Broken => error::response(StatusCode::BAD_REQUEST, "the body broke off"),
    }
}

fn too_large(limit: u64) -> Response<EdgeBody> {
    error::response(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is larger than {limit} bytes"))
}
