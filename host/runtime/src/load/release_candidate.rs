//! Gives components for the last release candidate of WASI 0.3, which spin-sdk 6 and Go's SDK 3 use, the names of
//! 0.3.0.
//!
//! The two versions differ only in their names: no type in 2,447 lines of WIT differs. A component's names are in its
//! own sections of imports and exports; nested components refer to them by index, so nothing else changes.
//!
//! A name that the component has in both versions is not changed, because a name may occur only once. The host links
//! the imports of the release candidate too (`souk_bindings::release_candidate`).

use std::borrow::Cow;
use std::collections::BTreeSet;
use wasm_encoder::reencode::{ReencodeComponent as _, RoundtripReencoder};
use wasm_encoder::{Component, ComponentExportSection, ComponentExternName, ComponentImportSection, RawSection};
use wasmparser::{BinaryReaderError, Chunk, Parser, Payload};

/// The suffix of the release candidate's names.
const CANDIDATE: &str = "@0.3.0-rc-2026-03-15";
/// The suffix of the release's names.
const RELEASE: &str = "@0.3.0";

/// `component` with the names of the release; `None` when it has no name of the release candidate that can change, or
/// is not a component; then the compiler reports what is wrong.
pub(super) fn renamed(component: &[u8]) -> Option<Vec<u8>> {
    let sections = sections(component).ok()?;
    let names = Names::of(&sections).ok()?;
    let all = names.imports.iter().map(|name| (name, &names.imports));
    let mut all = all.chain(names.exports.iter().map(|name| (name, &names.exports)));
    all.any(|(name, taken)| matches!(release(name, taken), Cow::Owned(_))).then_some(())?;
    encode(component, sections, &names)
}

/// The sections of the component itself, without those of nested modules and components.
fn sections(component: &[u8]) -> Result<Vec<Payload<'_>>, BinaryReaderError> {
    let (mut parser, mut rest, mut sections) = (Parser::new(0), component, Vec::new());
    while let Chunk::Parsed { payload, mut consumed } = parser.parse(rest, true)? {
        if let Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } =
            &payload
        {
            consumed += unchecked_range.len();
        }
        if matches!(payload, Payload::End(_)) {
            break;
        }
        sections.push(payload);
        rest = rest.get(consumed..).unwrap_or_default();
    }
    Ok(sections)
}

/// The names of a component's imports and exports.
struct Names<'a> {
    imports: BTreeSet<&'a str>,
    exports: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    fn of(sections: &[Payload<'a>]) -> Result<Self, BinaryReaderError> {
        let mut names = Names { imports: BTreeSet::new(), exports: BTreeSet::new() };
        for section in sections {
            match section {
                Payload::ComponentImportSection(imports) => {
                    for import in imports.clone() {
                        names.imports.insert(import?.name.name);
                    }
                }
                Payload::ComponentExportSection(exports) => {
                    for export in exports.clone() {
                        names.exports.insert(export?.name.name);
                    }
                }
                _ => {}
            }
        }
        Ok(names)
    }
}

/// The names of a component's exports; none when it is malformed.
pub(super) fn exports(component: &[u8]) -> BTreeSet<String> {
    let sections = sections(component).unwrap_or_default();
    let names = Names::of(&sections).map(|names| names.exports).unwrap_or_default();
    names.into_iter().map(str::to_owned).collect()
}

/// The release's name for a name of the release candidate, unless it is `taken`.
fn release<'a>(name: &'a str, taken: &BTreeSet<&str>) -> Cow<'a, str> {
    let released = name.strip_suffix(CANDIDATE).filter(|path| path.starts_with("wasi:"));
    match released.map(|path| format!("{path}{RELEASE}")) {
        Some(released) if !taken.contains(released.as_str()) => Cow::Owned(released),
        _ => Cow::Borrowed(name),
    }
}

