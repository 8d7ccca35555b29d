//! WASI for one instance: environment, real clocks and randomness, output to the log, read-only files.
//!
//! There are no arguments, no stdin, and no direct sockets or name look-ups: all outgoing traffic goes through the
//! bindings and their allow-lists.

use crate::binding::Binding;
use crate::stdio::{self, Stdio};
use crate::tape::{self, Tape};
use crate::{Ctx, Grants, directories, file_streams, last_words, open_files};
use souk_manifest::limits::FixedLimit;
use std::sync::Arc;
use wasmtime::component::Linker;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

souk_manifest::fixed_limits! {
    /// The fixed limits of WASI.
    pub(crate) const FIXED_LIMITS = "components";

    /// The most random bytes that a component gets in one call; the host holds them in memory. A call for more traps.
    const MAX_RANDOM_BYTES: u64 = 1 << 20, bytes;
}

/// The binding. Files are the only part of WASI that the manifest grants.
pub(crate) const BINDING: Binding = Binding {
    name: "files",
    interfaces: &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"],
    key: "files",
    is_missing: Binding::never,
    describe: |component| component.files.mounts().map(ToString::to_string).collect(),
    fixed_limits,
    add_to_linker,
};

fn fixed_limits() -> Vec<FixedLimit> {
    let files = [FIXED_LIMITS, open_files::FIXED_LIMITS, file_streams::FIXED_LIMITS, directories::FIXED_LIMITS];
    [files.concat(), [stdio::FIXED_LIMITS, last_words::FIXED_LIMITS].concat()].concat()
}

/// Rust's std for wasm32-wasip2 imports WASI 0.2 even if the component's own contract is 0.3.
fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    directories::add_to_linker(linker)?;
    file_streams::add_to_linker(linker)
}

/// The WASI state of a new instance.
///
/// # Errors
/// When the folder of the component's files cannot be opened.
pub(super) fn context(grants: &Grants, stdio: &Stdio, tape: Option<&Arc<Tape>>) -> wasmtime::Result<WasiCtx> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.envs(&grants.environment)
        .stdout(stdio.stdout.clone())
        .stderr(stdio.stderr.clone())
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(MAX_RANDOM_BYTES);
    if let Some(tape) = tape {
        tape::set_clocks(&mut wasi, tape);
    }
    if let Some(folder) = &grants.files {
        // This opens one local folder, which is in the kernel's cache. All other file operations run on blocking
        // threads.
        wasi.preopened_dir(folder, "/", FsPerms::ReadOnly).map_err(|error| {
            let component = &grants.component;
            wasmtime::format_err!(
                "the files of component `{component}` cannot be opened ({error}); start the host again"
            )
        })?;
    }
    Ok(wasi.build())
}
