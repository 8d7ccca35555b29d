//! The routes and what answers each. A reload replaces all of them at once.

use super::handler::{self, Entry, Handler};
use crate::spin_headers::RouteHeaders;
use souk_bindings::boundary::{Boundaries, Boundary};
use souk_manifest::{Application, Diagnostic, Route, Router, StaticResponse, StaticRoute};
use souk_runtime::Exported;
use std::collections::BTreeMap;
use wasmtime::component::Component;

/// A public route.
pub struct PublicRoute {
    /// What answers.
    pub answer: Answer,
    /// Spin's headers for a request.
    pub headers: RouteHeaders,
    /// Whether memory is reserved for its requests.
    pub reserved: bool,
    /// The boundary that its requests cross, for traces and metrics.
    pub boundary: Boundary,
}

/// What answers the requests to a route.
pub enum Answer {
    /// A component, through its middleware.
    Component(Entry),
    /// The host, always with the same response.
    Static(StaticResponse),
    /// The host, with files of a folder: the index of that folder in the manifest's list.
    Files(usize),
}

/// The routing of requests to components.
pub struct Routing {
    /// What answers public requests, by path.
    pub router: Router<PublicRoute>,
    /// The routes to components, as in the manifest.
    pub routes: Vec<Route>,
    /// The routes that the host answers itself.
    pub(super) fixed: Vec<StaticRoute>,
    /// The middleware that requests of other components to a component pass first.
    pub(super) middleware: BTreeMap<String, Vec<String>>,
}

impl Routing {
    /// The routing of `application`.
    pub(super) fn of(application: &Application, handlers: &BTreeMap<String, Handler>, boundaries: &Boundaries) -> Self {
        Routing {
            router: router(application, handlers, boundaries),
            routes: application.routes.clone(),
            fixed: application.static_routes.clone(),
            middleware: handler::middleware(application),
        }
    }
}

/// The router of `application`; it leaves out a route whose component is off or unreachable.
fn router(
    application: &Application,
    handlers: &BTreeMap<String, Handler>,
    boundaries: &Boundaries,
) -> Router<PublicRoute> {
    let base = &application.base_path;
    let components = application.routes.iter().filter_map(|route| {
        let pattern = route.pattern.clone()?;
        let entry = handler::entry(handlers, &route.middleware, &route.component)?;
        let headers = RouteHeaders::of(&pattern, base);
        let boundary = boundaries.requests(&route.component, pattern.as_str());
        let answer = Answer::Component(entry);
        Some((pattern, PublicRoute { answer, headers, reserved: route.reserved, boundary }))
    });
    let fixed = application.static_routes.iter().map(|route| {
        let headers = RouteHeaders::of(&route.pattern, base);
        let boundary = boundaries.requests("", route.pattern.as_str());
        let answer = Answer::Static(route.response.clone());
        (route.pattern.clone(), PublicRoute { answer, headers, reserved: false, boundary })
    });
    let files = application.static_folders.iter().enumerate().map(|(place, folder)| {
        let headers = RouteHeaders::of(&folder.pattern, base);
        let boundary = boundaries.requests("", folder.pattern.as_str());
        (folder.pattern.clone(), PublicRoute { answer: Answer::Files(place), headers, reserved: false, boundary })
    });
    Router::new(components.chain(fixed).chain(files))
}

/// Checks that every component of this host that has a route, or is middleware of one, handles HTTP. Returns a mistake
/// for each that does not.
#[must_use]
pub(super) fn check_routes(
    engine: &wasmtime::Engine,
    application: &Application,
    routes: &[Route],
    codes: &BTreeMap<String, Component>,
) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    for route in routes {
        for (component, what) in
            route.middleware.iter().map(|name| (name, "is middleware")).chain([(&route.component, "has a route")])
        {
            let Some(exported) = codes.get(component).map(|code| Exported::of(engine, code)) else { continue };
            if !exported.http() {
                let (message, fix) = not_a_handler(what, &exported);
                mistakes.push(application.mistake_at(route.line, component, message, fix));
            }
        }
    }
    mistakes
}

/// The message and the fix for a component that gets requests and exports no HTTP handler.
fn not_a_handler(what: &str, exported: &Exported) -> (String, String) {
    let mut interfaces: Vec<&str> = exported.functions.iter().map(|f| f.interface.as_str()).collect();
    interfaces.dedup();
    let offers = if interfaces.is_empty() { "no interface".to_owned() } else { interfaces.join(", ") };
    let has = |prefix: &str| interfaces.iter().any(|interface| interface.starts_with(prefix));
    let fix = if has("wasi:http/") || has("fermyon:spin/inbound-http") {
        "build it with an SDK for a newer version of that interface: for Rust spin-sdk 5, 6 or 7"
    } else if has("wasi:cli/run") {
        "it is a program that runs once: make it an HTTP handler, with an SDK or the crate wstd"
    } else {
        "remove it from the trigger, or make the component an HTTP handler"
    };
    let message = format!("{what} but exports neither wasi:http/handler@0.3 nor wasi:http/incoming-handler@0.2");
    (format!("{message}; it exports {offers}"), fix.to_owned())
}
