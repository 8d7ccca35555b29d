//! `[component.NAME.tool.souk.nest]`: the patterns of a NestJS system that the component answers or calls.
//!
//! `serves` maps a pattern to a function that the component exports, `calls` maps a pattern to a function that it
//! imports. An entry is the function's name, or a table that also maps the message's `data` to a parameter and the
//! contract's errors to those of Nest. `errors` beside `serves` and `calls` applies to all patterns. Whether the
//! functions exist, and whether every error is mapped, is checked once the components are compiled.
//!
//! A pattern is the argument of `@MessagePattern` or `@EventPattern`. An object is written as its JSON, and is
//! converted here to the same subject that Nest uses. Wildcards are refused: each pattern needs an entry of its own.

use super::names::DependencyName;
use super::table::{At, Table};
use serde_json::Value;
use std::collections::BTreeMap;
use toml::de::DeValue;

/// The patterns of a NestJS system that one component answers or calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nest {
    /// Patterns that the component's exports answer.
    pub serves: Vec<NestPattern>,
    /// Patterns of Nest services that the component calls through its imports.
    pub calls: Vec<NestPattern>,
}

/// A pattern and the function that it is mapped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestPattern {
    /// The NATS subject that Nest uses for the pattern.
    pub subject: String,
    /// The interface of the function.
    pub interface: DependencyName,
    /// The function.
    pub function: String,
    /// The one parameter that is the whole `data`; if `None`, `data` has all parameters by name.
    pub data: Option<String>,
    /// The Nest errors for the cases of the contract's error, by the case's name.
    pub errors: BTreeMap<String, NestError>,
    /// Members that are left out of the response, because the NestJS system does not know them: `user.role`.
    pub leave_out: Vec<String>,
    /// The line of the pattern.
    pub line: usize,
}

/// An error as a service of a NestJS system throws it: `{"status": ..., "message": ...}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestError {
    /// The status: a number, or a string such as Nest's own `"error"`.
    pub status: Value,
    /// The text, with `{}` as the placeholder for the case's payload; `None` stands for the payload itself.
    pub message: Option<String>,
    /// Whether the error is for this pattern only, and not for all patterns of the component.
    pub pattern_only: bool,
}

/// Reads the table of one component.
pub(super) fn read(mut table: Table<'_, '_>) -> Nest {
    let shared = table.table("errors").map(|errors| read_errors(&errors, false)).unwrap_or_default();
    let mut patterns = |key| table.table(key).map(|patterns| read_patterns(&patterns, &shared)).unwrap_or_default();
    let nest = Nest { serves: patterns("serves"), calls: patterns("calls") };
    if nest == Nest::default() && table.entries().is_empty() {
        let fix = "write `serves` or `calls`, or remove the table";
        table.error(table.line, format!("{} names no pattern", table.place), fix);
    }
    table.finish();
    nest
}

fn read_patterns(table: &Table<'_, '_>, shared: &BTreeMap<String, NestError>) -> Vec<NestPattern> {
    const FUNCTION_FIX: &str = "write it as \"namespace:package/interface@version#function\"";
    let mut patterns: Vec<NestPattern> = Vec::new();
    for (key, value) in table.entries() {
        let subject = match subject(key.value) {
            Ok(subject) => subject,
            Err((message, fix)) => {
                table.error(key.line, format!("`{}` cannot be a pattern: {message}", key.value), fix);
                continue;
            }
        };
        if patterns.iter().any(|other| other.subject == subject) {
            table.error(key.line, format!("the pattern `{subject}` is listed twice"), "keep one of the two");
            continue;
        }
        let (function, data, pattern_errors, leave_out) = match value.get_ref() {
            DeValue::String(function) => {
                (Some(At { value: function.to_string(), line: key.line }), None, BTreeMap::new(), Vec::new())
            }
            DeValue::Table(_) => {
                let Some(mut entry) = table.entry(&key, value) else { continue };
                entry.place = format!("the pattern `{subject}`");
                let function = entry.required_string("function", FUNCTION_FIX);
                let data = entry.string("data").map(|data| data.value);
                let errors = entry.table("errors").map(|errors| read_errors(&errors, true)).unwrap_or_default();
                let leave_out = entry.strings("leave_out").into_iter().map(|path| path.value).collect();
                entry.finish();
                (function, data, errors, leave_out)
            }
            other => {
                table.mismatch(key.value, key.line, "a function's name or a table", other);
                continue;
            }
        };
        let Some(function) = function else { continue };
        let named = function.value.split_once('#').filter(|(_, name)| !name.is_empty());
        let named = named.and_then(|(interface, name)| Some((DependencyName::parse(interface).ok()?, name)));
        let Some((interface, name)) = named.filter(|(interface, _)| interface.interface.is_some()) else {
            let message = format!("`{}` is not the name of a function in an interface", function.value);
            table.error(function.line, message, FUNCTION_FIX);
            continue;
        };
        let mut errors = shared.clone();
        errors.extend(pattern_errors);
        let function = name.to_owned();
        patterns.push(NestPattern { subject, interface, function, data, errors, leave_out, line: key.line });
    }
    patterns
}

