//! What answers HTTP requests for a component, wherever it runs: routes and `NAME.spin.internal` both lead here.

use souk_links::remote::Remote;
use souk_links::remote::http::Handler as Elsewhere;
use souk_manifest::{Application, Component};
use souk_runtime::Pool;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The way of requests to one component.
#[derive(Clone)]
pub enum Handler {
    /// It runs on this host.
    Here(Arc<Pool>),
    /// It runs on another, and may take that long.
    Elsewhere(Arc<Elsewhere>, Duration),
}

impl Handler {
    /// The component's name.
    pub fn component(&self) -> &Arc<str> {
        match self {
            Handler::Here(pool) => pool.component(),
            Handler::Elsewhere(elsewhere, _) => elsewhere.component(),
        }
    }

    /// How long a request may take.
    pub fn call_deadline(&self) -> Duration {
        match self {
            Handler::Here(pool) => pool.call_deadline(),
            Handler::Elsewhere(_, deadline) => *deadline,
        }
    }
}

/// The way to every component; those on other hosts are reached by `remote`.
pub(super) fn all(
    application: &Application,
    pools: &BTreeMap<String, Arc<Pool>>,
    remote: Option<&Remote>,
) -> BTreeMap<String, Handler> {
    let handler = |component: &Component| match (pools.get(&component.name), remote) {
        (Some(pool), _) => Some(Handler::Here(pool.clone())),
        (None, Some(remote)) => {
            let elsewhere = Arc::new(Elsewhere::new(remote, &component.name));
            Some(Handler::Elsewhere(elsewhere, component.limits.call_deadline))
        }
        (None, None) => None,
    };
    let components = application.components.values();
    components.filter_map(|component| Some((component.name.clone(), handler(component)?))).collect()
}
