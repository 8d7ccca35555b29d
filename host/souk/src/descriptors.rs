//! The number of file descriptors that the process may open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use souk_manifest::limits::EdgeLimits;

souk_manifest::fixed_limits! {
    /// The fixed limits of descriptors.
    pub(crate) const FIXED_LIMITS = "process";

    /// The descriptors that the host is assumed to need besides connections and components' files: databases with their
    /// readers, outgoing requests, the log, compiled code.
    const OTHER_DESCRIPTORS: u64 = 1_024, "descriptors";
}

/// Raises the limit of open descriptors to the system's maximum, and warns when that is less than `limits` need.
pub(crate) fn raise(limits: &EdgeLimits) {
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: now.maximum, maximum: now.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the bound on open descriptors cannot be raised: {error}");
    }
    // `None` means no limit.
    let Some(most) = getrlimit(Resource::Nofile).current else { return };
    if let Some(needed) = missing(most, limits) {
        tracing::warn!(
            "the system lets this process open {most} descriptors, and the limits need {needed} (`connections`, \
             `open_files` and {OTHER_DESCRIPTORS} for databases and outgoing requests); raise it (`ulimit -n {needed}`, LimitNOFILE \
             of systemd), or lower `connections` under [application.tool.souk.limits] in the manifest"
        );
    }
}

/// How many descriptors `limits` need, if that is more than `most`.
fn missing(most: u64, limits: &EdgeLimits) -> Option<u64> {
    let needed = limits.connections.saturating_add(limits.open_files).saturating_add(OTHER_DESCRIPTORS);
    (most < needed).then_some(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_that_allows_fewer_descriptors_than_the_limits_need_is_noticed() {
        let limits = EdgeLimits { connections: 4_096, open_files: 1_024, ..EdgeLimits::default() };
        assert_eq!(missing(6_143, &limits), Some(6_144));
        assert_eq!(missing(6_144, &limits), None);
    }
}
