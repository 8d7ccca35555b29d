//! Calls from callers that were built for another type of a function: this host takes them if it can answer them
//! exactly.
//!
//! Two versions of an application run side by side while its hosts are replaced. If a contract only gained optional
//! fields or cases, calls must not fail meanwhile. [`FunctionCodec::can_call`](souk_codec::FunctionCodec::can_call)
//! decides which callers can be served, and [`expected`] has the types that callers use. A host also subscribes to the
//! subjects of those types before it takes its first call, and every [`TYPES_INTERVAL`] to those of new callers.
//!
//! If no host takes a caller's type yet although one could, the call waits for a moment: it was not started
//! ([`call`](super::call)).

use super::called::CalledFunction;
use super::expected::{self, TYPES_INTERVAL};
use super::intake::{Endpoint, Intakes, Kind};
use super::micro;
use souk_nats::record::RecordError;
use souk_nats::record::Records;
use souk_nats::{Nats, NatsError, Outage};
use souk_runtime::{CallerType, Pool};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of other types.
    pub(crate) const FIXED_LIMITS = "remote";

    /// How long it waits after it could not read the types from NATS.
    const TYPES_RETRY_INTERVAL: Duration = Duration::from_secs(60);
    /// How long a start waits for the types that callers use.
    const FIRST_TYPES_TIMEOUT: Duration = Duration::from_secs(2);
}

/// One function of a component of this host.
pub(super) struct Own {
    pub called: CalledFunction,
    pub position: usize,
    pub public: Arc<micro::Endpoint>,
}

/// A component of this host that others call.
pub(super) struct Callee {
    pub pool: Arc<Pool>,
    /// The id under which only this host is called.
    pub id: String,
    pub functions: Vec<Own>,
    /// The subjects of other types that this host has subscribed to.
    pub subjects: BTreeSet<String>,
    /// The revision of the record when it was last read.
    pub revision: Option<u64>,
}

/// Subscribes the components of this host to the other types that callers use.
pub(super) struct OtherTypes {
    nats: Nats,
    intakes: Intakes,
    callees: Vec<Callee>,
}

/// Why the types of callers are unknown.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Nats(#[from] NatsError),
}

impl OtherTypes {
    pub(super) fn new(nats: &Nats, intakes: Intakes, callees: Vec<Callee>) -> Self {
        OtherTypes { nats: nats.clone(), intakes, callees }
    }

    /// Looks for the first time; [`run`](OtherTypes::run) does it from then on.
    pub(super) async fn look_first(&mut self) {
        let first = async {
            let records = expected::open(&self.nats).await?;
            self.look(&records).await
        };
        match tokio::time::timeout(FIRST_TYPES_TIMEOUT, first).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("the types that callers use could not be read: {error}"),
            Err(_) => tracing::debug!("the types that callers use could not be read in time"),
        }
    }

    /// Looks every [`TYPES_INTERVAL`] until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TYPES_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut records = None;
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            if *self.nats.outage().borrow() != Outage::None {
                continue;
            }
            let looked = async {
                let records = match &mut records {
                    Some(records) => records,
                    none => none.insert(expected::open(&self.nats).await?),
                };
                self.look(records).await
            };
            match stop.run_until_cancelled(looked).await {
                Some(Err(error)) => {
                    tracing::debug!("the types that callers use could not be read: {error}");
                    records = None;
                    // With a NATS user that may not read it, frequent attempts would fill the server's log.
                    tick.reset_after(TYPES_RETRY_INTERVAL);
                }
                Some(Ok(())) => {}
                None => return,
            }
        }
    }

    async fn look(&mut self, records: &Records) -> Result<(), Unknown> {
        for callee in &mut self.callees {
            let record = expected::get(records, callee.pool.component()).await?;
            if callee.revision == Some(record.revision) {
                continue;
            }
            for caller in expected::read(&record) {
                callee.take(&caller, &self.nats, &self.intakes).await?;
            }
            callee.revision = Some(record.revision);
        }
        Ok(())
    }
}

impl Callee {
    /// Takes the calls of callers that expect the function `caller`, if they can be answered exactly.
    async fn take(&mut self, caller: &CalledFunction, nats: &Nats, intakes: &Intakes) -> Result<(), NatsError> {
        let meant = |own: &&Own| own.called.interface == caller.interface && own.called.name == caller.name;
        let Some(own) = self.functions.iter().find(meant) else { return Ok(()) };
        if own.called.digest == caller.digest || !caller.can_call(&own.called) {
            return Ok(());
        }
        let component = self.pool.component();
        let subject = nats.subjects().call(component, &caller.interface, &caller.name, &caller.digest);
        if self.subjects.contains(&subject) {
            return Ok(());
        }
        let Some(ty) = CallerType::read(&caller.signature) else { return Ok(()) };
        let ty = ty.within(self.pool.limits().call_bytes.as_u64());
        let kind = Kind::Function { position: own.position, caller: ty };
        let (pool, public) = (self.pool.clone(), own.public.clone());
        intakes.open(Endpoint { pool, kind, public, subject: subject.clone() }, &self.id).await?;
        tracing::info!(
            component = %component,
            "calls of `{}#{}` are also taken from callers that are built for `{}`",
            caller.interface,
            caller.name,
            caller.signature
        );
        self.subjects.insert(subject);
        Ok(())
    }
}

#[cfg(test)]
#[path = "other_types_tests.rs"]
mod tests;
