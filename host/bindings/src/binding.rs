//! The description that every binding gives of itself.
//!
//! Each binding has one [`Binding`] in its own folder; [`BINDINGS`](crate::BINDINGS) lists them. Start-up,
//! `souk doctor` and the messages about imports go through that list, so none of them knows a binding by name. Only the
//! types differ from binding to binding: what is opened at start-up and what an instance gets. For these each binding
//! has its own `open` and `grant`, which start-up's list of grants calls.

use crate::Ctx;
use souk_manifest::limits::FixedLimit;
use souk_manifest::{Application, Component};
use std::collections::BTreeMap;
use wasmtime::component::Linker;

/// One binding: the interfaces that it provides, and its description.
pub struct Binding {
    /// Its name in the list of grants that `souk up` prints.
    pub name: &'static str,
    /// The prefixes of its interfaces' names.
    pub interfaces: &'static [&'static str],
    /// The key in a component's table of the manifest that grants its use.
    pub key: &'static str,
    /// Whether the component has no grant for it, so that every call of a component that imports it would be refused.
    pub is_missing: fn(&Component) -> bool,
    /// The component's grants, as text for the operator who starts the application. Never contains the value of a
    /// variable or a password.
    pub describe: fn(&Component) -> Vec<String>,
    /// Its fixed limits.
    pub fixed_limits: fn() -> Vec<FixedLimit>,
    /// Links its interfaces.
    pub add_to_linker: fn(&mut Linker<Ctx>) -> wasmtime::Result<()>,
}

impl Binding {
    /// Whether it provides `import`.
    pub fn answers(&self, import: &str) -> bool {
        self.interfaces.iter().any(|interface| import.starts_with(interface))
    }

    /// An [`is_missing`](Self::is_missing) for bindings that need no grant.
    pub(crate) const fn never(_: &Component) -> bool {
        false
    }

    /// A [`describe`](Self::describe) for bindings whose grants another binding describes.
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
