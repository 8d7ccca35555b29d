//! How soon memory that the host has freed goes back to the system.
//!
//! jemalloc keeps freed pages for ten seconds, because it may need them again. After a burst of requests these are
//! several hundred MiB that no budget counts: an operator who gives a container the memory that the limits add up to
//! would see it killed. A burst that comes back within a second still finds its pages.

use std::time::Duration;
use tikv_jemalloc_ctl::{Access as _, AsName as _};

souk_manifest::fixed_limits! {
    /// The fixed limits of the allocator.
    pub(crate) const FIXED_LIMITS = "process";

    /// How long freed memory may stay with the process. The environment variable `MALLOC_CONF` (`dirty_decay_ms`)
    /// overrides it.
    const FREED_MEMORY_KEPT: Duration = Duration::from_secs(1);
}

/// Makes jemalloc return freed memory after [`FREED_MEMORY_KEPT`], unless the operator has configured it.
pub(crate) fn return_memory_soon() {
    if std::env::var_os("MALLOC_CONF").is_some() {
        return;
    }
    let kept = isize::try_from(FREED_MEMORY_KEPT.as_millis()).unwrap_or(isize::MAX);
    // For arenas that are created later. This needs no report: jemalloc has the setting, or is not the allocator.
    let _ = "arenas.dirty_decay_ms\0".name().write(kept);
    let arenas: u32 = "arenas.narenas\0".name().read().unwrap_or(0);
    for arena in 0..arenas {
        // Those that do not exist yet refuse it.
        let _ = format!("arena.{arena}.dirty_decay_ms\0").name().write(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocator_knows_its_settings() {
        return_memory_soon();
        let kept: isize = "arenas.dirty_decay_ms\0".name().read().unwrap();
        assert_eq!(kept, 1_000);
        let first: isize = "arena.0.dirty_decay_ms\0".name().read().unwrap();
        assert_eq!(first, 1_000);
    }
}
