//! Calls that were made for another type of a function than this host's: taken where this host can answer them exactly.
//!
//! Two versions of an application run side by side while its hosts are replaced, and a contract that only gained optional
//! fields or cases must not stop the store meanwhile. Which callers can be served is for [`FunctionCodec::can_call`](souk_codec::FunctionCodec::can_call); of
//! which types there are callers, [`expected`] says. A host subscribes to the subjects of those types too, before it takes
//! its first call, and every [`TYPES_INTERVAL`] to those of callers that have come since.
//!
//! A caller whose type nobody takes yet, though a host could, waits for that for a moment: such a call was not begun
//! ([`call`](super::call)).

use super::expected;
use super::micro;
use super::serve::{Endpoint, Intakes, Kind};
use super::types::CalledFunction;
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

    /// How often a host looks for callers with other types of its functions.
    pub(super) const TYPES_INTERVAL: Duration = Duration::from_secs(2);
    /// How long it waits after NATS could not say.
    const FAILED_LOOK_INTERVAL: Duration = Duration::from_secs(60);
    /// How long a start waits until it knows for which other types it will be called.
    const FIRST_LOOK_TIMEOUT: Duration = Duration::from_secs(2);
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
    /// Under which it is called by itself.
    pub id: String,
    pub functions: Vec<Own>,
    /// The subjects of other types that it has.
    pub subjects: BTreeSet<String>,
    /// The revision of the record that was read last.
    pub revision: Option<u64>,
}

/// The components of this host, and for which other types they are called.
pub(super) struct Others {
    nats: Nats,
    intakes: Intakes,
    callees: Vec<Callee>,
}

/// Why nothing is known of other types.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Nats(#[from] NatsError),
}

impl Others {
    pub(super) fn new(nats: &Nats, intakes: Intakes, callees: Vec<Callee>) -> Self {
        Others { nats: nats.clone(), intakes, callees }
    }

    /// Looks for the first time; the rest is for [`run`](Others::run).
    pub(super) async fn look_first(&mut self) {
        let first = async {
            let records = expected::open(&self.nats).await?;
            self.look(&records).await
        };
        match tokio::time::timeout(FIRST_LOOK_TIMEOUT, first).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("for which other types callers are built is not known: {error}"),
            Err(_) => tracing::debug!("for which other types callers are built is not known in time"),
        }
    }

    /// Looks again and again until `stop`.
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
                    tracing::debug!("for which other types callers are built is not known: {error}");
                    records = None;
                    // A user that may not read it would fill the log of the server.
                    tick.reset_after(FAILED_LOOK_INTERVAL);
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
#[path = "others_tests.rs"]
mod tests;
