//! What all kinds of links share: an import is compared with the export that answers it, function by function, and each
//! function is defined in the importer's linker.

use super::answers::Answers;
use super::check::{LinkTypeError, check_function, plain_values};
use super::taped::define;
use super::unavailable::Unavailable;
use souk_bindings::Ctx;
use souk_runtime::{Exported, Pool};
use std::sync::Arc;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Linker};

/// An import that could not be linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The two sides disagree on a type, or the contract has something that cannot cross such a link.
    #[error(transparent)]
    Type(#[from] LinkTypeError),
    /// The exporter does not export what is imported.
    #[error("component `{exporter}` does not export `{item}`")]
    Missing {
        /// The component that should export it.
        exporter: Arc<str>,
        /// The interface, or interface and function.
        item: String,
        /// What would fix it.
        fix: String,
    },
    /// The linker refused.
    #[error("`{interface}` cannot be linked: {message}")]
    Linker {
        /// The imported interface.
        interface: String,
        /// The message of wasmtime.
        message: String,
    },
}

impl LinkError {
    /// What fixes it.
    pub fn fix(&self) -> &str {
        match self {
            LinkError::Type(error) => &error.fix,
            LinkError::Missing { fix, .. } => fix,
            LinkError::Linker { .. } => "name it in one dependency only, and not one that the host itself offers",
        }
    }
}

/// One interface that a component imports, and the component that answers it.
pub struct Import<'a> {
    /// The engine of both components.
    pub engine: &'a wasmtime::Engine,
    /// The component that imports it.
    pub importer: &'a Component,
    /// The interface, as the importer names it.
    pub interface: &'a str,
    /// The interface, as the exporter names it.
    pub export: &'a str,
    /// The exporter.
    pub target: Target<'a>,
}

/// Where the component is that answers an import.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// On this host.
    Local(&'a Arc<Pool>),
    /// On another host; this host does not know what it exports.
    Remote(&'a Arc<str>),
}

impl<'a> Target<'a> {
    /// The component's name.
    pub fn component(self) -> &'a Arc<str> {
        match self {
            Target::Local(pool) => pool.component(),
            Target::Remote(component) => component,
        }
    }
}

/// One function of an import.
pub(super) struct Imported {
    /// Its name in the interface.
    pub name: String,
    /// Its type in the importer. The exporter's type may be an extension of it, and either may be `async`.
    pub ty: ComponentFunc,
    /// What it returns when its callee could not answer.
    pub unavailable: Option<Unavailable>,
}

impl Import<'_> {
    /// Defines each function of the import in `linker`; `link` creates the object that answers it. Returns the
    /// functions whose contract has no error for a dead callee, as `interface#name`.
    ///
    /// # Errors
    /// When the exporter lacks a function, when a type differs or cannot cross a link, and when `link` fails.
    pub(super) fn define<L: Answers>(
        &self,
        linker: &mut Linker<Ctx>,
        mut link: impl FnMut(&Imported) -> Result<L, LinkError>,
    ) -> Result<Vec<String>, LinkError> {
        let functions = self.functions()?;
        let mut without_unavailable = Vec::new();
        let mut instance = linker.instance(self.interface).map_err(|error| self.refused(&error))?;
        for function in functions {
            if function.unavailable.is_none() {
                without_unavailable.push(format!("{}#{}", self.interface, function.name));
            }
            let link = Arc::new(link(&function)?);
            define(&mut instance, self.interface, &function.name, &function.ty, link)
                .map_err(|error| self.refused(&error))?;
        }
        Ok(without_unavailable)
    }

    /// The functions of the import, each compared with the exported one if the exporter is on this host.
    ///
    /// # Errors
    /// When the exporter lacks one, or a type differs or cannot cross a link.
    pub(super) fn functions(&self) -> Result<Vec<Imported>, LinkError> {
        match self.target {
            Target::Local(pool) => self.compared(Some(&pool.active().compiled().exported)),
            Target::Remote(_) => self.compared(None),
        }
    }

    /// Checks the import against the exports of a version of its target that does not serve yet.
    ///
    /// # Errors
    /// When the version lacks a function, or a type differs.
    pub fn check(&self, exported: &Exported) -> Result<(), LinkError> {
        self.compared(Some(exported)).map(|_| ())
    }

    fn compared(&self, exported: Option<&Exported>) -> Result<Vec<Imported>, LinkError> {
        let (interface, export) = (self.interface, self.export);
        if let Some(exported) = exported
            && !exported.functions.iter().any(|f| f.interface == export)
        {
            let mut offers: Vec<&str> = exported.functions.iter().map(|f| f.interface.as_str()).collect();
            offers.dedup();
            let offers = if offers.is_empty() { "nothing".to_string() } else { offers.join(", ") };
            let fix = format!("it exports {offers}; name one of these in the dependency");
            return Err(self.missing(export.to_string(), &fix));
        }
        let component_type = self.importer.component_type();
        let import = component_type.get_import(self.engine, interface).map(|import| import.ty);
        let Some(ComponentItem::ComponentInstance(import)) = import else { return Ok(Vec::new()) };
        let mut functions = Vec::new();
        for (name, item) in import.exports(self.engine) {
            let ty = match item.ty {
                ComponentItem::ComponentFunc(ty) => ty,
                ComponentItem::Type(_) => continue,
                _ => return Err(LinkTypeError::not_a_function(interface, name).into()),
            };
            match exported.map(|exported| exported.function(export, name)) {
                Some(Some(function)) => check_function(interface, name, &ty, &function.ty)?,
                Some(None) => {
                    let fix = "build both components against the same contract";
                    return Err(self.missing(format!("{export}#{name}"), fix));
                }
                None => plain_values(interface, name, &ty)?,
            }
            let unavailable = Unavailable::of(&ty);
            functions.push(Imported { name: name.to_string(), ty, unavailable });
        }
        Ok(functions)
    }

    pub(super) fn missing(&self, item: String, fix: &str) -> LinkError {
        LinkError::Missing { exporter: self.target.component().clone(), item, fix: fix.to_string() }
    }

    fn refused(&self, error: &wasmtime::Error) -> LinkError {
        LinkError::Linker { interface: self.interface.into(), message: format!("{error:#}") }
    }
}
