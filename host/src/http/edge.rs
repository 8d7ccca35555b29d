//! The way of one request: id, route, bounds, the component, and the response made fit for the wire.

use super::body::{Bounded, EdgeBody, settle};
use super::error;
use super::request::{self, REQUEST_ID};
use crate::app::App;
use crate::call::CallContext;
use crate::limits::EdgeLimits;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Answers while the host serves; the path is Spin's.
const HEALTH: &str = "/.well-known/spin/health";

/// The public face of an application.
pub struct Edge {
    app: Arc<App>,
}

impl Edge {
    /// The edge of `app`.
    pub fn new(app: Arc<App>) -> Arc<Self> {
        Arc::new(Edge { app })
    }

    /// The limits of the edge.
    pub fn limits(&self) -> &EdgeLimits {
        &self.app.application().limits
    }

    /// Answers one request. Never fails: what goes wrong becomes a response.
    pub async fn answer(&self, request: Request<Incoming>, scheme: Scheme, peer: SocketAddr) -> Response<EdgeBody> {
        let start = Instant::now();
        let id = request::id(request.headers());
        let method = request.method().clone();
        let path = request.uri().path().to_string();
        let (mut response, component) = self.route(request, scheme, peer, &id).await;
        if tracing::enabled!(target: "access", tracing::Level::INFO) {
            tracing::info!(
                target: "access",
                trace = id.to_str().unwrap_or("-"),
                component = component.unwrap_or("-"),
                peer = %peer.ip(),
                status = response.status().as_u16(),
                bytes = response.body().length(),
                us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
                "{method} {path}",
            );
        }
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    async fn route<'a>(
        &'a self,
        request: Request<Incoming>,
        scheme: Scheme,
        peer: SocketAddr,
        id: &HeaderValue,
    ) -> (Response<EdgeBody>, Option<&'a str>) {
        if request.uri().path() == HEALTH {
            return (health(request.method()), None);
        }
        let (mut head, body) = request.into_parts();
        let path = head.uri.path().to_string();
        let Some(found) = self.app.router().route(&path) else {
            return (error::response(StatusCode::NOT_FOUND, "no route has this path"), None);
        };
        let pool = found.target;
        let component: &str = pool.component();
        let limit = self.limits().request_body;
        if body.size_hint().lower() > limit {
            return (too_large(limit), Some(component));
        }
        let Some(target) = request::target(&head.uri, &head.headers, scheme) else {
            return (error::response(StatusCode::BAD_REQUEST, "the host header is not a host"), Some(component));
        };
        request::spin_headers(&mut head.headers, &target, &found, peer);
        head.headers.insert(REQUEST_ID, id.clone());
        head.uri = target;
        let exceeded = Arc::new(AtomicBool::new(false));
        let body = Bounded::new(body, limit, exceeded.clone()).boxed_unsync();
        let context = CallContext::new(id.to_str().unwrap_or("-"), pool.call_deadline());
        let answer = match pool.handle(Request::from_parts(head, body), context).await {
            Ok(response) => settle(response).await.map_err(|e| format!("the body broke off: {e}")),
            Err(failed) => {
                tracing::error!(component, trace = id.to_str().unwrap_or("-"), "{failed}");
                Ok(error::from_call(&failed))
            }
        };
        let response = match answer {
            _ if exceeded.load(Ordering::Relaxed) => too_large(limit),
            Ok(response) => response,
            Err(detail) => {
                tracing::error!(component, trace = id.to_str().unwrap_or("-"), "{detail}");
                error::response(StatusCode::INTERNAL_SERVER_ERROR, &format!("{component} failed"))
            }
        };
        (response, Some(component))
    }
}

fn health(method: &Method) -> Response<EdgeBody> {
    if method != Method::GET && method != Method::HEAD {
        return error::response(StatusCode::METHOD_NOT_ALLOWED, "health is read with GET");
    }
    let mut response = Response::new(EdgeBody::full("OK".into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("2"));
    response
}

fn too_large(limit: u64) -> Response<EdgeBody> {
    error::response(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is larger than {limit} bytes"))
}
