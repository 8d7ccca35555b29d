//! `one_of` and `pattern` in `[application.tool.souk.variables]`: the values that a variable may have.
//!
//! A component reads its variables only when it is first called, so a wrong value would make every request fail after
//! the host has started. With this check the host does not start, and names the variable. Defaults are checked too. The
//! value of a secret variable is never shown.

use super::declared::{Allowed, Declared, PREFIX, Rule, Value, environment_name};
use super::names::nearest;
use super::table::{At, File, Table};
use regex_automata::meta::{BuildError, Regex};
use std::collections::BTreeMap;

/// The most values that an error lists. If there are more, the error only refers to `one_of`.
const LISTED_VALUES: usize = 12;

crate::fixed_limits! {
    /// The fixed limits of variables.
    pub(crate) const FIXED_LIMITS = "variables";

    /// The most memory of the compiled `pattern` of a variable.
    const MAX_PATTERN_BYTES: usize = 1 << 20, bytes;
}

/// Reads `one_of` or `pattern` of a variable's entry; `None` when both are absent or wrong.
pub(super) fn read(entry: &mut Table<'_, '_>, name: &At<&str>) -> Option<Allowed> {
    match (entry.value("one_of").map(|(line, _)| line), entry.string("pattern")) {
        (Some(line), Some(_)) => {
            let message = format!("variable `{}` has both `one_of` and `pattern`", name.value);
            entry.error(line, message, "keep one of the two");
            entry.strings("one_of");
            None
        }
        (Some(line), None) => one_of(entry, name, line),
        (None, Some(text)) => match pattern(&text.value) {
            Ok(regex) => Some(Allowed { line: text.line, rule: Rule::Pattern(text.value, regex) }),
            Err(error) => {
                // A syntax error has several lines; the last one says what is wrong.
                let why = error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string);
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
                let message = format!("`pattern` of variable `{}` is not a regular expression: {why}", name.value);
                entry.error(text.line, message, "write one as the crate `regex` has them: `pattern = \"[a-z]{2,8}\"`");
                None
            }
        },
        (None, None) => None,
    }
}

fn one_of(entry: &mut Table<'_, '_>, name: &At<&str>, line: usize) -> Option<Allowed> {
    let is_list = entry.value("one_of").is_some_and(|(_, value)| value.get_ref().as_array().is_some());
    let values: Vec<String> = entry.strings("one_of").into_iter().map(|value| value.value).collect();
    if is_list && values.is_empty() {
        let message = format!("`one_of` of variable `{}` has no value", name.value);
        entry.error(line, message, "list the values that it may have: `one_of = [\"usd\", \"eur\"]`");
    }
    (!values.is_empty()).then_some(Allowed { line, rule: Rule::OneOf(values) })
}

/// A regular expression that matches whole values.
fn pattern(text: &str) -> Result<Regex, Box<BuildError>> {
    let build = |text: &str| {
        let config = Regex::config().nfa_size_limit(Some(MAX_PATTERN_BYTES));
        Regex::builder().configure(config).build(text).map_err(Box::new)
    };
    // Alone first: `a)|(b` is none, although it is one between brackets.
    build(text)?;
    build(&format!(r"\A(?:{text})\z"))
}

/// Reports variables whose value is not allowed.
pub(super) fn check(declared: &BTreeMap<String, Declared>, values: &BTreeMap<String, Value>, manifest: File<'_>) {
    for (name, variable) in declared {
        let (Some(Allowed { line, rule }), Some(value)) = (&variable.allowed, values.get(name)) else { continue };
        let is_allowed = match rule {
            Rule::OneOf(values) => values.iter().any(|allowed| allowed == value.expose()),
            Rule::Pattern(_, regex) => regex.is_match(value.expose()),
        };
        if is_allowed {
            continue;
        }
        let is = match value.is_secret() {
            true => "has a value".to_owned(),
            false => format!("is {:?}", value.expose()),
        };
        let key = environment_name(PREFIX, name);
        let (which, fix) = match rule {
            Rule::OneOf(values) => {
                ("is not one of the values that it may have".to_owned(), list_fix(&key, values, value))
            }
            Rule::Pattern(text, _) => {
                (format!("does not match the pattern `{text}`"), format!("set {key} to a value that does"))
            }
        };
        let message = format!("variable `{name}` {is}, which {which}");
        manifest.report.error(manifest.diagnostic(Some(*line), None, message, fix));
    }
}

