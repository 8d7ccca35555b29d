//! The callee's side: the components of this host as NATS services.
//!
//! Each call runs in a task of its own, which is aborted when its caller cancels the call. A memory budget bounds the
//! calls in progress before anything of a call is read ([`memory_budget`](super::memory_budget)).
//!
//! **Why not the endpoints of `async_nats::service`.** A host that stops must leave the queue groups and still answer
//! the calls that NATS has given it by then. When an endpoint is stopped, and also when a subscription is drained, that
//! client forgets the subscription before the server knows of it, and drops the messages that arrive meanwhile. At a
//! thousand calls a second and a millisecond to the server, it loses a call at each stop. So this host has its own
//! subscriptions ([`intake`](super::intake)), which end as [`leave`](super::leave) describes; [`super::micro`] has the
//! API that makes a service visible, with that crate's types.

use super::called::CalledFunction;
use super::intake::{Endpoint, Host, Intakes, Kind};
use super::micro::{self, Announcing};
use super::other_types::{Callee, OtherTypes, Own};
use super::queue_group::{LEAVE_TIMEOUT, round_trip};
use souk_nats::{Nats, NatsError};
use souk_runtime::{CallerType, Pool, vital};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// The services of this host, while they take calls.
pub struct Serving {
    host: Arc<Host>,
    intakes: TaskTracker,
    stop: CancellationToken,
    /// The readers of cancellations. They end after the last answer: a call can be cancelled until then.
    _cancels: Vec<AbortOnDropHandle<Option<()>>>,
}

impl Serving {
    /// Takes calls for the components of `pools` until `stop`: calls of each function whose values can cross a link,
    /// and HTTP requests. `version` is the application's version.
    ///
    /// # Errors
    /// When the connection has been closed.
    pub async fn start<'a>(
        nats: &Nats,
        pools: impl Iterator<Item = &'a Arc<Pool>>,
        version: &str,
        stop: CancellationToken,
    ) -> Result<Self, NatsError> {
        let client = nats.client();
        let host = Host::new(nats);
        let intakes = Intakes { host: host.clone(), tasks: TaskTracker::new(), stop: stop.clone() };
        let (mut cancels, mut services, mut callees) = (Vec::new(), Vec::new(), Vec::new());
        for pool in pools {
            let (endpoints, functions) = endpoints(pool, nats);
            if endpoints.is_empty() {
                continue;
            }
            let public = endpoints.iter().map(|endpoint| endpoint.public.clone()).collect();
            let service = micro::Service::new(nats.subjects(), pool.component(), version, public);
            // Before the calls, so that every call can be cancelled.
            let subscriber = client.subscribe(nats.subjects().cancel(pool.component())).await?;
            cancels.push(AbortOnDropHandle::new(tokio::spawn(vital(
                "an intake of cancellations",
                host.clone().cancel(subscriber),
            ))));
            for endpoint in endpoints {
                intakes.open(endpoint, service.id()).await?;
            }
            let id = service.id().to_owned();
            callees.push(Callee { pool: pool.clone(), id, functions, subjects: BTreeSet::new(), revision: None });
            services.push(service);
        }
        let mut others = OtherTypes::new(nats, intakes.clone(), callees);
        others.look_first().await;
        let intakes = intakes.tasks;
        intakes.spawn(vital("the search for other types", others.run(stop.clone())));
        let announcing = Announcing::start(client, services).await?;
        let stopped = stop.clone();
        intakes.spawn(async move {
            stopped.cancelled().await;
            drop(announcing);
        });
        // When other hosts learn that this host serves, it must be in the queue groups already.
        round_trip(client).await;
        Ok(Serving { host, intakes, stop, _cancels: cancels })
    }

    /// Waits until it is stopped. Then leaves the queue groups, and answers the calls that it has, within `timeout`.
    /// Returns whether all of them were answered.
    pub async fn finish(self, timeout: Duration) -> bool {
        self.stop.cancelled().await;
        let drained = tokio::time::timeout(timeout, async {
            self.intakes.close();
            self.intakes.wait().await;
            self.host.tasks.close();
            self.host.tasks.wait().await;
        });
        let drained = drained.await.is_ok();
        // The client may still hold the last answers.
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.host.nats.client().flush()).await;
        drained
    }
}

/// The endpoints of the component of `pool`, and its functions.
fn endpoints(pool: &Arc<Pool>, nats: &Nats) -> (Vec<Endpoint>, Vec<Own>) {
    let (active, component) = (pool.active(), pool.component());
    let exported = &active.compiled().exported;
    let (mut endpoints, mut functions) = (Vec::new(), Vec::new());
    for function in exported.functions.iter().filter(|function| !function.is_http()) {
        let Some(position) = pool.position(&function.interface, &function.name) else { continue };
        // Functions with handles, such as those of WASI, cannot be linked.
        let Ok(caller) = CallerType::of(&function.name, &function.ty) else { continue };
        let caller = caller.within(pool.limits().call_bytes.as_u64());
        let (interface, name) = (&function.interface, &function.name);
        let called = CalledFunction::new(interface, name, &function.ty);
        let subject = nats.subjects().call(component, interface, name, &called.digest);
        let interfaces = exported.functions.iter().map(|function| function.interface.as_str());
        let public_name = micro::endpoint_name(interface, name, interfaces);
        let public = micro::Endpoint::function(subject.clone(), public_name, component, called.clone());
        functions.push(Own { called, position, public: public.clone() });
        let kind = Kind::Function { position, caller };
        endpoints.push(Endpoint { pool: pool.clone(), kind, public, subject });
    }
    if exported.http() {
        let subject = nats.subjects().http(component);
        let public = micro::Endpoint::http(subject.clone(), component);
        endpoints.push(Endpoint { pool: pool.clone(), kind: Kind::Http, public, subject });
    }
    (endpoints, functions)
}
