//! WASI itself for one instance: environment, real clocks and randomness, output to the log, files to read.
//!
//! There are no arguments, no stdin, and no sockets or name look-ups of the guest's own: what goes out goes through the
//! bindings, behind their allow-lists.

use super::{Grants, stdio::Stdio};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

souk_manifest::fixed_limits! {
    /// The fixed limits of WASI.
    pub(crate) const FIXED_LIMITS = "components";

    /// The most random bytes that a component gets in one call; the host holds them meanwhile. A call for more traps.
    const MAX_RANDOM_BYTES: u64 = 1 << 20, bytes;
}

/// The WASI state of a new instance.
///
/// # Errors
/// When the folder of the component's files cannot be opened.
pub(super) fn context(grants: &Grants, stdio: &Stdio) -> wasmtime::Result<WasiCtx> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.envs(&grants.environment)
        .stdout(stdio.stdout.clone())
        .stderr(stdio.stderr.clone())
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(MAX_RANDOM_BYTES);
    if let Some(folder) = &grants.files {
        // One `open` of a local folder; it is in the kernel's cache. Everything else on files runs on blocking threads.
        wasi.preopened_dir(folder, "/", FsPerms::ReadOnly).map_err(|error| {
            let component = &grants.component;
            wasmtime::format_err!(
                "the files of component `{component}` cannot be opened ({error}); start the host again"
            )
        })?;
    }
    Ok(wasi.build())
}
