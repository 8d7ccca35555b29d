//! `[application.tool.souk.variables]`: values that the host generates for application variables that are not set.
//!
//! `generate = "secret"` is a random text, generated at the first start and kept in the state folder. `generate =
//! "url"` is the URL at which the application itself is served. With `unless = "OTHER"` the host generates the value
//! only while the variable OTHER is empty: if OTHER is set, the operator must set this one too.
//!
//! `one_of` and `pattern` say which values a variable may have: see [`super::allowed`].
//!
//! An empty value counts as not set, for the variable itself and for `unless`: a line `SPIN_VARIABLE_NAME=` that was
//! left in a `.env` file must not become an empty signing key.
//!
//! When several hosts share an application (each runs a part of it with `--only`, or they meet on NATS), no secret is
//! generated: each host would generate a different one. Each host still has its own URL.
//!
//! Nothing is generated if there is any other mistake, nor by `souk build`, which needs no values.

use super::allowed;
use super::declared::{Allowed, Declared, Generated, Kind, PREFIX, Value, check_named, environment_name, is_set};
use super::names::nearest;
use super::table::{At, File, Table};
use crate::secrets::Secrets;
use std::collections::BTreeMap;

/// The place of a value that is the URL at which the application is served, for an operator.
pub const OWN_URL: &str = "the host: its own URL";

/// The values that the host can generate.
pub struct HostValues {
    /// The URL at which the application is served, without a `/` at its end.
    pub url: String,
    /// Where secrets are kept.
    pub secrets: Secrets,
}

impl HostValues {
    /// Where the host has the value of the variable `name`, for an operator.
    pub(super) fn place(&self, name: &str, generated: &Generated) -> String {
        match generated.kind {
            Kind::Url => OWN_URL.to_owned(),
            Kind::Secret => format!("the host: {}", self.secrets.path(name).display()),
        }
    }
}

/// Reads the table into the variables that it names.
pub(super) fn read(table: &Table<'_, '_>, declared: &mut BTreeMap<String, Declared>) {
    const FIX: &str = "write `generate = \"secret\"` or `generate = \"url\"`";
    let mut read = Vec::new();
    for (name, value) in table.entries() {
        let Some(mut entry) = table.entry(&name, value) else { continue };
        let listed = entry.value("one_of").is_some();
        let limited = listed || entry.value("pattern").is_some();
        let allowed = allowed::read(&mut entry, &name);
        let generate = match limited {
            true => entry.string("generate"),
            false => entry.required_string("generate", FIX),
        };
        let unless = entry.string("unless").filter(|unless| check_named(&entry, "unless", unless, declared));
        entry.finish();
        if listed && let Some(generate) = &generate {
            let message = format!("variable `{}` is generated, so it has no `one_of`", name.value);
            table.error(generate.line, message, "keep one of the two");
            continue;
        }
        if limited && (generate.is_none() || declared.contains_key(name.value)) {
            limit(table, &name, allowed, declared);
        }
        if limited && generate.is_none() {
            continue;
        }
        let kind = match generate.as_ref().map(|generate| generate.value.as_str()) {
            Some("secret") => Some(Kind::Secret),
            Some("url") => Some(Kind::Url),
            Some(other) => {
                let line = generate.as_ref().map_or(name.line, |generate| generate.line);
                table.error(line, format!("`generate = \"{other}\"` is unknown"), FIX);
                None
            }
            None => None,
        };
        let Some(variable) = declared.get(name.value) else {
            let message = format!("variable `{}` is generated, but not declared", name.value);
            let fix = match nearest(name.value, declared.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("declare it: `{} = {{ required = true }}` under [variables]", name.value),
            };
            table.error(name.line, message, fix);
            continue;
        };
        if variable.default.is_some() {
            let message = format!("variable `{}` has a default, so it would never be generated", name.value);
            let fix = "write `required = true` instead of its `default`, or remove this line";
            table.error(name.line, message, fix);
        } else if kind == Some(Kind::Secret) && !variable.secret {
            let message = format!("variable `{}` is generated as a secret, but not declared as one", name.value);
            let fix = format!("add `secret = true` to `{}` under [variables]", name.value);
            table.error(name.line, message, fix);
        } else if let Some(kind) = kind {
            read.push((name.value, Generated { line: name.line, kind, unless }));
        }
    }
    for (name, generated) in &read {
        let Some(unless) = &generated.unless else { continue };
        if read.iter().any(|(other, _)| *other == unless.value) {
            let message = format!("`unless` of `{name}` names `{}`, which is generated itself", unless.value);
            table.error(unless.line, message, "name a variable that is set or empty, as the operator decides");
        }
    }
    for (name, generated) in read {
        if let Some(variable) = declared.get_mut(name) {
            variable.generated = Some(generated);
        }
    }
}

