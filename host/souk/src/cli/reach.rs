//! Where a command finds the application's state: in the running host, or in the state folder itself.

use crate::admin::RunningHost;
use souk_manifest::state::{self, StateError, StateFolder};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of access to the state folder.
    pub(crate) const FIXED_LIMITS = "control socket";

    /// How long a command waits for another process that holds the state folder: longer than a host takes to compile
    /// its components.
    const STATE_TIMEOUT: Duration = Duration::from_secs(10);
    /// The pause between two attempts to open the state folder.
    const RETRY_INTERVAL: Duration = Duration::from_millis(50);
}

/// What holds the state.
pub(super) enum Reached {
    /// A running host.
    Host(RunningHost),
    /// This process, which now holds the state folder.
    State(StateFolder),
}

/// Connects to a running host, or takes the state folder. Another command may hold the folder for a moment, and a
/// starting host holds it before it answers: this waits for both, up to [`STATE_TIMEOUT`].
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
