//! The debug sections of a component's file (DWARF, in custom sections `.debug_...`), which map code to source lines:
//! removes them from a file, and finds them in a file.
//!
//! They are nine tenths of the size of a component that is built for debugging, and a host would read and hash them at
//! each start. So `souk build` removes them, and keeps the original file beside the component ([`symbols_of`]).

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use wasm_encoder::Encode as _;
use wasmparser::{BinaryReader, BinaryReaderError};

souk_manifest::fixed_limits! {
    /// The fixed limits of files with symbols.
    pub(super) const FIXED_LIMITS = "log";

    /// How deep components may be nested in components for their symbols to be found.
    const MAX_DEPTH: usize = 16, "components";
}

/// The length of a file's header: magic number, version and layer.
const HEADER: usize = 8;
/// The layer of a component, in a header.
const COMPONENT_LAYER: &[u8] = &[1, 0];
const CUSTOM: u8 = 0;
/// The section id of a module's code.
const CODE: u8 = 10;
/// The section ids of a nested module and a nested component.
const NESTED: [u8; 2] = [1, 4];
const PREFIX: &str = ".debug_";

/// The file with the symbols of a component's file: `NAME.wasm.debug`, beside it.
pub fn symbols_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".debug");
    PathBuf::from(name)
}

/// A core module of a component.
#[derive(Default)]
pub(super) struct Module<'a> {
    /// The position of its code in the file.
    pub(super) code: Range<usize>,
    /// Its debug sections, by name.
    pub(super) debug: BTreeMap<&'a str, &'a [u8]>,
}

struct Section<'a> {
    id: u8,
    /// The position of its contents in the file.
    start: usize,
    contents: &'a [u8],
}

impl<'a> Section<'a> {
    /// The name and contents of a debug section.
    fn debug(&self) -> Option<(&'a str, &'a [u8])> {
        if self.id != CUSTOM {
            return None;
        }
        let mut reader = BinaryReader::new(self.contents, 0);
        let name = reader.read_string().ok().filter(|name| name.starts_with(PREFIX))?;
        Some((name, self.contents.get(reader.current_position()..)?))
    }
}

/// The sections of the module or component that begins at `base` of a file, and whether it is a component.
fn sections(bytes: &[u8], base: usize) -> Result<(bool, Vec<Section<'_>>), BinaryReaderError> {
    let mut reader = BinaryReader::new(bytes, 0);
    let header = reader.read_bytes(HEADER)?;
    let mut sections = Vec::new();
    while !reader.eof() {
        let (id, length) = (reader.read_u8()?, reader.read_var_u32()?);
        let start = base + reader.current_position();
        sections.push(Section { id, start, contents: reader.read_bytes(length as usize)? });
    }
    Ok((header.ends_with(COMPONENT_LAYER), sections))
}

/// The component `file` without its debug sections; `None` if it has none.
pub fn without_symbols(file: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(file.len());
    copy(file, &mut out, 0).ok()?.then_some(out)
}

/// Copies all sections except the debug sections; returns whether there were any.
fn copy(bytes: &[u8], out: &mut Vec<u8>, depth: usize) -> Result<bool, BinaryReaderError> {
    let (is_component, sections) = sections(bytes, 0)?;
    out.extend_from_slice(bytes.get(..HEADER).unwrap_or_default());
    let mut found = false;
    for section in sections {
        if section.debug().is_some() {
            found = true;
            continue;
        }
        out.push(section.id);
        if is_component && NESTED.contains(&section.id) && depth < MAX_DEPTH {
            let mut nested = Vec::with_capacity(section.contents.len());
            found |= copy(section.contents, &mut nested, depth + 1)?;
            nested.encode(out);
        } else {
            section.contents.encode(out);
        }
    }
    Ok(found)
}

/// The core modules of `file`, in their order.
pub(super) fn modules(file: &[u8]) -> Result<Vec<Module<'_>>, BinaryReaderError> {
    let mut modules = Vec::new();
    collect(file, 0, 0, &mut modules)?;
    Ok(modules)
}

fn collect<'a>(
    bytes: &'a [u8],
    base: usize,
    depth: usize,
    modules: &mut Vec<Module<'a>>,
) -> Result<(), BinaryReaderError> {
    let (is_component, sections) = sections(bytes, base)?;
    if is_component {
        for section in sections.into_iter().filter(|section| NESTED.contains(&section.id) && depth < MAX_DEPTH) {
            collect(section.contents, section.start, depth + 1, modules)?;
        }
        return Ok(());
    }
    let mut module = Module::default();
    for section in sections {
        if section.id == CODE {
            module.code = section.start..section.start + section.contents.len();
        }
        module.debug.extend(section.debug());
    }
    modules.push(module);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{Component, CustomSection, ModuleSection};

    fn component(debug: bool) -> Vec<u8> {
        let mut module = wasm_encoder::Module::new();
        let custom = |name: &'static str| CustomSection { name: name.into(), data: b"x".as_slice().into() };
        module.section(&custom("before"));
        if debug {
            module.section(&custom(".debug_info"));
        }
        module.section(&custom("name"));
        let mut component = Component::new();
        component.section(&ModuleSection(&module));
        component.section(&custom("producers"));
        component.finish()
    }

    #[test]
    fn symbols_are_taken_out_of_a_component_and_nothing_else_is() {
        let with = component(true);
        assert_eq!(without_symbols(&with).unwrap(), component(false));
        assert_eq!(without_symbols(&component(false)), None);
        let modules = modules(&with).unwrap();
        assert_eq!(modules[0].debug, BTreeMap::from([(".debug_info", b"x".as_slice())]));
        for cut in 0..with.len() {
            let _ = without_symbols(&with[..cut]);
        }
        assert_eq!(without_symbols(b"no wasm"), None);
    }
}
