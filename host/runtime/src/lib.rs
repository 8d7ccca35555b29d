//! Components at run time: the engine, compiled code, the pool of instances, and calls into instances.
//!
//! A call has an instance for itself from start to end (exclusive, sequential reuse). Measurements showed that this is
//! as fast as concurrent calls in one instance, and a trap, a deadline or a lack of memory then fails only one call. An
//! instance goes back to its pool after a success; after anything else it is dropped with everything that it holds.
//!
//! What this refuses: a callee inside its caller's store (the two would share memory and grants), and a call without a
//! deadline.

mod background;
mod call;
mod call_from;
mod caller;
mod compiler;
mod component;
mod config;
mod engine;
mod error;
mod fairness;
mod flat;
mod handler;
mod http;
mod load;
mod panic;
mod plain;
mod plain_interface;
mod pool;
mod profile;
mod recorded;
mod refusal;
pub mod report;
mod stub;
mod traced;
mod trial;
mod trial_notice;
mod version;
mod vital;

pub use background::background;
pub use caller::CallerType;
pub use compiler::{Compiler, FEW_ADDRESSES, LOW_PRIORITY, Program, compile_for_host};
pub use component::{Compiled, Exported, Function};
pub use config::EngineError;
pub use engine::Engine;
pub use error::{CallError, CompileError, Failure};
pub use fairness::Fairness;
pub use flat::Flat;
pub use http::ResponseBody;
pub use load::exports_of;
pub use plain::Plain;
pub use pool::{Pool, PoolConfig, PoolUse};
pub use profile::{MAX_PROFILE_TIME, Profile};
pub use stub::is_host_interface;
pub use trial::{Counts, OutcomeCounter};
pub use trial_notice::TrialNotice;
pub use version::{Version, VersionConfig, VersionId};
pub use vital::{lost, vital, vital_thread};

use souk_manifest::limits::FixedLimit;

/// Every fixed limit of the runtime, which `souk doctor` prints.
pub fn fixed_limits() -> Vec<FixedLimit> {
    let own = [
        compiler::FIXED_LIMITS,
        engine::FIXED_LIMITS,
        config::FIXED_LIMITS,
        pool::FIXED_LIMITS,
        profile::FIXED_LIMITS,
        traced::FIXED_LIMITS,
        trial::FIXED_LIMITS,
    ]
    .concat();
    [own, report::fixed_limits()].concat()
}
