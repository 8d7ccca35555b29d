//! Every bound that no manifest changes, of all parts of the host: what `souk doctor --limits` prints.

use crate::{
    admin, app, backup, cli, descriptors, fetch, http, imports, metrics, moving, otlp, readiness, recordings, telemetry,
};
use souk_manifest::limits::FixedLimit;

/// Every fixed limit of the host, grouped by module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    let mut limits = [
        http::fixed_limits(),
        souk_manifest::limits::fixed_limits(),
        souk_bindings::fixed_limits(),
        souk_runtime::fixed_limits(),
        app::FIXED_LIMITS.to_vec(),
        app::COMPILE_LIMITS.to_vec(),
        app::STAND_IN_LIMITS.to_vec(),
        app::deploy::fixed_limits(),
        souk_links::fixed_limits(),
        souk_nats::fixed_limits(),
        admin::fixed_limits(),
        metrics::FIXED_LIMITS.to_vec(),
        otlp::fixed_limits(),
        readiness::fixed_limits(),
        recordings::FIXED_LIMITS.to_vec(),
        backup::fixed_limits(),
        moving::fixed_limits(),
        imports::fixed_limits(),
        cli::fixed_limits(),
        fetch::fixed_limits(),
        #[cfg(feature = "oci")]
        crate::package::fixed_limits(),
        [
            telemetry::FIXED_LIMITS,
            telemetry::repeats::FIXED_LIMITS,
            telemetry::tail::FIXED_LIMITS,
            telemetry::json::FIXED_LIMITS,
            descriptors::FIXED_LIMITS,
            #[cfg(feature = "jemalloc")]
            crate::allocator::FIXED_LIMITS,
        ]
        .concat(),
    ]
    .concat();
    let mut modules: Vec<&str> = Vec::new();
    for limit in &limits {
        if !modules.contains(&limit.module) {
            modules.push(limit.module);
        }
    }
    limits.sort_by_key(|limit| modules.iter().position(|module| *module == limit.module));
    limits
}

#[cfg(test)]
mod tests;
