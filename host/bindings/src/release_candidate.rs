//! Links the last release candidate of WASI 0.3 under its own names: its functions and resources are those of 0.3.0.
//!
//! `souk_runtime` renames a component's interfaces to the release's names before it compiles the component. That is not
//! possible for a component that has an interface in both versions, as Python's SDK 5 creates them, because a name may
//! occur only once. This module is for such components.

use crate::Ctx;
use wasmtime::component::Linker;
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p3::bindings::{cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi_http::p3::bindings::http;
use wasmtime_wasi_http::{WasiHttp, WasiHttpView as _};

/// The release candidate's name of `interface`.
pub fn name(interface: &str) -> String {
    format!("{interface}@0.3.0-rc-2026-03-15")
}

/// Links interfaces under their names of the release candidate.
macro_rules! link {
    ($linker:ident, $view:expr, $marker:ty: $($interface:literal $module:path),+ $(,)?) => {
        $({
            use $module as interface;
            interface::add_to_linker_instance::<_, $marker>(&mut $linker.instance(&name($interface))?, $view)?;
        })+
    };
}

/// Links the interfaces of WASI 0.3.
///
/// # Errors
/// When one is already linked.
pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    link!(linker, Ctx::cli, WasiCli:
        "wasi:cli/exit" cli::exit,
        "wasi:cli/environment" cli::environment,
        "wasi:cli/stdin" cli::stdin,
        "wasi:cli/stdout" cli::stdout,
        "wasi:cli/stderr" cli::stderr,
        "wasi:cli/terminal-input" cli::terminal_input,
        "wasi:cli/terminal-output" cli::terminal_output,
        "wasi:cli/terminal-stdin" cli::terminal_stdin,
        "wasi:cli/terminal-stdout" cli::terminal_stdout,
        "wasi:cli/terminal-stderr" cli::terminal_stderr,
    );
    link!(linker, Ctx::clocks, WasiClocks:
        "wasi:clocks/types" clocks::types,
        "wasi:clocks/monotonic-clock" clocks::monotonic_clock,
        "wasi:clocks/system-clock" clocks::system_clock,
    );
    link!(linker, Ctx::filesystem, WasiFilesystem:
        "wasi:filesystem/types" filesystem::types,
        "wasi:filesystem/preopens" filesystem::preopens,
    );
    link!(linker, Ctx::random, WasiRandom:
        "wasi:random/random" random::random,
        "wasi:random/insecure" random::insecure,
        "wasi:random/insecure-seed" random::insecure_seed,
    );
    link!(linker, Ctx::sockets, WasiSockets:
        "wasi:sockets/ip-name-lookup" sockets::ip_name_lookup,
        "wasi:sockets/types" sockets::types,
    );
    link!(linker, Ctx::http, WasiHttp:
        "wasi:http/client" http::client,
        "wasi:http/types" http::types,
    );
    Ok(())
}
