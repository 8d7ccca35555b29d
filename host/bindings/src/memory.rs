//! The memory limits of one instance: the sum of all its linear memories, and the size of each table.
//!
//! wasmtime's own `StoreLimits` limits each memory separately, so a component with several memories could use several
//! times its limit. When growth is refused, the guest gets `-1`, and most guests then abort.

use crate::boundary::Usage;
use crate::budget::ApplicationBudget;
use souk_manifest::limits::ComponentLimits;
use std::sync::Arc;
use wasmtime::ResourceLimiter;

souk_manifest::fixed_limits! {
    /// The fixed limits of the parts of a component.
    pub(crate) const FIXED_LIMITS = "components";

    /// The most core modules in one component, with their adapters and the shims between them: about five for each part
    /// of a statically composed component.
    pub const MAX_CORE_INSTANCES: usize = 32, "core instances";
    /// The most tables in one component; each core module has one or two.
    pub const MAX_TABLES: usize = 16, "tables";
    /// The most memories in one component; a service has one, a statically composed component has one for each part.
    pub const MAX_MEMORIES: usize = 4, "memories";
}

/// The limits of one instance and how much it uses.
pub struct InstanceLimits {
    component: Arc<str>,
    memory: usize,
    table_elements: usize,
    taken: usize,
    reported: bool,
    /// Whether growth was refused since [`take_refused`](Self::take_refused) was last called.
    refused: bool,
    budget: Arc<ApplicationBudget>,
    usage: Arc<Usage>,
}

impl InstanceLimits {
    pub(super) fn new(
        component: Arc<str>,
        limits: &ComponentLimits,
        budget: Arc<ApplicationBudget>,
        usage: Arc<Usage>,
    ) -> Self {
        InstanceLimits {
            component,
            memory: usize::try_from(limits.memory.as_u64()).unwrap_or(usize::MAX),
            table_elements: usize::try_from(limits.table_elements).unwrap_or(usize::MAX),
            taken: 0,
            reported: false,
            refused: false,
            budget,
            usage,
        }
    }

    /// Whether the instance has reached one of its own limits since the last call of this function.
    pub fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// Logs, once for each instance, which limit it has reached, because the guest's own message will not say it.
    fn refuse(&mut self, key: &str, limit: usize, unit: &str) -> bool {
        self.refused = true;
        if !self.reported {
            self.reported = true;
            let component = &self.component;
            tracing::warn!(
                %component,
                "component `{component}` has reached its limit of {limit} {unit}; \
                 raise `{key}` under [component.{component}.tool.souk.limits] in the manifest if it needs more"
            );
        }
        false
    }
}

impl InstanceLimits {
    /// Does the same for the limit of all instances together.
    fn refuse_for_all(&mut self) -> bool {
        if !self.reported {
            self.reported = true;
            let component = &self.component;
            tracing::warn!(
                %component,
                "component `{component}` asks for memory, and the application has reached its limit of {} bytes; raise \
                 `application_memory` under [application.tool.souk.limits] in the manifest, or lower `instances` or \
                 `memory` of components",
                self.budget.memory.limit()
            );
        }
        false
    }
}

impl Drop for InstanceLimits {
    fn drop(&mut self) {
        self.budget.memory.give_back(self.taken as u64);
        self.usage.give_memory_back(self.taken as u64);
    }
}

impl ResourceLimiter for InstanceLimits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let taken = self.taken.saturating_add(desired.saturating_sub(current));
        if taken > self.memory {
            return Ok(self.refuse("memory", self.memory, "bytes of memory"));
        }
        if !self.budget.memory.try_take((taken - self.taken) as u64) {
            return Ok(self.refuse_for_all());
        }
        self.usage.take_memory((taken - self.taken) as u64);
        self.taken = taken;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.table_elements {
            return Ok(self.refuse("table_elements", self.table_elements, "elements in a table"));
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use souk_manifest::limits::ByteSize;

    #[test]
    fn the_limit_holds_for_the_sum_of_all_memories_and_for_each_table() {
        let limits = ComponentLimits { memory: ByteSize::b(100), table_elements: 10, ..Default::default() };
        let mut limits = InstanceLimits::new("tested".into(), &limits, Arc::default(), Arc::default());
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(!limits.memory_growing(0, 41, None).unwrap(), "a second memory beyond the sum");
        assert!(limits.memory_growing(0, 30, None).unwrap());
        assert!(limits.memory_growing(60, 70, None).unwrap());
        assert!(!limits.memory_growing(70, 71, None).unwrap());
        assert!(limits.table_growing(0, 10, None).unwrap());
        assert!(!limits.table_growing(0, 11, None).unwrap());
    }

    #[test]
    fn all_instances_together_have_a_bound_and_give_back_what_they_had() {
        let budget = Arc::new(ApplicationBudget { memory: Budget::new(150), ..Default::default() });
        let usage = Arc::new(Usage::default());
        let limits = ComponentLimits { memory: ByteSize::b(100), ..Default::default() };
        let instance = || InstanceLimits::new("tested".into(), &limits, budget.clone(), usage.clone());
        let (mut first, mut second) = (instance(), instance());
        assert!(first.memory_growing(0, 100, None).unwrap());
        assert!(second.memory_growing(0, 50, None).unwrap());
        assert!(!second.memory_growing(50, 51, None).unwrap(), "more than the application may have");
        assert_eq!(usage.memory(), 150);
        drop(first);
        assert!(second.memory_growing(50, 100, None).unwrap());
        drop(second);
        assert_eq!((budget.memory.taken(), usage.memory()), (0, 0));
    }
}
