//! `durable`: the dependencies that durable links answer, and when their messages are delivered.

use super::Dependency;
use super::dependencies::marked;
use super::names::DependencyName;
use super::schedule::read_duration;
use super::table::{At, Table};
use std::time::Duration;
use toml::de::DeValue;

/// A dependency that a durable link answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableDependency {
    /// The import, or a package for all imports from it.
    pub name: DependencyName,
    /// When its messages are delivered.
    pub delay: Delay,
    /// Its line in the manifest.
    pub line: usize,
}

/// When a message is delivered first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delay {
    /// At once.
    None,
    /// This long after it was stored.
    After(Duration),
    /// At the time in the parameter with this name, in milliseconds since 1970.
    Chosen(String),
}

/// Reads `durable`: each entry is a dependency's name, or a table that also has a delay.
pub(super) fn read(souk: &mut Table<'_, '_>, dependencies: &[Dependency]) -> Vec<DurableDependency> {
    const KEY: &str = "durable";
    let Some((line, value)) = souk.value(KEY) else { return Vec::new() };
    let DeValue::Array(items) = value.get_ref() else {
        souk.mismatch(KEY, line, "a list of strings", value.get_ref());
        return Vec::new();
    };
    let mut durable = Vec::new();
    for item in items.iter() {
        let at = At { value: KEY, line: souk.line_of(&item.span()) };
        let (text, delay) = match item.get_ref() {
            DeValue::String(text) => (At { value: text.to_string(), line: at.line }, Some(Delay::None)),
            DeValue::Table(_) => {
                let Some(mut table) = souk.entry(&at, item) else { continue };
                let fix = "write `interface = \"namespace:package/interface@version\"`, as in the dependencies";
                let interface = table.required_string("interface", fix);
                let delay = read_delay(&mut table);
                table.finish();
                let Some(interface) = interface else { continue };
                (interface, delay)
            }
            other => {
                souk.mismatch(KEY, at.line, "a list of strings or tables", other);
                continue;
            }
        };
        let name = marked(souk, KEY, &text, dependencies);
        if let (Some(name), Some(delay)) = (name, delay) {
            durable.push(DurableDependency { name, delay, line: text.line });
        }
    }
    durable
}

fn read_delay(table: &mut Table<'_, '_>) -> Option<Delay> {
    match (table.string("after"), table.string("deliver_at")) {
        (None, None) => Some(Delay::None),
        (Some(after), None) => read_duration(table, "after", &after).map(Delay::After),
        (None, Some(parameter)) => Some(Delay::Chosen(parameter.value)),
        (Some(_), Some(parameter)) => {
            let message = format!("{} has both `after` and `deliver_at`", table.place);
            table.error(parameter.line, message, "keep one: `after` for a fixed delay, or the caller's parameter");
            None
        }
    }
}
