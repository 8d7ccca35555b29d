//! The log's report of a failed guest: the cause, its functions on the stack, and the calls that led to it.
//!
//! wasmtime's own text is a backtrace of a dozen frames, most of them the guest's standard library. This report has
//! only the component's own frames, with source lines if there are symbols ([`symbols`]), and the calls of contracts
//! that led to it through all components of this host ([`souk_bindings::call::CallPath`]).

mod frames;
pub mod sections;
pub mod symbols;

use frames::Frame;
use souk_bindings::call::CallPath;
use std::fmt::Write as _;
use symbols::Symbols;
use wasmtime::WasmBacktrace;

souk_manifest::fixed_limits! {
    /// The fixed limits of reports of failures.
    const FIXED_LIMITS = "log";

    /// The most functions of a component that the report of its failure names, the innermost first.
    const MAX_FRAMES: usize = 8, "functions";
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<souk_manifest::limits::FixedLimit> {
    [FIXED_LIMITS, sections::FIXED_LIMITS, symbols::FIXED_LIMITS].concat()
}

/// The facts that are known at the moment of a failure.
pub(super) struct Report {
    /// What the guest printed about it, if anything.
    pub(super) said: Option<String>,
    /// The error of wasmtime or the host, without the backtrace.
    pub(super) cause: String,
    frames: Vec<Frame>,
    path: CallPath,
}

impl Report {
    pub(super) fn of(error: &wasmtime::Error, said: Option<String>, path: CallPath) -> Self {
        // The backtrace is one of the causes, and begins with this text.
        let causes = error.chain().map(ToString::to_string);
        let causes = causes.filter(|cause| !cause.starts_with("error while executing at wasm backtrace"));
        let cause = causes.collect::<Vec<_>>().join(": ");
        let frames = error.downcast_ref::<WasmBacktrace>().map(frames::of).unwrap_or_default();
        Report { said, cause, frames, path }
    }

    /// The text, with the source lines of `symbols`. Reads files once for each new place of a failure.
    pub(super) async fn text(self, symbols: Option<&std::sync::Arc<Symbols>>) -> String {
        let Report { said, cause, mut frames, path } = self;
        if let Some(symbols) = symbols {
            frames = symbols.resolve(frames).await;
        }
        let mut text = match said {
            Some(said) => format!("{said} ({cause})"),
            None => cause,
        };
        // Frames of other code are left out, unless there are no others.
        let own = frames.iter().filter(|frame| frame.is_own());
        let shown: Vec<&Frame> = match own.clone().next() {
            Some(_) => own.take(MAX_FRAMES).collect(),
            None => frames.iter().take(MAX_FRAMES).collect(),
        };
        for frame in shown {
            let _ = write!(text, "\nat {frame}");
        }
        if let Some(path) = path.text() {
            let _ = write!(text, "\ncalled by way of {path}");
        }
        text
    }
}
