//! Every key of Spin's manifest, and what Souk does with it: the table of `docs/spin-manifest.md`, with a manifest for
//! each row. `UPDATE_SNAPSHOTS=1 cargo test -p souk-manifest` writes the table again.

use super::*;
use std::path::PathBuf;

/// The result for a manifest with the key.
enum Outcome {
    Works,
    /// A warning with these words.
    Warns(&'static str),
    /// One error with these words.
    Refused(&'static str),
}
use Outcome::{Refused, Warns, Works};

/// A key, what is done with it, and a manifest that has it.
struct Row(&'static str, Outcome, &'static str, String);

fn in_component(key: &'static str, outcome: Outcome, what: &'static str, text: &str) -> Row {
    Row(key, outcome, what, with_component(text))
}

fn in_application(key: &'static str, outcome: Outcome, what: &'static str, text: &str) -> Row {
    let head = "spin_manifest_version = 2\n[application]\nname = \"t\"\n";
    let rest = "\n[[trigger.http]]\nroute = \"/...\"\ncomponent = { source = \"a.wasm\" }\n";
    Row(key, outcome, what, format!("{head}{text}{rest}"))
}

fn in_trigger(key: &'static str, outcome: Outcome, what: &'static str, text: &str) -> Row {
    let others = "[component.a]\nsource = \"a.wasm\"\n[component.m]\nsource = \"m.wasm\"\n[[trigger.http]]\nroute = \"/m\"\ncomponent = \"m\"\n";
    Row(key, outcome, what, format!("{HEAD}{others}[[trigger.http]]\n{text}\n"))
}

fn in_redis(key: &'static str, outcome: Outcome, what: &'static str, text: &str) -> Row {
    let default = "[application.trigger.redis]\naddress = \"redis://localhost\"\n";
    let head = format!("spin_manifest_version = 2\n[application]\nname = \"t\"\n{default}");
    Row(
        key,
        outcome,
        what,
        format!("{head}[component.a]\nsource = \"a.wasm\"\n[[trigger.redis]]\ncomponent = \"a\"\n{text}\n"),
    )
}

fn dependency(key: &'static str, outcome: Outcome, what: &'static str, value: &str) -> Row {
    let other = "[component.b]\nsource = \"b.wasm\"\n[component.a.dependencies]\n";
    in_component(key, outcome, what, &format!("{other}\"n:p/i@1.0.0\" = {value}"))
}

fn rows() -> Vec<Row> {
    let sha = format!("sha256:{}", "0".repeat(64));
    let mut rows = vec![
        Row("`spin_manifest_version`", Works, "2; version 1 is refused, `spin doctor` converts it", with_component("")),
        in_application(
            "`application.name`, `version`, `description`, `authors`",
            Works,
            "",
            "version = \"1.0.0\"\ndescription = \"d\"\nauthors = [\"a\"]",
        ),
        in_application(
            "`application.targets`",
            Warns("`targets` is for Spin's tools"),
            "not checked",
            "targets = [\"spin-up:3.3\"]",
        ),
        in_application(
            "`application.trigger.http.base`",
            Works,
            "the path that all routes begin with",
            "trigger.http.base = \"/shop\"",
        ),
        in_application(
            "`application.trigger.redis.address`",
            Works,
            "may be a template",
            "trigger.redis.address = \"redis://h\"",
        ),
        in_application(
            "`application.trigger.OTHER`",
            Refused("trigger `cron` is not supported"),
            "triggers of plugins",
            "trigger.cron.x = 1",
        ),
        in_application("`application.tool.NAME`", Works, "ignored, except `souk`", "tool.lint.x = 1"),
        in_application(
            "`variables.NAME`: `default`, `required`, `secret`, `description`",
            Works,
            "",
            "[variables]\nv = { default = \"\", secret = true, description = \"d\" }",
        ),
        in_trigger(
            "`trigger.http`: `route`, `id`",
            Works,
            "two routes for the same paths are refused; Spin uses one of them",
            "route = \"/users/:id/...\"\nid = \"x\"\ncomponent = \"a\"",
        ),
        in_trigger(
            "`trigger.http`: `route = { private = true }`",
            Works,
            "",
            "route = { private = true }\ncomponent = \"a\"",
        ),
        in_trigger(
            "`trigger.http`: `component`",
            Works,
            "a name, or the table of a component",
            "route = \"/\"\ncomponent = { source = \"x.wasm\" }",
        ),
        in_trigger(
            "`trigger.http`: `executor` of type `http`, `spin` or `wasip3-unstable`",
            Works,
            "the component says which handler it has",
            "route = \"/\"\ncomponent = \"a\"\nexecutor.type = \"wasip3-unstable\"",
        ),
        in_trigger(
            "`trigger.http`: `executor` of type `wagi`",
            Refused("`wagi` is not supported"),
            "Spin 4 drops it too",
            "route = \"/\"\ncomponent = \"a\"\nexecutor.type = \"wagi\"",
        ),
        in_trigger(
            "`trigger.http`: `static_response`",
            Works,
            "`status_code` (from 200 to 599), `headers`, `body`",
            "route = \"/\"\nstatic_response = { status_code = 302, headers = { location = \"/x\" }, body = \"moved\" }",
        ),
        in_trigger(
            "`trigger.http`: `dependencies.middleware`",
            Works,
            "each in a sandbox of its own, with its own grants and what it inherits",
            "route = \"/\"\ncomponent = \"a\"\ndependencies.middleware = [{ component = \"m\", inherit_configuration = [\"variables\"] }, { path = \"n.wasm\" }]",
        ),
        in_trigger(
            "`trigger.http`: `components`",
            Refused("reserved by Spin"),
            "Spin does not use it either",
            "route = \"/\"\ncomponent = \"a\"\ncomponents = {}",
        ),
        in_redis(
            "`trigger.redis`: `channel`, `address`, `id`, `component`",
            Works,
            "channel and address may be templates; messages that come while the connection is lost are lost, as in Spin",
            "channel = \"c\"\naddress = \"redis://h:6380\"\nid = \"x\"",
        ),
        in_redis(
            "`trigger.redis`: `dependencies`",
            Refused("`dependencies` of a Redis trigger"),
            "Spin does not use it either",
            "channel = \"c\"\ndependencies = {}",
        ),
        Row(
            "`trigger.OTHER`",
            Refused("trigger `timer` is not supported"),
            "triggers of plugins",
            with_component("[[trigger.timer]]\ncomponent = \"a\""),
        ),
        in_component("`component.NAME.description`", Works, "", "description = \"d\""),
        Row(
            "`component.NAME` that no trigger or link leads to",
            Warns("no trigger and no dependency"),
            "loaded only by `souk call`",
            with_component("[component.b]\nsource = \"b.wasm\""),
        ),
        in_component("`source`: a path", Works, "", ""),
        Row(
            "`source`: `url`, `digest`",
            Works,
            "https, or http to this machine; fetched by `souk build` and before `souk up` serves",
            with_component("")
                .replace("\"a.wasm\"", &format!("{{ url = \"https://example.com/a.wasm\", digest = \"{sha}\" }}")),
        ),
        Row(
            "`source`: `registry`, `package`, `version`",
            Works,
            "fetched like a `url`; an exact version, with the digest that it had first, or with `tool.souk.digest` \
             ([packages.md](packages.md#a-component-from-a-registry))",
            with_component("").replace("\"a.wasm\"", "{ registry = \"r.io\", package = \"n:p\", version = \"1.0.0\" }"),
        ),
        in_component(
            "`files`: patterns, and `source` with `destination`",
            Works,
            "a snapshot from the start; nothing outside the manifest's folder; a pattern that matches no file is refused",
            "files = [\"x/*\", { source = \"y\", destination = \"/\" }]",
        ),
        in_component("`exclude_files`", Works, "", "exclude_files = [\"**/secret\"]"),
        in_component(
            "`allowed_outbound_hosts`",
            Works,
            "templates, `*`, subdomains, networks, port ranges, `NAME.spin.internal`; an entry whose template is empty \
             grants nothing",
            "allowed_outbound_hosts = [\"https://*.example.com:8000..8010\", \"*://10.0.0.0/8:*\", \"http://a.spin.internal\"]",
        ),
        in_component(
            "`allowed_outbound_hosts`: `http://self`, `http://self.alt`",
            Works,
            "requests to the public routes, inside the process",
            "allowed_outbound_hosts = [\"http://self\", \"https://self.alt\"]",
        ),
        in_component(
            "`allowed_outbound_hosts`: `insecure:allow-all`",
            Refused("`insecure:allow-all` is no longer supported"),
            "as in Spin",
            "allowed_outbound_hosts = [\"insecure:allow-all\"]",
        ),
        in_component(
            "`allowed_http_hosts`",
            Warns("`allowed_http_hosts` is an old key"),
            "each host by http and https, as in Spin",
            "allowed_http_hosts = [\"example.com\", \"self\", \"insecure:allow-all\"]",
        ),
        in_component("`key_value_stores`", Works, "", "key_value_stores = [\"default\"]"),
        in_component("`sqlite_databases`", Works, "", "sqlite_databases = [\"default\"]"),
        in_component(
            "`ai_models`",
            Warns("Souk runs no AI models"),
            "a call to a model traps",
            "ai_models = [\"llama2-chat\"]",
        ),
        in_component(
            "`blob_containers`",
            Warns("Souk has no blob storage"),
            "not in a release of Spin",
            "blob_containers = [\"default\"]",
        ),
        in_component("`environment`", Works, "", "environment = { A = \"1\" }"),
        in_component("`variables`", Works, "", "variables = { v = \"{{ v }}\" }\n[variables]\nv = { default = \"\" }"),
        in_component("`targets`", Warns("`targets` is for Spin's tools"), "not checked", "targets = [\"spin-up:3.3\"]"),
        in_component(
            "`build`: `command` (a string or a list), `workdir`, `watch`",
            Works,
            "",
            "build = { command = [\"make\"], workdir = \"x\", watch = [\"*.rs\"] }",
        ),
        in_component("`tool.NAME`", Works, "ignored, except `souk`", "tool.clean.command = \"x\""),
        in_component(
            "`profile.NAME`: `source`, `environment`, `dependencies`, `build.command`",
            Works,
            "as in Spin without `--profile`, which Souk does not have: checked, but not used",
            "profile.debug = { source = \"d.wasm\", environment = { A = \"1\" }, build.command = \"make\" }",
        ),
        dependency(
            "`dependencies`: `component`, `export`",
            Works,
            "a sandbox of its own with its own grants; Spin composes the two",
            "{ component = \"b\", export = \"n:p/j@1.0.0\" }",
        ),
        dependency(
            "`dependencies`: `path`, `export`",
            Works,
            "Souk creates a component for it, with a sandbox of its own",
            "{ path = \"c.wasm\", export = \"n:p/j@1.0.0\" }",
        ),
    ];
    rows.extend([
        dependency(
            "`dependencies`: `url`, `digest`, `export`",
            Works,
            "the same, fetched like a `source`",
            &format!("{{ url = \"https://example.com/c.wasm\", digest = \"{sha}\" }}"),
        ),
        dependency(
            "`dependencies`: `registry`, `package`, `version`, `export`",
            Works,
            "the same; a range of versions is refused",
            "{ registry = \"r.io\", package = \"n:q\", version = \"1.0.0\", export = \"n:q/i\" }",
        ),
        dependency(
            "`dependencies`: only a version",
            Refused("names a version, but no registry"),
            "there is no default registry",
            "\">=1.0.0\"",
        ),
        in_component(
            "`dependencies`: a plain name, such as `greet`",
            Refused("`greet` is not an interface of a package"),
            "a link is by an interface",
            "[component.b]\nsource = \"b.wasm\"\n[component.a.dependencies]\ngreet = { component = \"b\" }",
        ),
        dependency(
            "`dependencies`: `inherit_configuration`",
            Works,
            "`true`, `false` or a list of keys: a copy of the component with its own grants and those",
            "{ component = \"b\", inherit_configuration = [\"ai_models\", \"allowed_outbound_hosts\"] }",
        ),
        dependency(
            "`dependencies`: `environment`",
            Works,
            "not in a release of Spin",
            "{ component = \"b\", environment = { A = \"1\" } }",
        ),
        in_component(
            "`dependencies_inherit_configuration`",
            Works,
            "as `inherit_configuration = true` for each dependency without that key",
            "dependencies_inherit_configuration = true",
        ),
    ]);
    rows
}

#[test]
fn each_key_of_spins_manifest_is_read_as_the_table_says() {
    let mut table = String::from("| key | here | |\n|---|---|---|\n");
    let mut wrong = String::new();
    for Row(key, outcome, what, text) in rows() {
        let (here, good) = match (&outcome, load(&app(&text).options)) {
            (Works, Ok(loaded)) => ("works", loaded.warnings.iter().all(|warning| is_about_use(&warning.message))),
            (Warns(words), Ok(loaded)) => ("a warning", loaded.warnings.iter().any(|w| w.message.contains(words))),
            (Refused(words), Err(errors)) => ("refused", errors.0.len() == 1 && errors.0[0].message.contains(words)),
            (_, Ok(_)) => ("", false),
            (_, Err(errors)) => {
                wrong += &format!("{key}: {errors}\n");
                continue;
            }
        };
        if !good {
            wrong += &format!("{key}: not {here} with {text}\n");
        }
        table += &format!("| {key} | {here} | {what} |\n");
    }
    assert!(wrong.is_empty(), "{wrong}");

    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/spin-manifest.md");
    let page = fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once("<!-- keys -->\n").expect("a mark before the table");
    let (old, tail) = rest.split_once("<!-- end -->\n").expect("a mark after the table");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, format!("{head}<!-- keys -->\n{table}<!-- end -->\n{tail}")).unwrap();
    } else {
        assert_eq!(old, table, "UPDATE_SNAPSHOTS=1 cargo test -p souk-manifest writes the table");
    }
}

/// Whether a warning is about unused parts, which these small applications have and which no row is about.
fn is_about_use(message: &str) -> bool {
    ["no trigger and no dependency", "no route is public"].iter().any(|words| message.contains(words))
}
