//! What a start reports to its user while it goes on.

use std::time::Duration;

/// The progress of a start-up, for its user.
pub enum Progress {
    /// Code is being compiled, which takes a while; it is kept for the next start.
    Compiling {
        /// The components that are not ready, with the size of each one's code.
        components: Vec<(String, u64)>,
        /// How long it has taken until now.
        so_far: Duration,
    },
    /// A component's code is ready.
    Ready {
        /// The components that share it.
        components: Vec<String>,
        /// How long it took.
        took: Duration,
    },
    /// A component's migrations were run.
    Migrated {
        /// The component.
        component: String,
        /// How many migrations were applied now.
        count: usize,
    },
}