/// What to set instead of a value that is not listed.
fn list_fix(key: &str, allowed: &[String], value: &Value) -> String {
    let lower = value.expose().trim().to_lowercase();
    let near = || {
        let near = allowed.iter().map(String::as_str).find(|allowed| allowed.to_lowercase() == lower);
        near.or_else(|| nearest(value.expose(), allowed.iter().map(String::as_str)))
    };
    match ((!value.is_secret()).then(near).flatten(), allowed.len()) {
        (Some(near), _) => format!("set {key} to a value of `one_of`; did you mean `{near}`?"),
        (None, ..=LISTED_VALUES) => format!("set {key} to `{}`", allowed.join("`, `")),
        (None, _) => format!("set {key} to a value of `one_of`"),
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::app;

    fn manifest(secret: bool) -> String {
        format!(
            "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.tool.souk.variables]\n\
             coin = {{ one_of = [\"usd\", \"eur\"] }}\n[variables]\ncoin = {{ default = \"usd\", secret = {secret} }}\n\
             [[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n[component.a]\nsource = \"a.wasm\"\n\
             variables = {{ coin = \"{{{{ coin }}}}\" }}\n"
        )
    }

    #[test]
    fn a_value_that_is_not_listed_stops_the_start_and_is_named() {
        let text = manifest(false);
        assert_eq!(app(&text).component("a").variables["coin"].expose(), "usd");
        let other = app(&text).env("SPIN_VARIABLE_COIN", "eur");
        assert_eq!(other.component("a").variables["coin"].expose(), "eur");
        for (value, fix) in [
            ("EUR", "set SPIN_VARIABLE_COIN to a value of `one_of`; did you mean `eur`?"),
            ("jpy-yen", "set SPIN_VARIABLE_COIN to `usd`, `eur`"),
            ("", "set SPIN_VARIABLE_COIN to `usd`, `eur`"),
        ] {
            let errors = app(&text).env("SPIN_VARIABLE_COIN", value).errors();
            assert_eq!((errors.0.len(), errors.0[0].line), (1, Some(5)), "{errors}");
            let shown = errors.to_string();
            assert!(shown.contains(&format!("variable `coin` is {value:?}")) && shown.contains(fix), "{errors}");
        }
        let default = app(&text.replace("default = \"usd\"", "default = \"usx\"")).errors();
        assert!(default.to_string().contains("variable `coin` is \"usx\""), "{default}");
    }

    #[test]
    fn a_secret_that_is_not_listed_is_not_shown() {
        let errors = app(&manifest(true)).env("SPIN_VARIABLE_COIN", "usb").errors();
        assert!(errors.to_string().contains("variable `coin` has a value, which is not one of"), "{errors}");
        assert!(!errors.to_string().contains("usb"), "{errors}");
    }

    #[test]
    fn a_value_that_does_not_match_its_pattern_stops_the_start_and_is_named() {
        let text = manifest(false).replace("one_of = [\"usd\", \"eur\"]", "pattern = \"|[a-z]|[a-z]{3}\"");
        for good in ["", "x", "eur"] {
            let app = app(&text).env("SPIN_VARIABLE_COIN", good);
            assert_eq!(app.component("a").variables["coin"].expose(), good);
        }
        for bad in ["ab", "abcd", "EUR", "eur\n", " eur", "x|eur"] {
            let errors = app(&text).env("SPIN_VARIABLE_COIN", bad).errors();
            assert_eq!((errors.0.len(), errors.0[0].line), (1, Some(5)), "{errors}");
            let shown = errors.to_string();
            let message = format!("variable `coin` is {bad:?}, which does not match the pattern `|[a-z]|[a-z]{{3}}`");
            assert!(
                shown.contains(&message) && shown.contains("set SPIN_VARIABLE_COIN to a value that does"),
                "{shown}"
            );
        }
        let errors = app(&text.replace("secret = false", "secret = true")).env("SPIN_VARIABLE_COIN", "s3cret").errors();
        assert!(
            errors.to_string().contains("has a value, which does not match") && !errors.to_string().contains("s3cret")
        );
    }

    #[test]
    fn a_value_that_the_host_generates_must_match_too() {
        let text = manifest(false)
            .replace("one_of = [\"usd\", \"eur\"]", "generate = \"url\", pattern = \"https?://.*\"")
            .replace("default = \"usd\"", "required = true");
        assert_eq!(app(&text).component("a").variables["coin"].expose(), crate::tests::URL);
        let given = app(&text).env("SPIN_VARIABLE_COIN", "https://a");
        assert_eq!(given.component("a").variables["coin"].expose(), "https://a");
        assert!(app(&text).env("SPIN_VARIABLE_COIN", "a").errors().to_string().contains("does not match"));
        let tls = app(&text.replace("https?", "https")).errors();
        assert!(tls.to_string().contains(&format!("variable `coin` is {:?}", crate::tests::URL)), "{tls}");
    }
}
