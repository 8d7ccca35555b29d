//! Checks that the clocks of the hosts agree: tokens, deadlines and schedules are made by one host's clock and read by
//! another's.
//!
//! Each host publishes its time in `$SRV.INFO`, and asks the others once a minute. An answer was written between the
//! request and its arrival, so a difference is logged only if no network delay can explain it. Nothing is refused: the
//! log tells the operator which host differs and by how much.

use super::MAX_CLOCK_SKEW;
use super::micro::{CLOCK, Service};
use async_nats::service::Info;
use bytes::Bytes;
use futures::StreamExt as _;
use souk_bindings::printable;
use souk_manifest::clock::since_epoch;
use souk_nats::Nats;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

souk_manifest::fixed_limits! {
    /// The fixed limits of clocks.
    pub(crate) const FIXED_LIMITS = "remote";

    /// How often a host asks the other hosts for their clocks.
    const CLOCK_INTERVAL: Duration = Duration::from_secs(60);
    /// How long the answers may take.
    const CLOCK_TIMEOUT: Duration = Duration::from_secs(1);
    /// The most answers of one round that are read.
    const MAX_CLOCKS: usize = 256, "answers";
}

/// A clock that differs.
#[derive(Debug, PartialEq, Eq)]
struct Skew {
    ahead: bool,
    by: Duration,
}

/// The smallest possible difference of a clock that showed `theirs` between `sent` and `received` of this clock; `None` if
/// it is at most [`MAX_CLOCK_SKEW`].
fn skew(sent: Duration, received: Duration, theirs: Duration) -> Option<Skew> {
    let (ahead, behind) = (theirs.saturating_sub(received), sent.saturating_sub(theirs));
    let skew = if ahead > behind { Skew { ahead: true, by: ahead } } else { Skew { ahead: false, by: behind } };
    (skew.by > MAX_CLOCK_SKEW).then_some(skew)
}

/// Reports clocks that differ, for as long as this host runs.
pub(super) async fn watch(nats: Nats) {
    let mut tick = interval(CLOCK_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some((host, skew)) = worst(&nats).await else { continue };
        tracing::warn!(
            "the clock of host `{}` is {:.1} s {} this one's; each host checks tokens, deadlines and schedules by its \
             own clock; fix: keep the clocks of all hosts together with NTP (`nats micro info {}` names the hosts)",
            printable(&host),
            skew.by.as_secs_f64(),
            if skew.ahead { "ahead of" } else { "behind" },
            Service::host_service(nats.subjects()),
        );
    }
}

/// Of the hosts that answer, the one whose clock differs most.
async fn worst(nats: &Nats) -> Option<(String, Skew)> {
    let (client, inbox) = (nats.client(), nats.client().new_inbox());
    let answers = client.subscribe(inbox.clone()).await.ok()?;
    let (sent, until) = (since_epoch(), Instant::now() + CLOCK_TIMEOUT);
    client.publish_with_reply(Service::host_subject(nats.subjects()), inbox, Bytes::new()).await.ok()?;
    let (mut answers, mut worst) = (answers.take(MAX_CLOCKS), None::<(String, Skew)>);
    while let Ok(Some(answer)) = timeout_at(until, answers.next()).await {
        let received = since_epoch();
        let Ok(info) = serde_json::from_slice::<Info>(&answer.payload) else { continue };
        let theirs = info.metadata.get(CLOCK).and_then(|clock| clock.parse().ok()).map(Duration::from_millis);
        let Some(skew) = theirs.and_then(|theirs| skew(sent, received, theirs)) else { continue };
        if worst.as_ref().is_none_or(|(_, worst)| worst.by < skew.by) {
            worst = Some((info.id, skew));
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_clock_is_wrong_only_by_what_no_delay_explains() {
        let at = Duration::from_millis;
        assert_eq!(skew(at(10_000), at(10_900), at(10_400)), None);
        assert_eq!(skew(at(10_000), at(60_000), at(30_000)), None, "a slow answer is no skew");
        assert_eq!(skew(at(10_000), at(10_100), at(9_000)), None, "a second is allowed");
        assert_eq!(skew(at(10_000), at(10_100), at(8_000)), Some(Skew { ahead: false, by: at(2_000) }));
        assert_eq!(skew(at(10_000), at(10_100), at(13_100)), Some(Skew { ahead: true, by: at(3_000) }));
    }

    proptest! {
        #[test]
        fn a_clock_within_a_second_is_never_reported(sent in 0_u64..1 << 40, there in 0_u64..10_000, back in 0_u64..10_000, off in -1_000_i64..=1_000) {
            let theirs = (sent + there).saturating_add_signed(off);
            let at = Duration::from_millis;
            prop_assert_eq!(skew(at(sent), at(sent + there + back), at(theirs)), None);
        }
    }
}
