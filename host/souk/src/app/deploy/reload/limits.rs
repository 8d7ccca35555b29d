//! Which limits of a component a reload applies.
//!
//! The limits of an instance and of a call belong to a version, so a version that is linked again has the new ones. The
//! bytes of a call are part of every link to the component, so they wait for the next start.

use souk_manifest::limits::ComponentLimits;

/// The limits whose values differ.
pub(super) fn changed(old: &ComponentLimits, new: &ComponentLimits) -> Vec<String> {
    let values = old.values().into_iter().zip(new.values());
    let rows = ComponentLimits::TABLE.iter().zip(values).filter(|(_, (old, new))| old != new);
    rows.map(|(row, _)| format!("limit `{}`", row.key)).collect()
}

/// The part of `new` that is applied, when `old` is in force.
pub(super) fn live(old: &ComponentLimits, new: &ComponentLimits) -> ComponentLimits {
    ComponentLimits { call_bytes: old.call_bytes, ..new.clone() }
}

/// Whether a worker of deliveries must know the change.
pub(super) fn of_deliveries(old: &ComponentLimits, new: &ComponentLimits) -> bool {
    let of = |limits: &ComponentLimits| {
        let pauses = (limits.delivery_backoff, limits.delivery_backoff_most);
        // On NATS, a delivery that takes longer than a call may counts as lost, and is made again.
        (limits.deliveries, limits.delivery_attempts, pauses, limits.call_deadline)
    };
    of(old) != of(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_manifest::limits::ByteSize;
    use std::time::Duration;

    #[test]
    fn all_limits_are_applied_but_the_bytes_of_a_call() {
        let old = ComponentLimits::default();
        let new = ComponentLimits {
            memory: ByteSize::mib(99),
            table_elements: old.table_elements + 1,
            instances: 3,
            call_deadline: Duration::from_secs(7),
            max_reuse: 5,
            delivery_attempts: 2,
            call_bytes: ByteSize::mib(17),
            ..old.clone()
        };
        let applied = live(&old, &new);
        let limits = |keys: &[&str]| keys.iter().map(|key| format!("limit `{key}`")).collect::<Vec<_>>();
        let keys = ["memory", "table_elements", "instances", "max_reuse", "call_deadline", "delivery_attempts"];
        assert_eq!(changed(&old, &applied), limits(&keys));
        assert_eq!(changed(&applied, &new), limits(&["call_bytes"]));
        assert!(of_deliveries(&old, &ComponentLimits { call_deadline: Duration::from_secs(9), ..old.clone() }));
        assert!(of_deliveries(&old, &new) && !of_deliveries(&new, &ComponentLimits { instances: 4, ..new.clone() }));
    }
}
