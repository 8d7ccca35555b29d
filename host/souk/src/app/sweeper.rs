//! Drops instances that were idle too long, for as long as the host runs.

use souk_runtime::{Pool, vital};
use std::sync::Arc;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of idle instances.
    pub(crate) const FIXED_LIMITS = "components";

    /// The shortest interval between two searches for instances that were idle too long.
    const MIN_SWEEP_INTERVAL: Duration = Duration::from_millis(10);
    /// The longest interval between two searches for instances that were idle too long.
    const MAX_SWEEP_INTERVAL: Duration = Duration::from_secs(1);
}

/// Drops idle instances of the current `pools` for as long as the host runs.
pub(super) async fn swept(pools: impl Fn() -> Vec<Arc<Pool>> + Send + 'static) {
    vital("the sweeper of instances", sweep(pools)).await;
}

async fn sweep(pools: impl Fn() -> Vec<Arc<Pool>>) {
    loop {
        let now = pools();
        let shortest = now.iter().map(|pool| pool.idle_limit()).min().unwrap_or(MAX_SWEEP_INTERVAL);
        now.iter().for_each(|pool| pool.sweep());
        drop(now);
        tokio::time::sleep(shortest.clamp(MIN_SWEEP_INTERVAL, MAX_SWEEP_INTERVAL)).await;
    }
}
