//! An application whose manifest is read but whose variables have no values yet, and functions that all readers of its
//! tables share.

use super::declared::Declared;
use super::dependencies::Provider;
use super::names::nearest;
use super::peers::Reserved;
use super::table::{At, Table};
use super::template::Template;
use super::{Application, Component};
use crate::limits::{Given, Limit, LimitValue};
use std::collections::BTreeMap;
use toml::de::DeValue;

/// An application whose templates are not filled in yet.
pub(super) struct Draft {
    pub(super) application: Application,
    pub(super) declared: BTreeMap<String, Declared>,
    /// The routes of `reserved_routes`.
    pub(super) reserved: Reserved,
    /// Templates by component.
    pub(super) templates: BTreeMap<String, Templates>,
    /// The middleware of routes, each with the index of its route.
    pub(super) middleware: Vec<(usize, Vec<Provider>)>,
    /// Redis triggers.
    pub(super) redis: Vec<RedisDraft>,
    /// The server for Redis triggers that name none.
    pub(super) redis_address: Option<At<Template>>,
}

/// A Redis trigger whose templates are not filled in yet.
pub(super) struct RedisDraft {
    pub(super) id: String,
    pub(super) component: String,
    pub(super) channel: At<Template>,
    pub(super) address: Option<At<Template>>,
    pub(super) line: usize,
}

/// The parts of one component that depend on all components, or on the values of variables.
#[derive(Default, Clone)]
pub(super) struct Templates {
    pub(super) variables: BTreeMap<String, Template>,
    pub(super) hosts: Vec<At<Template>>,
    pub(super) database: Option<At<Template>>,
    /// When the first start adds its seed.
    pub(super) seed: Option<SeedTemplate>,
    /// The variable that turns the component off when it is set.
    pub(super) unless: Option<String>,
    /// What answers its dependencies, in their order.
    pub(super) providers: Vec<Provider>,
}

/// When the first start adds the seed.
#[derive(Clone)]
pub(super) struct SeedTemplate {
    /// A template that gives "true" if the first start adds the seed.
    pub(super) first_start: Option<At<Template>>,
    /// The variable that turns it off when it is set.
    pub(super) unless: Option<String>,
}

impl SeedTemplate {
    /// The templates in it.
    pub(super) fn templates(&self) -> impl Iterator<Item = &At<Template>> {
        self.first_start.iter()
    }
}

impl Draft {
    /// An application without components.
    pub(super) fn new(application: Application, declared: BTreeMap<String, Declared>) -> Self {
        Draft {
            application,
            declared,
            reserved: Reserved::default(),
            templates: BTreeMap::new(),
            middleware: Vec::new(),
            redis: Vec::new(),
            redis_address: None,
        }
    }

    /// Adds a component.
    pub(super) fn add(&mut self, (component, templates): (Component, Templates)) {
        self.templates.insert(component.name.clone(), templates);
        self.application.components.insert(component.name.clone(), component);
    }
}

/// Reads `targets`, the environments that Spin's tools check a component against.
pub(super) fn read_targets(table: &mut Table<'_, '_>) {
    let Some((line, value)) = table.value("targets") else { return };
    match value.get_ref() {
        DeValue::Array(_) => table.warning(line, "`targets` is for Spin's tools and is not checked", "none is needed"),
        other => table.mismatch("targets", line, "a list", other),
    }
}

/// Reads a table of limits, and calls `set` for each value that fits its limit.
pub(super) fn read_limits(table: &Table<'_, '_>, known: &[Limit], mut set: impl FnMut(&str, LimitValue)) {
    for (key, value) in table.entries() {
        let Some(limit) = known.iter().find(|limit| limit.key == key.value) else {
            let fix = match nearest(key.value, known.iter().map(|limit| limit.key)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "`souk doctor --limits` lists the limits: {}",
                    known.iter().map(|l| l.key).collect::<Vec<_>>().join(", ")
                ),
            };
            table.error(key.line, format!("unknown limit `{}`", key.value), fix);
            continue;
        };
        let given = match value.get_ref() {
            DeValue::Integer(number) => {
                Given::Number(u64::from_str_radix(number.as_str().trim_start_matches('+'), number.radix()).ok())
            }
            DeValue::String(text) => Given::Text(text),
            other => {
                let message = format!("limit `{}` must not be of type {}", key.value, other.type_str());
                table.error(key.line, message, limit.fix());
                continue;
            }
        };
        match limit.read(given) {
            Ok(value) => set(key.value, value),
            Err(message) => table.error(key.line, message, limit.fix()),
        }
    }
}