fn read_errors(table: &Table<'_, '_>, pattern_only: bool) -> BTreeMap<String, NestError> {
    let mut errors = BTreeMap::new();
    for (case, value) in table.entries() {
        let Some(mut entry) = table.entry(&case, value) else { continue };
        entry.place = format!("the error `{}`", case.value);
        let status = match entry.value("status") {
            None => {
                entry.error(case.line, format!("{} has no `status`", entry.place), "write `status = 404`");
                None
            }
            Some((line, value)) => match value.get_ref() {
                DeValue::String(text) => Some(Value::from(text.as_ref())),
                DeValue::Integer(number) => match number.as_str().parse::<u16>() {
                    Ok(status) => Some(Value::from(status)),
                    Err(_) => {
                        entry.error(line, "`status` is out of range", "write an HTTP status: `status = 404`");
                        None
                    }
                },
                other => {
                    entry.mismatch("status", line, "a number or a string", other);
                    None
                }
            },
        };
        let message = entry.string("message").map(|message| message.value);
        entry.finish();
        if let Some(status) = status {
            errors.insert(case.value.to_owned(), NestError { status, message, pattern_only });
        }
    }
    errors
}

/// The subject that Nest uses for a pattern; `Err` says what is wrong with it, and the fix.
fn subject(pattern: &str) -> Result<String, (&'static str, &'static str)> {
    const JSON_FIX: &str = "write an object as its JSON in single quotes: '{\"cmd\":\"find_one\"}'";
    const BOTH_SIDES_FIX: &str = "change the pattern here and in the Nest application";
    let subject = if pattern.starts_with('{') {
        let value = serde_json::from_str(pattern).map_err(|_| ("it is not JSON", JSON_FIX))?;
        route(&value).ok_or(("a pattern cannot contain a list", JSON_FIX))?
    } else {
        pattern.to_owned()
    };
    if subject.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(("a NATS subject cannot contain whitespace or control characters", BOTH_SIDES_FIX));
    }
    let mut tokens = subject.split('.');
    if tokens.clone().any(str::is_empty) {
        return Err(("a part between dots is empty", "write at least one character between two dots"));
    }
    if tokens.any(|token| token == "*" || token == ">") {
        return Err(("wildcards are not supported", "write one entry for each pattern"));
    }
    if ["$", "_INBOX.", "souk."].iter().any(|reserved| subject.starts_with(reserved)) {
        let message = "subjects that begin with `$`, `_INBOX.` or `souk.` are reserved for NATS and the host";
        return Err((message, BOTH_SIDES_FIX));
    }
    Ok(subject)
}

/// Like `transformPatternToRoute` of `@nestjs/microservices`: keys in alphabetical order, no spaces, nothing escaped.
fn route(value: &Value) -> Option<String> {
    Some(match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            // As JavaScript's `localeCompare`: ignoring case first, and lower case before upper case for equal letters.
            keys.sort_by(|a, b| a.to_lowercase().cmp(&b.to_lowercase()).then_with(|| b.cmp(a)));
            let mut parts = Vec::with_capacity(keys.len());
            for key in keys {
                let value = fields.get(key)?;
                let text = route(value)?;
                parts.push(if value.is_string() {
                    format!("\"{key}\":\"{text}\"")
                } else {
                    format!("\"{key}\":{text}")
                });
            }
            format!("{{{}}}", parts.join(","))
        }
        Value::String(text) => text.clone(),
        Value::Array(_) => return None,
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_the_same_subject_as_in_nest() {
        for (pattern, expected) in [
            ("auth.login.user", "auth.login.user"),
            ("sum", "sum"),
            (r#"{"cmd":"find_one_product"}"#, r#"{"cmd":"find_one_product"}"#),
            (r#"{ "cmd" : "sum" }"#, r#"{"cmd":"sum"}"#),
            (r#"{"b":1,"a":{"d":true,"c":"x"}}"#, r#"{"a":{"c":"x","d":true},"b":1}"#),
            (r#"{"B":1,"a":2,"b":3}"#, r#"{"a":2,"b":3,"B":1}"#),
            (r#"{"role":null}"#, r#"{"role":null}"#),
        ] {
            assert_eq!(subject(pattern).as_deref(), Ok(expected), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_a_subject_is_refused() {
        for pattern in [
            "",
            " ",
            "a b",
            "a..b",
            ".a",
            "a.",
            "orders.*",
            "orders.>",
            "*",
            "$SYS.x",
            "_INBOX.a",
            "souk.store.call",
            "{cmd:\"x\"}",
            "{",
            r#"{"cmd":"a b"}"#,
            r#"{"cmd":["x"]}"#,
            "a\nb",
        ] {
            assert!(subject(pattern).is_err(), "{pattern:?}");
        }
    }
}
