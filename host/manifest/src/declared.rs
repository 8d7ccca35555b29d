//! The declarations of variables in the manifest, and their values: types that all modules for variables share.

use super::names::nearest;
use super::table::{At, Table};
use regex_automata::meta::Regex;
use std::collections::BTreeMap;
use std::fmt;

/// The prefix of environment variables that set application variables.
pub(super) const PREFIX: &str = "SPIN_VARIABLE";

/// The value of a variable. `Debug` does not show a secret value.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    text: String,
    secret: bool,
}

impl Value {
    /// A value. It is `secret` if it was made from a secret variable.
    pub fn new(text: String, secret: bool) -> Self {
        Value { text, secret }
    }

    /// The value itself, for the component. Not for logs or messages.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether the value may be shown.
    pub fn is_secret(&self) -> bool {
        self.secret
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret { f.write_str("Value(secret)") } else { f.debug_tuple("Value").field(&self.text).finish() }
    }
}

/// A variable as `[variables]` declares it. Its default can be secret, so there is no `Debug`.
pub(super) struct Declared {
    pub(super) line: usize,
    pub(super) default: Option<String>,
    pub(super) secret: bool,
    /// How the host generates a value when none is set.
    pub(super) generated: Option<Generated>,
    /// The warning for the operator when it has a certain value.
    pub(super) warning: Option<Warning>,
    /// The values that it may have; `None` allows any value.
    pub(super) allowed: Option<Allowed>,
}

impl Declared {
    /// A variable with what `[variables]` says about it.
    pub(super) fn new(line: usize, default: Option<String>, secret: bool) -> Self {
        Declared { line, default, secret, generated: None, warning: None, allowed: None }
    }
}

/// The values that a variable may have.
pub(super) struct Allowed {
    pub(super) line: usize,
    pub(super) rule: Rule,
}

/// Which values are allowed.
pub(super) enum Rule {
    /// These.
    OneOf(Vec<String>),
    /// Those that a regular expression matches, from beginning to end; with its text.
    Pattern(String, Regex),
}

/// How the host generates the value of a variable.
pub(super) struct Generated {
    pub(super) line: usize,
    pub(super) kind: Kind,
    pub(super) unless: Option<At<String>>,
}

/// What the host generates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A random text, which is kept.
    Secret,
    /// The URL at which the application is served.
    Url,
}

/// The warning to log when a variable has a certain value.
pub(super) struct Warning {
    pub(super) line: usize,
    pub(super) value: String,
    pub(super) message: String,
}

/// The name of the environment variable that sets `variable`.
pub(super) fn environment_name(prefix: &str, variable: &str) -> String {
    format!("{prefix}_{}", variable.to_ascii_uppercase())
}

/// Whether the variable that `key` names is declared; reports a mistake if not.
pub(super) fn check_named(
    table: &Table<'_, '_>,
    key: &str,
    named: &At<String>,
    declared: &BTreeMap<String, Declared>,
) -> bool {
    if declared.contains_key(&named.value) {
        return true;
    }
    let fix = match nearest(&named.value, declared.keys().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("declare it: `{} = {{ default = \"\" }}` under [variables]", named.value),
    };
    table.error(named.line, format!("`{key}` names the variable `{}`, which is not declared", named.value), fix);
    false
}

/// Whether the variable has a value that is not empty.
pub(super) fn is_set(values: &BTreeMap<String, Value>, name: &str) -> bool {
    values.get(name).is_some_and(|value| !value.expose().is_empty())
}
