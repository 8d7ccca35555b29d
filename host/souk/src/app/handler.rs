//! What answers HTTP requests for a component, wherever it runs: routes and `NAME.spin.internal` both lead here.

use souk_links::remote::Remote;
use souk_links::remote::http::Handler as RemoteHandler;
use souk_manifest::{Application, Component};
use souk_runtime::Pool;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Where HTTP requests to one component go.
#[derive(Clone)]
pub enum Handler {
    /// It runs on this host.
    Local(Arc<Pool>),
    /// It runs on another host; a request may take so long.
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
