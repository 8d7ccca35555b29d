//! The public routes, with what answers each.

use super::handler::{self, Entry, Handler};
use crate::spin_headers::RouteHeaders;
use souk_manifest::{Application, Router, StaticResponse};
use std::collections::BTreeMap;

/// A public route.
pub struct PublicRoute {
    /// What answers.
    pub answer: Answer,
    /// Spin's headers for a request.
    pub headers: RouteHeaders,
    /// Whether its requests have a reserve of memory.
    pub reserved: bool,
}

/// What answers the requests of a route.
pub enum Answer {
    /// A component, through its middleware.
    Component(Entry),
    /// The host, always the same.
    Static(StaticResponse),
}

/// The router of `application`; a route whose component takes no part here is none.
pub(super) fn router(application: &Application, handlers: &BTreeMap<String, Handler>) -> Router<PublicRoute> {
    let base = &application.base_path;
    let components = application.routes.iter().filter_map(|route| {
        let pattern = route.pattern.clone()?;
        let entry = handler::entry(handlers, &route.middleware, &route.component)?;
        let headers = RouteHeaders::of(&pattern, base);
        Some((pattern, PublicRoute { answer: Answer::Component(entry), headers, reserved: route.reserved }))
    });
    let fixed = application.static_routes.iter().map(|route| {
        let headers = RouteHeaders::of(&route.pattern, base);
        (
            route.pattern.clone(),
            PublicRoute { answer: Answer::Static(route.response.clone()), headers, reserved: false },
        )
    });
    Router::new(components.chain(fixed))
}
