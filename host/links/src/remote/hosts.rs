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

/// When something last happened.
#[derive(Debug, Default)]
pub(super) struct LastTime(Mutex<Option<Instant>>);

impl LastTime {
    pub(super) fn note(&self) {
        *self.0.lock() = Some(Instant::now());
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
    /// When the hosts were last probed, and which host answered first; `None` when none answered.
    first: tokio::sync::Mutex<Option<(Instant, Option<Arc<str>>)>>,
}

impl Hosts {
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