/// Writes the component again, section by section, with the new names.
fn encode(component: &[u8], sections: Vec<Payload<'_>>, names: &Names<'_>) -> Option<Vec<u8>> {
    let mut encoded = Component::new();
    for section in sections {
        match section {
            Payload::ComponentImportSection(imports) => {
                let mut section = ComponentImportSection::new();
                for import in imports {
                    let import = import.ok()?;
                    let mut name = ComponentExternName::from(import.name);
                    name.name = release(import.name.name, &names.imports);
                    section.import(name, RoundtripReencoder.component_type_ref(import.ty).ok()?);
                }
                encoded.section(&section);
            }
            Payload::ComponentExportSection(exports) => {
                let mut section = ComponentExportSection::new();
                for export in exports {
                    let export = export.ok()?;
                    let mut name = ComponentExternName::from(export.name);
                    name.name = release(export.name.name, &names.exports);
                    let ty = export.ty.map(|ty| RoundtripReencoder.component_type_ref(ty)).transpose().ok()?;
                    section.export(name, export.kind.into(), export.index, ty);
                }
                encoded.section(&section);
            }
            // The encoder has already written the header.
            Payload::Version { .. } => {}
            other => {
                let (id, range) = other.as_section()?;
                encoded.section(&RawSection { id, data: component.get(range)? });
            }
        }
    }
    Some(encoded.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(component: &[u8]) -> (Vec<String>, Vec<String>) {
        let sections = sections(component).unwrap();
        let names = Names::of(&sections).unwrap();
        let owned = |names: BTreeSet<&str>| names.into_iter().map(String::from).collect();
        (owned(names.imports), owned(names.exports))
    }

    fn valid(component: &[u8]) {
        wasmtime::component::Component::new(&wasmtime::Engine::default(), component).unwrap();
    }

    #[test]
    fn names_of_the_release_candidate_become_those_of_the_release() {
        let component = wat::parse_str(
            r#"(component
                (import "wasi:clocks/types@0.3.0-rc-2026-03-15" (instance $types
                    (type $u64 u64)
                    (export "duration" (type (eq $u64)))))
                (import "other:clocks/types@0.3.0-rc-2026-03-15" (instance))
                (import "wasi:clocks/types@0.3.0-rc-2025-08-15" (instance))
                (alias export $types "duration" (type $duration))
                (component $nested
                    (import "wasi:clocks/types@0.3.0-rc-2026-03-15" (instance))
                    (instance $empty)
                    (export "wasi:nested/export@0.3.0-rc-2026-03-15" (instance $empty)))
                (core module $m (func (export "f") (result i64) i64.const 7))
                (core instance $i (instantiate $m))
                (func $f (result $duration) (canon lift (core func $i "f")))
                (instance $handler (export "f" (func $f)))
                (export "wasi:http/handler@0.3.0-rc-2026-03-15" (instance $handler))
                (@custom "note" "kept"))"#,
        )
        .unwrap();
        let renamed = renamed(&component).unwrap();
        valid(&renamed);
        let (imports, exports) = names(&renamed);
        assert_eq!(
            imports,
            [
                "other:clocks/types@0.3.0-rc-2026-03-15",
                "wasi:clocks/types@0.3.0",
                "wasi:clocks/types@0.3.0-rc-2025-08-15"
            ]
        );
        assert_eq!(exports, ["wasi:http/handler@0.3.0"]);
        let text = String::from_utf8_lossy(&renamed);
        assert!(text.contains("wasi:nested/export@0.3.0-rc-2026-03-15") && text.contains("kept"), "nested names stay");
        assert_eq!(super::renamed(&renamed), None, "there is nothing left to rename");
    }

    #[test]
    fn a_name_in_both_versions_stays_and_the_others_are_renamed() {
        let component = wat::parse_str(
            r#"(component
                (import "wasi:clocks/types@0.3.0" (instance))
                (import "wasi:clocks/types@0.3.0-rc-2026-03-15" (instance))
                (import "wasi:random/random@0.3.0-rc-2026-03-15" (instance))
                (instance $empty)
                (export "wasi:clocks/types@0.3.0-rc-2026-03-15" (instance $empty)))"#,
        )
        .unwrap();
        let renamed = renamed(&component).unwrap();
        valid(&renamed);
        let (imports, exports) = names(&renamed);
        assert_eq!(
            imports,
            ["wasi:clocks/types@0.3.0", "wasi:clocks/types@0.3.0-rc-2026-03-15", "wasi:random/random@0.3.0"]
        );
        assert_eq!(exports, ["wasi:clocks/types@0.3.0"], "an export is not in an import's way");
    }

    #[test]
    fn what_has_nothing_to_rename_or_is_no_component_is_left_alone() {
        let component = wat::parse_str(r#"(component (import "wasi:clocks/types@0.3.0" (instance)))"#).unwrap();
        assert_eq!(renamed(&component), None);
        let both = wat::parse_str(
            r#"(component
                (import "wasi:clocks/types@0.3.0" (instance))
                (import "wasi:clocks/types@0.3.0-rc-2026-03-15" (instance)))"#,
        )
        .unwrap();
        assert_eq!(renamed(&both), None);
        assert_eq!(renamed(b"no component at all"), None);
        let candidate =
            wat::parse_str(r#"(component (core module) (import "wasi:clocks/types@0.3.0-rc-2026-03-15" (instance)))"#)
                .unwrap();
        let whole = renamed(&candidate).unwrap();
        for end in 0..candidate.len() {
            assert_ne!(renamed(&candidate[..end]).as_ref(), Some(&whole), "cut off after {end} bytes");
        }
    }
}
