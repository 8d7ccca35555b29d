//! What a caller knows of the hosts of a component, and which of them it calls.
//!
//! Normally NATS chooses, and NATS gives calls to every host that has a connection. A host that hangs (a stopped
//! process, a machine that swaps) keeps its connection until the server's pings fail, which takes at least 15 seconds,
//! and far longer while calls go to it. So for [`PROBE_PERIOD`] after a lost call, the caller probes the hosts with
//! `$SRV.PING`, which each host answers for its components, and sends calls to the host that answers first, on that
//! host's own subject. It repeats the probe every [`PROBE_TTL`]. Then another host may be the first, which spreads
//! calls, and a host that hangs meanwhile gets no more calls. So a caller sends at most ten probes a second for one
//! component, however many calls there are.
//!
//! While one host tries out a version of the component, calls for that version go to a subject that this host alone
//! takes ([`Trial`]). When it is gone, they go to the others.
//!
//! A call is never sent to two hosts at the same time, and a call that may not be repeated is not sent again: when a
//! host that hangs wakes up, it starts the calls that it has, unless their deadline has passed or they were cancelled.

use super::OUTAGE_GRACE;
use super::micro::{self, PROBE_TIMEOUT};
use parking_lot::Mutex;
use souk_nats::Nats;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of probes.
    pub(crate) const FIXED_LIMITS = "remote";

    /// How long after a lost call the hosts are probed before calls are sent.
    pub(super) const PROBE_PERIOD: Duration = Duration::from_secs(30);
    /// How long the first answer to a probe is used.
    pub(super) const PROBE_TTL: Duration = Duration::from_millis(100);
    /// How long to remember that no host answered a probe, so that not every call waits for an answer in vain.
    pub(super) const NO_HOST_TTL: Duration = Duration::from_secs(2);
}

/// A version of a component that one host tries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The id of the trial, which is a part of the subject of its calls.
    pub id: Arc<str>,
    /// The draws below which a call is for it.
    pub share: u16,
}

/// When something last happened.
#[derive(Debug, Default)]
pub(super) struct LastTime(Mutex<Option<Instant>>);

impl LastTime {
    pub(super) fn note(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    fn forget(&self) {
        *self.0.lock() = None;
    }

    /// Whether that is less than [`OUTAGE_GRACE`] ago.
    pub(super) fn is_recent(&self) -> bool {
        self.is_within(OUTAGE_GRACE)
    }

    fn is_within(&self, time: Duration) -> bool {
        self.0.lock().is_some_and(|last| last.elapsed() < time)
    }
}

/// What a caller knows of the hosts of one component.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// When one of them last answered a call.
    pub(super) answered: LastTime,
    /// When a call to one of them was last lost.
    pub(super) lost: LastTime,
    /// The version that one of them tries out.
    trial: Mutex<Option<Trial>>,
    /// When a call to that host was last lost.
    trial_lost: LastTime,
    /// When the hosts were last probed, and which host answered first; `None` when none answered.
    first: tokio::sync::Mutex<Option<(Instant, Option<Arc<str>>)>>,
}

impl Hosts {
    /// Notes which version one of them tries out.
    pub(super) fn set_trial(&self, trial: Option<Trial>) {
        let mut known = self.trial.lock();
        if *known != trial {
            *known = trial;
            self.trial_lost.forget();
        }
    }

    /// The id of the trial whose version a call with this draw is for. `None` for a while after its host has lost a call: then
    /// it may hang, and all calls go to the versions that serve.
    pub(super) fn trial(&self, draw: u16) -> Option<Arc<str>> {
        let id = self.trial.lock().as_ref().filter(|trial| draw < trial.share)?.id.clone();
        (!self.trial_lost.is_within(PROBE_PERIOD)).then_some(id)
    }

    /// Notes that the host that tries out a version has lost a call, or cannot be called.
    pub(super) fn note_trial_lost(&self) {
        self.trial_lost.note();
    }

    /// The host of `component` to call; `None` when NATS chooses.
    pub(super) async fn choose(&self, nats: &Nats, component: &str) -> Option<Arc<str>> {
        if !self.lost.is_within(PROBE_PERIOD) {
            return None;
        }
        // Held during the probe: other calls wait for the same answer.
        let mut first = self.first.lock().await;
        if let Some((asked, host)) = &*first
            && asked.elapsed() < if host.is_some() { PROBE_TTL } else { NO_HOST_TTL }
        {
            return host.clone();
        }
        let host = micro::first_host(nats, component, PROBE_TIMEOUT).await;
        *first = Some((Instant::now(), host.clone()));
        host
    }

    /// Forgets the host that answered first, because it takes no calls any more.
    pub(super) async fn forget(&self) {
        *self.first.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_below_the_share_of_a_trial_are_for_its_host_until_it_loses_one() {
        let hosts = Hosts::default();
        assert_eq!(hosts.trial(0), None);
        hosts.set_trial(Some(Trial { id: "one".into(), share: 500 }));
        assert_eq!((hosts.trial(499).as_deref(), hosts.trial(500)), (Some("one"), None));
        hosts.note_trial_lost();
        assert_eq!(hosts.trial(0), None);
        hosts.set_trial(Some(Trial { id: "two".into(), share: 1 }));
        assert_eq!((hosts.trial(0).as_deref(), hosts.trial(1)), (Some("two"), None));
    }
}
