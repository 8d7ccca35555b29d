//! The hosts of a component, as a caller knows them, and which of them it calls.
//!
//! By itself it is for NATS to choose, and NATS gives calls to every host whose connection stands. One that hangs (a
//! stopped process, a machine that swaps) has such a connection until the server's pings fail, which takes a quarter of
//! a minute at the best, and far longer while calls go to it. So for [`PROBE_PERIOD`] after a call was lost it is asked
//! who is there, by the `$SRV.PING` that each host answers for its components, and calls go to the one whose answer is
//! first, on a subject of its own. It is asked again every [`PROBE_TTL`]: then another may be the first, so that calls
//! are spread, and a host that has hung meanwhile gets no more. Of the hosts of one component at most ten answers a
//! second and caller are asked for, however many calls there are.
//!
//! A call is not sent to two hosts at one time, and one that may not be repeated is not sent again: a host that hangs
//! begins the calls that it has when it wakes, unless their deadline has passed or it hears that they are cancelled.

use super::{OUTAGE_GRACE, micro};
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
    /// How long a host may take to answer a probe.
    pub(super) const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
}

/// When something happened last.
#[derive(Debug, Default)]
pub(super) struct Last(Mutex<Option<Instant>>);

impl Last {
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

/// What is known of the hosts of one component.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// When one of them answered, whatever was asked of it.
    pub(super) answered: Last,
    /// When a call to one of them was lost.
    pub(super) lost: Last,
    /// When it was asked who is there, and who was the first; nobody may have answered.
    first: tokio::sync::Mutex<Option<(Instant, Option<Arc<str>>)>>,
}

impl Hosts {
    /// The host of `component` that is to be called; `None` where that is for NATS to choose.
    pub(super) async fn choose(&self, nats: &Nats, component: &str) -> Option<Arc<str>> {
        if !self.lost.is_within(PROBE_PERIOD) {
            return None;
        }
        // Held while it is asked: whoever comes meanwhile waits for the same answer.
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

    /// The one who was the first has gone.
    pub(super) async fn forget(&self) {
        *self.first.lock().await = None;
    }
}
