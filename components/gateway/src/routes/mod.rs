//! The routes. There is one file for each resource; its `route` gets the path after the resource's name, and turns
//! refusals of the service into HTTP errors.

mod auth;
mod customers;
mod docs;
mod history;
#[cfg(test)]
mod openapi;
mod orders;
mod products;
#[cfg(test)]
mod recorded;

use crate::http::error::Error;
use crate::http::reply::Reply;
use crate::http::{Request, path};
use spin_sdk::wasip3::http::types::Method;

/// Finds the route of a request and runs it.
pub(crate) fn dispatch(request: &Request<'_>) -> Result<Reply, Error> {
    if request.path == "/" && matches!(request.method, Method::Get | Method::Head) {
        return docs::entry();
    }
    let mut segments = path::segments(request.path);
    if !segments.next().is_some_and(|prefix| prefix.eq_ignore_ascii_case("api")) {
        return Err(no_route(request));
    }
    let resource = segments.next().unwrap_or_default().to_ascii_lowercase();
    let rest: Vec<&str> = segments.collect();
    match resource.as_str() {
        "auth" => auth::route(request, &rest),
        "docs" | "openapi.json" => docs::route(request, &resource, &rest),
        "orders" => orders::route(request, &rest),
        "products" => products::route(request, &rest),
        _ => Err(no_route(request)),
    }
}

/// 404 for a method and path that no route matches.
fn no_route(request: &Request<'_>) -> Error {
    Error::no_route(souk_web::method_name(request.method), request.target)
}