/// Records which values a variable may have.
fn limit(table: &Table<'_, '_>, name: &At<&str>, allowed: Option<Allowed>, declared: &mut BTreeMap<String, Declared>) {
    let variable = At { value: name.value.to_owned(), line: name.line };
    if check_named(table, "variables", &variable, declared)
        && let Some(known) = declared.get_mut(name.value)
    {
        known.allowed = allowed;
    }
}

/// Generates the values of the `missing` variables; `values` has those of all others. When the application is `shared`
/// with other hosts, no secret is generated: each host would generate its own.
pub(super) fn make(
    missing: Vec<(&String, &Declared, &Generated)>,
    host: &HostValues,
    shared: bool,
    values: &mut BTreeMap<String, Value>,
    manifest: File<'_>,
) {
    let mut wanted = Vec::new();
    for (name, variable, generated) in missing {
        match generated.unless.as_ref().filter(|unless| is_set(values, &unless.value)) {
            None => wanted.push((name, variable, generated)),
            Some(At { value: other, .. }) => {
                let message = format!("variable `{name}` is required because `{other}` is set, and has no value");
                let key = environment_name(PREFIX, name);
                let fix = format!("set {key} in the environment or in `.env`, or leave `{other}` empty");
                manifest.report.error(manifest.diagnostic(Some(variable.line), None, message, fix));
            }
        }
    }
    for (name, variable, generated) in wanted {
        // With shared hosts, all missing secrets are reported together.
        if manifest.report.has_errors() && !shared {
            return;
        }
        let value = match generated.kind {
            Kind::Url => host.url.clone(),
            Kind::Secret if shared => {
                let message = format!(
                    "variable `{name}` has no value, and it is not generated where several hosts run the application: \
                     each would generate its own"
                );
                let key = environment_name(PREFIX, name);
                let fix = format!("set {key} to the same value at every host, in the environment or in `.env`");
                manifest.report.error(manifest.diagnostic(Some(generated.line), None, message, fix));
                continue;
            }
            Kind::Secret => match host.secrets.get(name) {
                Ok(secret) => secret,
                Err(error) => {
                    let diagnostic = manifest.diagnostic(Some(generated.line), None, error.to_string(), error.fix());
                    manifest.report.error(diagnostic);
                    continue;
                }
            },
        };
        values.insert(name.clone(), Value::new(value, variable.secret));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{App, URL, app, with_component};
    use crate::{load_build_only, read};
    use std::fs;

    /// A manifest whose component reads a secret that the host generates unless `bank` is set.
    fn with_secret() -> String {
        "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.tool.souk.variables]\n\
         key = { generate = \"secret\", unless = \"bank\" }\n[variables]\nbank.default = \"\"\n\
         key = { required = true, secret = true }\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n\
         [component.a]\nsource = \"a.wasm\"\nvariables = { key = \"{{ key }}\" }\n"
            .to_owned()
    }

    #[test]
    fn the_host_gives_what_no_source_gives() {
        let key = |app: &App| app.component("a").variables["key"].expose().to_owned();
        let secret = with_secret();
        assert_eq!(key(&app(&secret).env("SPIN_VARIABLE_KEY", "given")), "given");
        assert_eq!(key(&app(&secret).env("SPIN_VARIABLE_KEY", "given").env("SPIN_VARIABLE_BANK", "b")), "given");
        assert_eq!(key(&app(&secret).file(".env", "SPIN_VARIABLE_KEY=dotenv")), "dotenv");
        for app in [app(&secret), app(&secret).env("SPIN_VARIABLE_KEY", "").env("SPIN_VARIABLE_BANK", "")] {
            assert_eq!(key(&app).len(), 64);
        }
        for given in ["SPIN_VARIABLE_KEY", "OTHER"] {
            let errors = app(&secret).env("SPIN_VARIABLE_BANK", "s3cret").env(given, "").errors();
            assert_eq!(errors.0.len(), 1, "{errors}");
            assert!(errors.to_string().contains("`key` is required because `bank` is set"), "{errors}");
            assert!(!errors.to_string().contains("s3cret"), "{errors}");
        }
    }

    #[test]
    fn a_secret_is_kept_only_when_nothing_is_wrong_and_a_bad_file_is_named() {
        let kept = |app: &App| {
            let secrets = Secrets::kept(app.dir.path().to_owned());
            read(&app.options).and_then(|manifest| manifest.fill_in(&HostValues { url: URL.to_owned(), secrets }))
        };
        let wrong = app(&with_secret().replace("[variables]\n", "[variables]\nother.required = true\n"));
        assert!(kept(&wrong).is_err() && !wrong.dir.path().join("key").exists());
        load_build_only(&wrong.options.manifest).unwrap();
        assert!(!wrong.dir.path().join("key").exists());

        let right = app(&with_secret());
        let value = kept(&right).unwrap().application.components["a"].variables["key"].clone();
        assert_eq!(fs::read_to_string(right.dir.path().join("key")).unwrap(), value.expose());
        assert!(!format!("{:?}", kept(&right).unwrap()).contains(value.expose()));

        let empty = right.file("key", "");
        let errors = kept(&empty).unwrap_err();
        assert_eq!((errors.0.len(), errors.0[0].line), (1, Some(5)), "{errors}");
        assert!(errors.to_string().contains("/key is empty\n  fix: put the value back"), "{errors}");
    }

    #[test]
    fn a_secret_that_hosts_share_is_not_generated_and_a_host_that_does_not_use_it_needs_none() {
        let only = |name: &str| {
            let mut app = app(&format!("{}[component.b]\nsource = \"b.wasm\"\n", with_secret()));
            app.options.only = vec![name.to_owned()];
            app
        };
        let errors = only("a").errors();
        assert_eq!((errors.0.len(), errors.0[0].line), (1, Some(5)), "{errors}");
        assert!(errors.to_string().contains("fix: set SPIN_VARIABLE_KEY to the same value at every host"), "{errors}");
        let given = only("a").env("SPIN_VARIABLE_KEY", "given");
        assert_eq!(given.component("a").variables["key"].expose(), "given");
        // Hosts that meet on NATS share it too, however NATS is configured.
        let mut named = app(&with_secret());
        named.options.nats = vec!["nats://127.0.0.1:1".parse().unwrap()];
        let config = "[nats]\nservers = [\"nats://127.0.0.1:1\"]\n";
        for met in [named, app(&with_secret()).file("runtime-config.toml", config)] {
            let errors = met.errors();
            assert_eq!((errors.0.len(), errors.0[0].line), (1, Some(5)), "{errors}");
            assert!(errors.to_string().contains("fix: set SPIN_VARIABLE_KEY to the same value"), "{errors}");
            let given = met.env("SPIN_VARIABLE_KEY", "given");
            assert_eq!(given.component("a").variables["key"].expose(), "given");
        }
        assert!(only("b").component("a").variables.is_empty());
        let required = with_secret().replace("[application.tool.souk.variables]\nkey", "[application.tool.none]\nkey");
        let mut without = app(&format!("{required}[component.b]\nsource = \"b.wasm\"\n"));
        without.options.only = vec!["b".to_owned()];
        without.load();
    }

    #[test]
    fn a_component_is_off_when_its_variable_is_set() {
        // Only `stand-in` leads to `helper`, and `a` may call `stand-in`: neither gives a warning when `stand-in` is
        // off.
        let text = with_component(
            "allowed_outbound_hosts = [\"http://stand-in.spin.internal\"]\n[variables]\nbank.default = \"\"\n\
            [[trigger.http]]\nroute = \"/stand-in/...\"\ncomponent = \"stand-in\"\n\
            [component.stand-in]\nsource = \"s.wasm\"\nsqlite_databases = [\"play\"]\n\
            allowed_outbound_hosts = [\"http://{{ bank }}/not/a/host\"]\n\
            [component.stand-in.dependencies]\n\"n:p/i\" = { component = \"helper\" }\n\
            [component.stand-in.tool.souk]\nunless = \"bank\"\n[component.helper]\nsource = \"h.wasm\"\n",
        );
        let text = |bank: &str| text.replace("/not/a/host", if bank.is_empty() { "bank.test" } else { "/not/a/host" });
        let config = "[sqlite_database.play]\ntype = \"spin\"\npath = \"play.db\"\n";
        let loaded =
            |bank: &str| app(&text(bank)).file("runtime-config.toml", config).env("SPIN_VARIABLE_BANK", bank).load();

        let on = loaded("").application;
        let conditional = BTreeMap::from([("stand-in".to_owned(), "bank".to_owned())]);
        assert_eq!(on.conditional, conditional);
        assert!(on.components.contains_key("stand-in") && on.routes.len() == 2 && on.off.is_empty());
        let off = loaded("b");
        assert!(off.warnings.is_empty(), "{:#?}", off.warnings);
        let off = off.application;
        assert_eq!(off.components.keys().collect::<Vec<_>>(), ["a", "helper"]);
        assert_eq!((&off.off, &off.conditional), (&conditional, &conditional));
        assert_eq!(*off.router().route("/stand-in/x").unwrap().target, "a");
    }
}
