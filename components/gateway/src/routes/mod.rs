//! The routes, and how a service's refusal becomes HTTP. One file a resource; each has a `route` that takes what
//! follows the resource's name.

mod products;

use crate::http::error::Error;
use crate::http::reply::Reply;
use crate::http::{Request, path};
use spin_sdk::wasip3::http::types::Method;

/// Finds the route of a request and runs it.
pub async fn dispatch(request: &Request<'_>) -> Result<Reply, Error> {
    let mut segments = path::segments(request.path);
    let (prefix, resource, rest) = (segments.next(), segments.next(), segments.collect::<Vec<_>>());
    let is = |segment: Option<&str>, name: &str| segment.is_some_and(|s| s.eq_ignore_ascii_case(name));
    match () {
        () if !is(prefix, "api") => Err(no_route(request)),
        () if is(resource, "products") => products::route(request, &rest).await,
        () => Err(no_route(request)),
    }
}

/// 404 for a method and path that no route takes.
fn no_route(request: &Request<'_>) -> Error {
    let method = match request.method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(other) => other,
    };
    Error::no_route(method, request.target)
}
