//! Everything besides HTTP requests that calls components: deliveries and schedules, hosts on NATS, a NestJS system and
//! Redis. Each begins when the application serves, and again when a reload changes what it leads to: the new one begins
//! before the old one ends, so no call is lost. Deliveries are taken from a queue and calls from a queue group, which
//! give each message to one of the two. A Redis channel gives each message to all, so a channel that stays is not begun
//! again.

use super::composition::Composition;
use async_nats::SubscribeError;
use parking_lot::Mutex;
use souk_links::durable::{Deliveries, QueueError};
use souk_links::nest::Bridge;
use souk_links::redis::{Channel, Listening};
use souk_links::remote::{Remote, Serving};
use souk_manifest::{Application, ManifestErrors};
use souk_nats::NatsError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Why components cannot be called in one of these ways.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The queue of durable messages fails.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The connection to NATS is closed.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// NATS refuses a subscription.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// Redis servers do not answer; each with the component and the line of its trigger.
    #[error(transparent)]
    Mistakes(#[from] ManifestErrors),
}

/// Which of them a reload begins again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) deliveries: bool,
    pub(super) serving: bool,
    pub(super) services: bool,
}

impl Changed {
    /// All of them.
    pub(super) const ALL: Changed = Changed { deliveries: true, serving: true, services: true };
}

/// What takes calls at the moment; each ends when its guard is dropped.
#[derive(Default)]
pub(super) struct Running {
    deliveries: Option<DropGuard>,
    serving: Option<DropGuard>,
    bridge: Option<DropGuard>,
    channels: Vec<DropGuard>,
}

/// The intakes of an application that serves.
pub(super) struct Intakes {
    stop: CancellationToken,
    /// How long calls in progress may take after an intake has ended.
    drain: Duration,
    /// The ends of intakes.
    ends: TaskTracker,
    /// Whether calls of other hosts were cut off.
    cut_off: Arc<AtomicBool>,
    running: Mutex<Running>,
}

impl Intakes {
    /// Begins all of them for `composition`, until `stop`; `drain` is how long calls may take after that.
    pub(super) async fn start(
        remote: Option<&Remote>,
        composition: &Composition,
        stop: CancellationToken,
        drain: Duration,
    ) -> Result<Self, IntakeError> {
        let intakes =
            Intakes { stop, drain, ends: TaskTracker::new(), cut_off: Arc::default(), running: Mutex::default() };
        let running = intakes.begin(remote, composition, Changed::ALL, &composition.channels).await?;
        *intakes.running.lock() = running;
        Ok(intakes)
    }

    /// A token for one intake, which ends with all of them or when its guard is dropped.
    fn token(&self) -> CancellationToken {
        self.stop.child_token()
    }

    async fn listen(
        &self,
        application: &Application,
        channels: &[Channel],
    ) -> Result<Option<DropGuard>, ManifestErrors> {
        if channels.is_empty() {
            return Ok(None);
        }
        let token = self.token();
        let listening = Listening::start(channels, token.clone()).await.map_err(|errors| {
            let mistakes = errors.into_iter();
            let mistakes = mistakes.map(|one| application.mistake_at(one.line, &one.component, one.message, one.fix));
            ManifestErrors(mistakes.collect())
        })?;
        self.ends.spawn(listening.finish(self.drain));
        Ok(Some(token.drop_guard()))
    }

    /// Begins what `changed` names, for `composition`; `channels` are those that are new. Nothing has ended yet:
    /// dropping the result undoes it.
    pub(super) async fn begin(
        &self,
        remote: Option<&Remote>,
        composition: &Composition,
        changed: Changed,
        channels: &[Channel],
    ) -> Result<Running, IntakeError> {
        let mut running = Running::default();
        if let Some(queue) = composition.queue.as_ref().filter(|_| changed.deliveries) {
            let token = self.token();
            let components = &composition.application.components;
            let pools = composition.pools.iter().map(|(name, pool)| {
                let declared = components.get(name);
                (pool, declared.map_or_else(|| pool.limits(), |declared| &declared.limits))
            });
            let (pools, schedules) = (pools.collect::<Vec<_>>(), &composition.schedules);
            let deliveries = Deliveries::start(queue, pools.into_iter(), schedules, token.clone()).await?;
            self.ends.spawn(deliveries.finish(self.drain));
            running.deliveries = Some(token.drop_guard());
        }
        if let Some(remote) = remote.filter(|_| changed.serving) {
            let token = self.token();
            let (pools, version) = (composition.pools.values(), &composition.application.version);
            let serving = Serving::start(remote.nats(), pools, version, token.clone()).await?;
            let (cut_off, drain) = (self.cut_off.clone(), self.drain);
            self.ends.spawn(async move {
                if !serving.finish(drain).await {
                    cut_off.store(true, Ordering::Relaxed);
                }
            });
            running.serving = Some(token.drop_guard());
        }
        if let Some(remote) = remote.filter(|_| changed.services && !composition.services.is_empty()) {
            let token = self.token();
            let bridge = Bridge::start(remote.nats(), &composition.services, token.clone()).await?;
            self.ends.spawn(bridge.finish(self.drain));
            running.bridge = Some(token.drop_guard());
        }
        running.channels.extend(self.listen(&composition.application, channels).await?);
        Ok(running)
    }

    /// Ends what `began` replaces.
    pub(super) fn replace(&self, began: Running, changed: Changed) {
        let mut running = self.running.lock();
        if changed.deliveries {
            running.deliveries = began.deliveries;
        }
        if changed.serving {
            running.serving = began.serving;
        }
        if changed.services {
            running.bridge = began.bridge;
        }
        running.channels.extend(began.channels);
    }

    /// Waits until the calls that were taken have ended. Returns whether none of another host was cut off.
    pub(super) async fn finish(&self) -> bool {
        self.ends.close();
        self.ends.wait().await;
        !self.cut_off.load(Ordering::Relaxed)
    }
}
