//! `souk compile`: the process that `souk up` starts for each component that is not in the code cache. See
//! [`souk_runtime::Compiler`].

use clap::Args;
use souk_runtime::{Program, compile_for_host};
use std::path::PathBuf;
use std::process::ExitCode;

/// The arguments of `souk compile`, which reads the component from standard input.
#[derive(Debug, Args)]
pub(super) struct Compile {
    /// Let every other process have the processor first
    #[arg(long)]
    low_priority: bool,
    /// The host's instances have no pool of memory
    #[arg(long)]
    few_addresses: bool,
    /// The code cache
    folder: PathBuf,
}

impl Compile {
    pub(super) fn run(&self) -> ExitCode {
        compile_for_host(&self.folder, self.low_priority, self.few_addresses)
    }
}

/// This running program, even if another version was installed under its path since: `/proc/self/exe` is the kernel's
/// name for it.
pub(super) fn program() -> Program {
    Program { file: "/proc/self/exe".into(), arguments: vec!["compile".into()] }
}
