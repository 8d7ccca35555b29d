//! Reads TOML tables with their spans: typed access to keys, and an error with line and fix for each mistake.
//!
//! The manifest is read from toml's spanned document tree and not with derived types: in Spin's schema many keys have a
//! string or a table as their value, and serde's untagged enums lose the span and the reason of an error there. A table
//! records which keys were read; the others are unknown keys, and their errors suggest the nearest known key.

use super::error::{Diagnostic, Report, Source};
use super::names::nearest;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub value: T,
    pub line: usize,
}

/// The context that all tables of one file share.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub source: &'a Source,
    pub report: &'a Report,
}

impl File<'_> {
    pub(crate) fn diagnostic(
        &self,
        line: Option<usize>,
        component: Option<&str>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            file: self.source.path.clone(),
            line,
            component: component.map(str::to_owned),
            message: message.into(),
            fix: fix.into(),
        }
    }

    /// Parses the file's text; a syntax error is reported and gives `None`.
    pub(crate) fn parse<'i>(&self, text: &'i str) -> Option<Spanned<DeTable<'i>>> {
        match DeTable::parse(text) {
            Ok(root) => Some(root),
            Err(error) => {
                let line = error.span().map(|span| self.source.line(&span));
                let fix = if error.message().contains("duplicate key") {
                    "remove one of the two; a table is opened once and a key is set once"
                } else {
                    "write valid TOML: text stands in \"quotes\", a table's name in [brackets], every key has one `=`"
                };
                let message = format!("this is not TOML: {}", error.message());
                self.report.error(self.diagnostic(line, None, message, fix));
                None
            }
        }
    }
}

/// One table while it is being read.
pub(super) struct Table<'a, 'i> {
    pub file: File<'a>,
    /// The name of the table in messages: `[component.orders]`.
    pub place: String,
    /// The component that the table belongs to.
    pub component: Option<&'a str>,
    /// Where the table begins.
    pub line: usize,
    entries: &'a DeTable<'i>,
    asked: Vec<&'static str>,
    /// Keys that were reported already, or that must not be suggested.
    refused: Vec<&'a str>,
}

impl<'a, 'i> Table<'a, 'i> {
    pub(crate) fn new(file: File<'a>, place: impl Into<String>, line: usize, entries: &'a DeTable<'i>) -> Self {
        Table { file, place: place.into(), component: None, line, entries, asked: Vec::new(), refused: Vec::new() }
    }

    pub(crate) fn error(&self, line: usize, message: impl Into<String>, fix: impl Into<String>) {
        self.file.report.error(self.file.diagnostic(Some(line), self.component, message, fix));
    }

    pub(crate) fn warning(&self, line: usize, message: impl Into<String>, fix: impl Into<String>) {
        self.file.report.warning(self.file.diagnostic(Some(line), self.component, message, fix));
    }

    pub(crate) fn line_of(&self, span: &Range<usize>) -> usize {
        self.file.source.line(span)
    }

    /// A table inside this one.
    fn inner(&self, place: String, line: usize, entries: &'a DeTable<'i>) -> Table<'a, 'i> {
        Table { component: self.component, ..Table::new(self.file, place, line, entries) }
    }

    /// The name of an inner table: `build` in `[component.orders]` is `[component.orders.build]`.
    fn place_of(&self, key: &str) -> String {
        if self.place.starts_with('[') {
            format!("[{}.{key}]", self.place.trim_matches(['[', ']']))
        } else {
            format!("[{key}]")
        }
    }

    fn find(&self, key: &str) -> Option<(usize, &'a Spanned<DeValue<'i>>)> {
        let entries: &'a DeTable<'i> = self.entries;
        let (name, value) = entries.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((self.line_of(&name.span()), value))
    }

    /// The value of `key`, whatever its type, with the line of the key.
    pub(crate) fn value(&mut self, key: &'static str) -> Option<(usize, &'a Spanned<DeValue<'i>>)> {
        self.asked.push(key);
        self.find(key)
    }

    /// Reports that the value of `key` has the wrong type.
    pub(crate) fn mismatch(&self, key: &str, line: usize, wanted: &str, found: &DeValue<'_>) {
        let fix = match (wanted, found) {
            ("a string", DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => {
                format!("put the value of `{key}` in quotes")
            }
            ("a list of strings", DeValue::String(_)) => format!("put the value in brackets: `{key} = [\"...\"]`"),
            ("an array of tables", _) => format!("open each one with double brackets: `[{}]`", self.place_of(key)),
            ("a table", DeValue::Array(_)) if key == "component" => {
                "open each one by its name, with single brackets: `[component.NAME]`".to_owned()
            }
            ("a table", DeValue::Array(_)) => format!("open it with single brackets: `{}`", self.place_of(key)),
            ("a table", _) => format!("write `{key} = {{ ... }}`"),
            _ => format!("write {wanted}"),
        };
        self.error(line, format!("`{key}` must be {wanted}, but is of type {}", found.type_str()), fix);
    }

    pub(crate) fn string(&mut self, key: &'static str) -> Option<At<String>> {
        let (line, value) = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(At { value: text.to_string(), line }),
            other => {
                self.mismatch(key, line, "a string", other);
                None
            }
        }
    }

