//! `one_of` in `[application.tool.souk.variables]`: the values that a variable may have.
//!
//! A component reads its variables only when it is first called, so a wrong value would make every request fail after
//! the host has started. With this check the host does not start, and names the variable. Defaults are checked too. The
//! value of a secret variable is never shown.

use super::declared::{Declared, OneOf, PREFIX, Value, environment_name};
use super::names::nearest;
use super::table::{At, File, Table};
use std::collections::BTreeMap;

/// The most values that an error lists. If there are more, the error only refers to `one_of`.
const MAX_LISTED_VALUES: usize = 12;

/// Reads `one_of` of a variable's entry; `None` when it is absent or wrong.
pub(super) fn read(entry: &mut Table<'_, '_>, name: &At<&str>) -> Option<OneOf> {
    let (line, value) = entry.value("one_of")?;
    let none = value.get_ref().as_array().is_some_and(|values| values.is_empty());
    let values = entry.strings("one_of");
    if none {
        let message = format!("`one_of` of variable `{}` has no value", name.value);
        entry.error(line, message, "list the values that it may have: `one_of = [\"usd\", \"eur\"]`");
        return None;
    }
    Some(OneOf { line, values: values.into_iter().map(|value| value.value).collect() })
}

/// Reports variables whose value is not allowed.
pub(super) fn check(declared: &BTreeMap<String, Declared>, values: &BTreeMap<String, Value>, manifest: File<'_>) {
    for (name, variable) in declared {
        let (Some(OneOf { line, values: allowed }), Some(value)) = (&variable.one_of, values.get(name)) else {
            continue;
        };
        if allowed.iter().any(|allowed| allowed == value.expose()) {
            continue;
        }
        let (is, near) = match value.is_secret() {
            true => ("has a value".to_owned(), None),
            false => {
                let lower = value.expose().trim().to_lowercase();
                let near = allowed.iter().map(String::as_str).find(|allowed| allowed.to_lowercase() == lower);
                let near = near.or_else(|| nearest(value.expose(), allowed.iter().map(String::as_str)));
                (format!("is {:?}", value.expose()), near)
            }
        };
        let message = format!("variable `{name}` {is}, which is not one of the values that it may have");
        let key = environment_name(PREFIX, name);
        let fix = match (near, allowed.len()) {
            (Some(near), _) => format!("set {key} to a value of `one_of`; did you mean `{near}`?"),
            (None, ..=MAX_LISTED_VALUES) => format!("set {key} to `{}`", allowed.join("`, `")),
            (None, _) => format!("set {key} to a value of `one_of`"),
        };
        manifest.report.error(manifest.diagnostic(Some(*line), None, message, fix));
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
}
