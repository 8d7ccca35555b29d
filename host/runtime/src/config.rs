//! The settings of wasmtime: what compiled code depends on, the code cache, and the memory for instances.
//!
//! A pool keeps memory for all instances ready. It reserves terabytes of addresses, which cost nothing where a process has
//! them. Where it does not (a bound on its addresses, or a kernel that gives a process 39 bits of them, as on small arm64
//! machines), each instance maps its memory itself, and its code checks bounds.

use souk_bindings::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use std::path::Path;
use wasmtime::{Cache, CacheConfig, Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// The parts that one instance of a component may have. The pool reserves addresses for them, not memory.
const CORE_INSTANCES: u32 = MAX_CORE_INSTANCES as u32;
const MEMORIES: u32 = MAX_MEMORIES as u32;
const TABLES: u32 = MAX_TABLES as u32;

souk_manifest::fixed_limits! {
    /// The fixed limits of the pool.
    pub(crate) const FIXED_LIMITS = "components";

    /// The stacks of one instance: a call uses one, and another one for each synchronous export in which it is
    /// suspended.
    const STACKS: u32 = 2, "stacks";
    // With `pagemap_scan` only the pages that were written are reset.
    /// The memory that a dropped instance leaves mapped, so that the next one causes fewer page faults: a new instance
    /// then takes 160 us of processor time instead of 441, because only the pages that were written are reset.
    const KEEP_RESIDENT_BYTES: usize = 1 << 20, bytes;
    /// The part of a table that a dropped instance leaves mapped.
    const TABLE_KEEP_RESIDENT_BYTES: usize = 64 << 10, bytes;
    /// The part of a stack that a dropped instance leaves mapped.
    const STACK_KEEP_RESIDENT_BYTES: usize = 64 << 10, bytes;
    /// The most dropped instances whose memory stays mapped.
    const WARM_SLOTS: u32 = 16, "instances";
    /// The addresses that the memory of an instance without a pool gets. A memory that grows beyond them moves.
    const MAPPED_MEMORY_BYTES: u64 = 64 << 20, bytes;
    /// The most memory of one instance for which the engine reserves addresses: no limit `memory` is higher.
    const MAX_MEMORY_BYTES: u64 = 1 << 30, bytes;
    /// The most elements of a table for which it reserves addresses: no limit `table_elements` is higher.
    const MAX_TABLE_ELEMENTS: usize = 100_000, "elements";
}

/// Starting the engine failed.
#[derive(Debug, thiserror::Error)]
#[error(
    "the WebAssembly engine does not start: {0}\n  fix: see whether the state folder is writable and `ulimit -v` is unlimited"
)]
pub struct EngineError(pub(crate) String);

impl EngineError {
    pub(crate) fn of(error: wasmtime::Error) -> Self {
        EngineError(format!("{error:#}"))
    }
}

/// The memory for `instances` instances.
pub(crate) fn pool(instances: u64) -> PoolingAllocationConfig {
    let instances = u32::try_from(instances).unwrap_or(u32::MAX);
    // A quarter more than may be in use, because instances that are being dropped still occupy their slots.
    let instances = instances.saturating_add(instances / 4).saturating_add(4);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .total_memories(instances.saturating_mul(MEMORIES))
        .max_memories_per_component(MEMORIES)
        .total_tables(instances.saturating_mul(TABLES))
        .max_tables_per_component(TABLES)
        .total_stacks(instances.saturating_mul(STACKS))
        // Each component has lower limits of its own, which the store of an instance keeps.
        .max_memory_size(usize::try_from(MAX_MEMORY_BYTES).unwrap_or(usize::MAX))
        .table_elements(MAX_TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT_BYTES)
        .max_unused_warm_slots(WARM_SLOTS)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// The code cache in `folder`.
pub(crate) fn cache(folder: &Path) -> Result<Cache, EngineError> {
    // wasmtime accepts no relative path, and the state folder of a manifest in the current directory has one.
    let folder = std::path::absolute(folder).map_err(|error| EngineError::of(error.into()))?;
    let mut config = CacheConfig::new();
    config.with_directory(folder);
    Cache::new(config).map_err(EngineError::of)
}

/// The settings that compiled code depends on. With `few_addresses` instances have no pool.
pub(crate) fn config(few_addresses: bool) -> Config {
    let mut config = Config::new();
    config.wasm_component_model_async(true).epoch_interruption(true).parallel_compilation(true);
    if few_addresses {
        config
            .allocation_strategy(InstanceAllocationStrategy::OnDemand)
            .memory_reservation(MAPPED_MEMORY_BYTES)
            .memory_reservation_for_growth(MAPPED_MEMORY_BYTES);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_the_code_cache_may_be_relative() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let relative = Path::new(folder.path().file_name().unwrap());
        cache(relative).unwrap();
    }
}
