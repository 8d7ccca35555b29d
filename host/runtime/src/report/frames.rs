//! The functions on a guest's stack, with readable names.

use std::fmt;
use wasmtime::WasmBacktrace;

/// Crates whose functions are on the stack of every Rust component when it panics or allocates.
const RUNTIME: [&str; 13] = [
    "std",
    "core",
    "alloc",
    "__rustc",
    "panic_abort",
    "compiler_builtins",
    "dlmalloc",
    "wit_bindgen",
    "hashbrown",
    "futures_core",
    "futures_util",
    "spin_sdk",
    "wasip3",
];
/// Such functions that belong to no crate.
const RUNTIME_FUNCTIONS: [&str; 6] = ["abort", "rust_panic", "__rust_", "_start", "cabi_realloc", "__wasilibc"];
/// The paths of sources that are not the component's own: the toolchain's and the registry's.
const FOREIGN_SOURCES: [&str; 3] = ["/rustc/", "/.cargo/registry/", "/library/std/"];

/// One function on a guest's stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Its name, without the compiler's additions.
    pub(super) function: String,
    /// File and line, if they are known.
    pub(super) place: Option<String>,
    /// Its offset in the component's code.
    pub(super) offset: Option<usize>,
}

impl Frame {
    /// A function with the compiler's `name`, which is demangled.
    pub(super) fn named(name: &str, offset: Option<usize>) -> Self {
        Frame { function: format!("{:#}", rustc_demangle::demangle(name)), place: None, offset }
    }

    /// Whether it belongs to the component's own code.
    pub(super) fn is_own(&self) -> bool {
        if let Some(place) = &self.place
            && FOREIGN_SOURCES.iter().any(|foreign| place.contains(foreign))
        {
            return false;
        }
        // `<A as B>::f` belongs to A; if A has no path, to B.
        let name = self.function.trim_start_matches(['<', '&', '*']);
        let name = name.trim_start_matches("mut ").trim_start_matches("const ");
        let first = name.split("::").next().unwrap_or_default();
        let first = first.split(['[', '<', ' ']).next().unwrap_or_default();
        !RUNTIME.contains(&first)
            && !RUNTIME_FUNCTIONS.iter().any(|function| name.starts_with(function))
            && !name.contains("_export_")
            // An export of a contract, which the path of the call already names.
            && !name.contains('#')
            && !name.is_empty()
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.function)?;
        match &self.place {
            Some(place) => write!(f, " ({place})"),
            None => Ok(()),
        }
    }
}

/// The functions of `backtrace`, the innermost first.
pub(super) fn of(backtrace: &WasmBacktrace) -> Vec<Frame> {
    let frame = |frame: &wasmtime::FrameInfo| {
        let number = || format!("function {}", frame.func_index());
        Frame::named(&frame.func_name().map_or_else(number, str::to_owned), frame.module_offset())
    };
    backtrace.frames().iter().map(frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_compiler_adds_is_no_part_of_a_name_and_the_standard_library_is_not_the_components_own() {
        for (name, shown, own) in [
            ("_ZN5rogue4boom17ha87093a7fe923c61E", "rogue::boom", true),
            ("_ZN4core9panicking9panic_fmt17ha87093a7fe923c61E", "core::panicking::panic_fmt", false),
            ("_RNvCs6UyI3ABuN3h_7___rustc10rust_panic", "__rustc::rust_panic", false),
            ("abort", "abort", false),
            ("shop::exports::shop::_export_boom_cabi", "shop::exports::shop::_export_boom_cabi", false),
            ("souk-test:rogue/deeds@1.0.0#boom", "souk-test:rogue/deeds@1.0.0#boom", false),
            ("main.go", "main.go", true),
        ] {
            let frame = Frame::named(name, None);
            assert_eq!((frame.to_string().as_str(), frame.is_own()), (shown, own), "{name}");
        }
        let mut inlined = Frame::named("shop::map", None);
        inlined.place = Some("/rustc/abc/library/core/src/option.rs:1".into());
        assert!(!inlined.is_own());
    }
}
