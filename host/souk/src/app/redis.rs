//! The components' part in Redis triggers.

use super::error::StartError;
use souk_links::redis::Channel;
use souk_manifest::Application;
use souk_runtime::Pool;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The channels whose messages components of this host get.
///
/// # Errors
/// When a component takes no messages.
pub(super) fn channels(
    application: &Application,
    pools: &BTreeMap<String, Arc<Pool>>,
) -> Result<Vec<Channel>, StartError> {
    let mut slots: BTreeMap<&str, Arc<Semaphore>> = BTreeMap::new();
    let mut channels = Vec::new();
    for trigger in &application.redis_triggers {
        let Some(pool) = pools.get(&trigger.component) else { continue };
        let most = usize::try_from(pool.limits().instances).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let slots = slots.entry(&trigger.component).or_insert_with(|| Arc::new(Semaphore::new(most)));
        let Some(channel) = Channel::of(trigger, pool, slots) else {
            return Err(StartError::Unfit {
                manifest: application.manifest.display().to_string(),
                line: trigger.line,
                component: trigger.component.clone(),
                message: "has a Redis trigger but exports neither spin:redis/inbound-redis@3 nor \
                          fermyon:spin/inbound-redis"
                    .into(),
                fix: "take the trigger away, or build the component for messages (`#[redis_subscriber]` in Rust)"
                    .into(),
            });
        };
        channels.push(channel);
    }
    Ok(channels)
}
