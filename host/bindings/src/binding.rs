//! What every binding says of itself.
//!
//! Each has one [`Binding`], in its own folder, and [`BINDINGS`](crate::BINDINGS) lists them. Start-up, `souk doctor` and
//! the messages about imports go through that list, so none of them knows a binding by name. What differs from binding
//! to binding in its types, what is opened and what an instance is given, is a `open` and a `grant` of its own, which
//! start-up's list of grants calls.

use crate::Ctx;
use souk_manifest::limits::FixedLimit;
use souk_manifest::{Application, Component};
use std::collections::BTreeMap;
use wasmtime::component::Linker;

/// One binding: the interfaces that it answers, and what is to be known of it.
pub struct Binding {
    /// What `souk up` calls it where it lists what a component is granted.
    pub name: &'static str,
    /// How the names of its interfaces begin.
    pub interfaces: &'static [&'static str],
    /// The key of a component's table that grants something of it.
    pub key: &'static str,
    /// Whether a component that imports it is granted nothing of it, and would be refused all.
    pub is_missing: fn(&Component) -> bool,
    /// What a component is granted of it, for who starts the application. No value of a variable and no password.
    pub describe: fn(&Component) -> Vec<String>,
    /// Its fixed limits.
    pub fixed_limits: fn() -> Vec<FixedLimit>,
    /// Links its interfaces.
    pub add_to_linker: fn(&mut Linker<Ctx>) -> wasmtime::Result<()>,
}

impl Binding {
    /// Whether it answers `import`.
    pub fn answers(&self, import: &str) -> bool {
        self.interfaces.iter().any(|interface| import.starts_with(interface))
    }

    /// For [`is_missing`](Self::is_missing), of what needs no grant.
    pub(crate) const fn never(_: &Component) -> bool {
        false
    }

    /// For [`describe`](Self::describe), of what another binding describes already.
    pub(crate) const fn nothing(_: &Component) -> Vec<String> {
        Vec::new()
    }
}

/// The labels that components of this host have in `list`, each with the first component that has it.
pub(crate) fn labels(application: &Application, list: fn(&Component) -> &Vec<String>) -> BTreeMap<&str, &Component> {
    let mut labels = BTreeMap::new();
    for component in application.here() {
        for label in list(component) {
            labels.entry(label.as_str()).or_insert(component);
        }
    }
    labels
}
