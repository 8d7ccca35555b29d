//! The components' part in schedules.

use souk_links::durable::Scheduled;
use souk_manifest::{Application, Diagnostic};
use souk_runtime::Pool;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The schedules of components of this host; adds to `mistakes` those whose function does not exist or cannot be called
/// by a schedule.
pub(super) fn all(
    application: &Application,
    pools: &BTreeMap<String, Arc<Pool>>,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<Arc<Scheduled>> {
    let mut schedules = Vec::new();
    for component in application.here() {
        let Some(pool) = pools.get(&component.name) else { continue };
        for schedule in &component.schedules {
            match Scheduled::of(schedule, pool) {
                Ok(scheduled) => schedules.push(Arc::new(scheduled)),
                Err(error) => {
                    mistakes.push(application.mistake_at(schedule.line, &component.name, error.to_string(), error.fix))
                }
            }
        }
    }
    schedules
}
