//! Where a command finds the application's state: in the running host, or in the state folder itself.

use crate::admin::RunningHost;
use souk_manifest::state::{self, StateError, StateFolder};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of reaching the state.
    pub(crate) const FIXED_LIMITS = "control socket";

    /// How long a command waits for another process that holds the state: longer than a host takes to compile its
    /// components.
    const STATE_TIMEOUT: Duration = Duration::from_secs(10);
    /// The pause between two tries of such a command.
    const RETRY_INTERVAL: Duration = Duration::from_millis(50);
}

/// Who answers.
pub(super) enum Reached {
    /// A host that runs.
    Host(RunningHost),
    /// This process, which holds the state now.
    State(StateFolder),
}

/// Finds a running host, or takes hold of the state. Another command holds it for a moment, and a host that starts
/// has it before it answers: both are waited for, up to [`STATE_TIMEOUT`].
pub(super) async fn reach(state_dir: &Path) -> Result<Reached, StateError> {
    let start = Instant::now();
    loop {
        if let Some(host) = RunningHost::connect(&state::control_socket(state_dir)).await {
            return Ok(Reached::Host(host));
        }
        match StateFolder::open(state_dir) {
            Err(StateError::InUse { .. }) if start.elapsed() < STATE_TIMEOUT => {
                tokio::time::sleep(RETRY_INTERVAL).await
            }
            opened => return opened.map(Reached::State),
        }
    }
}