    /// As [`Table::string`], but reports an error when the key is missing.
    pub(crate) fn required_string(&mut self, key: &'static str, fix: &str) -> Option<At<String>> {
        if self.find(key).is_none() {
            if !self.misspelt(key) {
                self.asked.push(key);
                self.error(self.line, format!("{} has no `{key}`", self.place), fix);
            }
            return None;
        }
        self.string(key)
    }

    /// Whether another key is most likely a misspelt `key`; reports it once.
    pub(crate) fn misspelt(&mut self, key: &'static str) -> bool {
        let mut names = self.entries().into_iter().map(|(name, _)| name);
        let Some(name) = names.find(|name| name.value != key && nearest(name.value, [key]).is_some()) else {
            return false;
        };
        self.refused.push(name.value);
        self.error(name.line, self.unknown(name.value), format!("did you mean `{key}`?"));
        true
    }

    fn unknown(&self, key: &str) -> String {
        format!("unknown key `{key}` in {}", self.place)
    }

    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<At<bool>> {
        let (line, value) = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(value) => Some(At { value: *value, line }),
            other => {
                self.mismatch(key, line, "`true` or `false`", other);
                None
            }
        }
    }

    /// A list of strings; empty when the key is missing.
    pub(crate) fn strings(&mut self, key: &'static str) -> Vec<At<String>> {
        let Some((line, value)) = self.value(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.mismatch(key, line, "a list of strings", value.get_ref());
            return Vec::new();
        };
        let mut strings = Vec::with_capacity(items.len());
        for item in items.iter() {
            let line = self.line_of(&item.span());
            match item.get_ref() {
                DeValue::String(text) => strings.push(At { value: text.to_string(), line }),
                other => self.mismatch(key, line, "a list of strings", other),
            }
        }
        strings
    }

    /// A table under `key`.
    pub(crate) fn table(&mut self, key: &'static str) -> Option<Table<'a, 'i>> {
        let (line, value) = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(entries) => Some(self.inner(self.place_of(key), line, entries)),
            other => {
                self.mismatch(key, line, "a table", other);
                None
            }
        }
    }

    /// The tables of an array of tables.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Table<'a, 'i>> {
        let Some((line, value)) = self.value(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.mismatch(key, line, "an array of tables", value.get_ref());
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(items.len());
        for item in items.iter() {
            let line = self.line_of(&item.span());
            match item.get_ref() {
                DeValue::Table(entries) => {
                    tables.push(self.inner(format!("[{}]", self.place_of(key)), line, entries));
                }
                other => self.mismatch(key, line, "an array of tables", other),
            }
        }
        tables
    }

    /// All entries of a table whose keys are names chosen by the author.
    pub(crate) fn entries(&self) -> Vec<(At<&'a str>, &'a Spanned<DeValue<'i>>)> {
        let entries: &'a DeTable<'i> = self.entries;
        let named = |(name, value): (&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>)| {
            (At { value: name.get_ref().as_ref(), line: self.line_of(&name.span()) }, value)
        };
        entries.iter().map(named).collect()
    }

    /// All entries as strings: `environment`, `variables`.
    pub(crate) fn string_entries(&self) -> Vec<(At<&'a str>, String)> {
        let mut strings = Vec::new();
        for (name, value) in self.entries() {
            match value.get_ref() {
                DeValue::String(text) => strings.push((name, text.to_string())),
                other => self.mismatch(name.value, name.line, "a string", other),
            }
        }
        strings
    }

    /// `value` as a table inside this one, under a name chosen by the author.
    pub(crate) fn entry(&self, name: &At<&'a str>, value: &'a Spanned<DeValue<'i>>) -> Option<Table<'a, 'i>> {
        match value.get_ref() {
            DeValue::Table(entries) => Some(self.inner(self.place_of(name.value), name.line, entries)),
            other => {
                self.mismatch(name.value, name.line, "a table", other);
                None
            }
        }
    }

    /// Hides a key from the list of known keys, because it is read only to be refused.
    pub(crate) fn hide(&mut self, key: &'static str) {
        self.refused.push(key);
    }

    /// Refuses a key that Spin knows and Souk does not support.
    pub(crate) fn refuse(&mut self, key: &'static str, message: &str, fix: &str) {
        self.hide(key);
        if let Some((line, _)) = self.find(key) {
            self.error(line, message, fix);
        }
    }

    /// Reports every key that was not read. Call it last.
    pub(crate) fn finish(self) {
        let mut known: Vec<_> = self.asked.iter().copied().filter(|key| !self.refused.contains(key)).collect();
        known.sort_unstable();
        known.dedup();
        for (name, _) in self.entries() {
            if self.asked.contains(&name.value) || self.refused.contains(&name.value) {
                continue;
            }
            let fix = match nearest(name.value, known.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None if known.is_empty() => "remove it".to_owned(),
                None => format!("remove it; known here: {}", known.join(", ")),
            };
            self.error(name.line, self.unknown(name.value), fix);
        }
    }
}
