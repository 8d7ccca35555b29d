//! Which limits of a component a reload applies.
//!
//! The limits of an instance and of a call belong to a version, so a new version has the new ones. The start has
//! already allocated the numbers of instances and deliveries and the bytes of a call, and the delivery workers know
//! their retry settings: these limits wait for the next start, and so does any value beyond the engine's capacity.

use super::super::super::App;
use souk_manifest::limits::ComponentLimits;

/// The limits whose values differ.
pub(super) fn changed(old: &ComponentLimits, new: &ComponentLimits) -> Vec<String> {
    let values = old.values().into_iter().zip(new.values());
    let rows = ComponentLimits::TABLE.iter().zip(values).filter(|(_, (old, new))| old != new);
    rows.map(|(row, _)| format!("limit `{}`", row.key)).collect()
}

/// The part of `new` that is applied, when the component started with `old` and the engine has capacity for `most`.
fn live(old: &ComponentLimits, new: &ComponentLimits, most: &ComponentLimits) -> ComponentLimits {
    ComponentLimits {
        memory: if new.memory > most.memory { old.memory } else { new.memory },
        table_elements: if new.table_elements > most.table_elements { old.table_elements } else { new.table_elements },
        instances: old.instances,
        deliveries: old.deliveries,
        delivery_attempts: old.delivery_attempts,
        delivery_backoff: old.delivery_backoff,
        delivery_backoff_most: old.delivery_backoff_most,
        call_bytes: old.call_bytes,
        ..new.clone()
    }
}

impl App {
    /// The part of the limits `new` that is applied to a component that started with `old`.
    pub(super) fn live_limits(&self, old: &ComponentLimits, new: &ComponentLimits) -> ComponentLimits {
        let mut most = old.clone();
        for component in self.application.here() {
            most.memory = most.memory.max(component.limits.memory);
            most.table_elements = most.table_elements.max(component.limits.table_elements);
        }
        live(old, new, &most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_manifest::limits::ByteSize;
    use std::time::Duration;

    #[test]
    fn limits_of_instances_and_calls_are_applied_and_what_the_start_has_made_room_for_stays() {
        let old = ComponentLimits::default();
        let most = ComponentLimits { memory: ByteSize::mib(100), ..old.clone() };
        let new = ComponentLimits {
            memory: ByteSize::mib(99),
            table_elements: old.table_elements + 1,
            instances: 3,
            call_deadline: Duration::from_secs(7),
            max_reuse: 5,
            delivery_attempts: 2,
            ..old.clone()
        };
        let applied = live(&old, &new, &most);
        let limits = |keys: &[&str]| keys.iter().map(|key| format!("limit `{key}`")).collect::<Vec<_>>();
        assert_eq!(changed(&old, &applied), limits(&["memory", "max_reuse", "call_deadline"]));
        assert_eq!(changed(&applied, &new), limits(&["table_elements", "instances", "delivery_attempts"]));
        let larger = ComponentLimits { memory: ByteSize::mib(101), ..old.clone() };
        assert_eq!(changed(&old, &live(&old, &larger, &most)), limits(&[]));
    }
}
