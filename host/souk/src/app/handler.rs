//! What answers HTTP requests for a component, on this host or another: both routes and `NAME.spin.internal` use it.

use souk_bindings::call::Chain;
use souk_links::remote::Remote;
use souk_links::remote::http::Handler as RemoteHandler;
use souk_manifest::{Application, Component, Route};
use souk_runtime::Pool;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The target of HTTP requests to one component.
#[derive(Clone)]
pub enum Handler {
    /// It runs on this host.
    Local(Arc<Pool>),
    /// It runs on another host; the duration is a request's time limit.
    Remote(Arc<RemoteHandler>, Duration),
}

impl Handler {
    /// The component's name.
    pub fn component(&self) -> &Arc<str> {
        match self {
            Handler::Local(pool) => pool.component(),
            Handler::Remote(handler, _) => handler.component(),
        }
    }

    /// How long a request may take.
    pub fn call_deadline(&self) -> Duration {
        match self {
            Handler::Local(pool) => pool.call_deadline(),
            Handler::Remote(_, deadline) => *deadline,
        }
    }
}

/// The first handler of a request, and for middleware the rest of the chain.
#[derive(Clone)]
pub struct Entry {
    /// What gets the request.
    pub handler: Handler,
    /// The rest of the chain, to which middleware passes the request on.
    pub rest: Option<Chain>,
}

/// The chain from `middleware` to `component`; `None` when one of them is not part of this application's run.
pub(super) fn entry(handlers: &BTreeMap<String, Handler>, middleware: &[String], component: &str) -> Option<Entry> {
    let mut names = middleware.iter().map(String::as_str).chain([component]);
    let handler = handlers.get(names.next()?)?.clone();
    Some(Entry { handler, rest: Chain::new(names.map(Into::into)) })
}

/// The middleware of each component whose routes all have the same; requests of other components pass it too.
pub(super) fn middleware(application: &Application) -> BTreeMap<String, Vec<String>> {
    let mut middleware: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for route in application.routes.iter().filter(|route| !route.middleware.is_empty()) {
        let same = |other: &&Route| other.component == route.component && other.middleware != route.middleware;
        if !application.routes.iter().any(|other| same(&other)) {
            middleware.insert(route.component.clone(), route.middleware.clone());
        }
    }
    middleware
}

/// The handler of every component; those on other hosts are reached through `remote`.
pub(super) fn all(
    application: &Application,
    pools: &BTreeMap<String, Arc<Pool>>,
    remote: Option<&Remote>,
) -> BTreeMap<String, Handler> {
    let handler = |component: &Component| match (pools.get(&component.name), remote) {
        (Some(pool), _) => Some(Handler::Local(pool.clone())),
        (None, Some(remote)) => {
            let handler = Arc::new(RemoteHandler::new(remote, &component.name));
            Some(Handler::Remote(handler, component.limits.call_deadline))
        }
        (None, None) => None,
    };
    let components = application.components.values();
    components.filter_map(|component| Some((component.name.clone(), handler(component)?))).collect()
}
