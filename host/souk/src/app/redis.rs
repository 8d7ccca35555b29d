//! The components' part in Redis triggers.

use souk_links::redis::Channel;
use souk_manifest::{Application, Diagnostic};
use souk_runtime::Pool;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The Redis channels of components of this host; adds to `mistakes` the triggers of components that export no message
/// handler.
pub(super) fn channels(
    application: &Application,
    pools: &BTreeMap<String, Arc<Pool>>,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<Channel> {
    let mut slots: BTreeMap<&str, Arc<Semaphore>> = BTreeMap::new();
    let mut channels = Vec::new();
    for trigger in &application.redis_triggers {
        let Some(pool) = pools.get(&trigger.component) else { continue };
        let most = usize::try_from(pool.limits().instances).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let slots = slots.entry(&trigger.component).or_insert_with(|| Arc::new(Semaphore::new(most)));
        match Channel::of(trigger, pool, slots) {
            Some(channel) => channels.push(channel),
            None => {
                let message = "has a Redis trigger but exports neither spin:redis/inbound-redis@3 nor \
                               fermyon:spin/inbound-redis";
                let fix = "remove the trigger, or build the component for messages (`#[redis_subscriber]` in Rust)";
                mistakes.push(application.mistake_at(trigger.line, &trigger.component, message, fix));
            }
        }
    }
    channels
}
