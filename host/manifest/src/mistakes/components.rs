//! Mistakes in components.

use super::*;

/// A durable dependency with `more`.
fn durable(more: &str, message: &'static str, fix: &'static str) -> Mistake {
    let entry = format!("tool.souk.durable = [{{ interface = \"n:p/i\", {more} }}]\n");
    in_component(&(entry + &dependency("{ component = \"b\" }")), 8, message, fix)
}

/// A schedule with the keys `keys`, the first of which is in line 9.
fn schedule(keys: &str, line: usize, message: &'static str, fix: &'static str) -> Mistake {
    in_component(&format!("[[component.a.tool.souk.schedule]]\n{keys}"), line, message, fix)
}

pub(super) fn mistakes() -> Vec<Mistake> {
    vec![
        in_component("sqlite_database = [\"orders\"]", 8, "unknown key `sqlite_database`", "`sqlite_databases`"),
        in_component("sqlite_databases = \"orders\"", 8, "must be a list of strings", "[\"...\"]"),
        in_component("sqlite_databases = [\"../x\"]", 8, "cannot be a label", "my-data"),
        in_component("key_value_stores = [\"a\", 3]", 8, "list of strings", "list of strings"),
        in_component("environment = { PORT = 80 }", 8, "`PORT` must be a string", "quotes"),
        in_component("environment = { \"A=B\" = \"\" }", 8, "environment variable", "leave out"),
        in_component("allowed_http_hosts = [\"a.test/x\"]", 8, "`allowed_http_hosts`: it has a path", "https://HOST"),
        in_component("ai_models = \"llama\"", 8, "`ai_models` must be a list of strings", "[\"...\"]"),
        in_component("profile.debug.sources = \"x\"", 8, "unknown key `sources`", "`source`"),
        in_component("profile.debug.build.command = 3", 8, "`command` must be a string or a list", "write"),
        in_component(
            "profile.debug.source = { package = \"n:p\", version = \"1.0.0\" }",
            8,
            "has no `registry`",
            "HOST",
        ),
        in_component("dependencies_inherit_configuration = \"all\"", 8, "must be `true` or `false`", "write"),
        in_component(
            "allowed_outbound_hosts = [\"example.com\"]",
            8,
            "`example.com` in `allowed_outbound_hosts`: the scheme is missing",
            "https://HOST",
        ),
        in_component("allowed_outbound_hosts = [\"\"]", 8, "the scheme is missing", "https://HOST"),
        in_component(
            "allowed_outbound_hosts = [\n\"https://a.test\",\n\"https://a.test/x\"]",
            10,
            "has a path",
            "host only",
        ),
        in_component(
            "allowed_outbound_hosts = [\"https://{{ h }}\"]\n[variables]\nh = { default = \"\" }",
            8,
            "`https://{{ h }}`",
            "value of `h`",
        ),
        in_component(
            "allowed_outbound_hosts = [\"http://b.spin.internal\"]",
            8,
            "no such component",
            "component of this application",
        ),
        in_component("files = [\"../x/*\"]", 8, "leaves the folder", "copy the files"),
        in_component("files = [\"a[\"]", 8, "is not a pattern", "assets/**"),
        in_component(
            "files = [{ source = \"x\", destination = \"/y/../../z\" }]",
            8,
            "has `..` in it",
            "path in the component",
        ),
        in_component("files = [{ source = \"x\" }]", 8, "has no `destination`", "destination ="),
        in_component("files = [7]", 8, "of type integer", "pattern"),
        in_component("build.workdir = \"x\"", 8, "has no `command`", "command ="),
        in_component("build.command = []", 8, "empty list", "command ="),
        in_component("build = { command = \"make\", watchs = [\"x\"] }", 8, "unknown key `watchs`", "`watch`"),
        in_component("tool.souk.migrations = \"none\"", 8, "`none` does not exist", "create the folder"),
        in_component("tool.souk.migrations = \"spin.toml\"", 8, "is a file", "name the folder"),
        in_component(
            "tool.souk = { migrations = \".\", retired = [\"2\"] }",
            8,
            "`2` in `retired` is not the number of a migration",
            "four digits",
        ),
        in_component("tool.souk.retired = [\"0002\"]", 8, "`retired` is about migrations", "add `migrations`"),
        in_component("tool.souk.additive = [\"0002\"]", 8, "`additive` is about migrations", "add `migrations`"),
        in_component("tool.souk = { migrations = \".\", seed = { } }", 8, "has no `folder`", "folder ="),
        in_component("tool.souk.seed = { folder = \".\" }", 8, "a seed needs tables", "add `migrations`"),
        in_component(
            "tool.souk = { migrations = \".\", seed = { folder = \"none\" } }",
            8,
            "the folder of the seed `none` does not exist",
            "create the folder",
        ),
        in_component(
            "tool.souk.durable = [\"n:p/i\"]",
            8,
            "`n:p/i` in `durable` is not a dependency",
            "add `\"n:p/i\" = { component = \"NAME\" }`",
        ),
        in_component("tool.souk.durable = [\"in\"]", 8, "it names no package", "namespace:package"),
        in_component(
            "tool.souk.remote = [\"n:p/i\"]",
            8,
            "`n:p/i` in `remote` is not a dependency",
            "add `\"n:p/i\" = { component = \"NAME\" }`",
        ),
        in_component(
            &format!(
                "tool.souk = {{ durable = [\"n:p/i\"], remote = [\"n:p\"] }}\n{}",
                dependency("{ component = \"b\" }")
            ),
            8,
            "`n:p` is in `remote` and, as `n:p/i`, in `durable`",
            "remove it from one",
        ),
        in_component(
            "tool.souk.durable = [7]",
            8,
            "`durable` must be a list of strings or tables",
            "write a list of strings or tables",
        ),
        durable("after = \"30m\", deliver_at = \"when\"", "has both `after` and `deliver_at`", "keep one"),
        durable("after = \"10ms\"", "`after` is not between 1s and 366days", "after = \"30m\""),
        durable("before = \"1s\"", "unknown key `before`", "known here: after, deliver_at, interface"),
        schedule("name = \"x\"\nevery = \"1s\"", 8, "has no `call`", "#function"),
        schedule("name = \"x\"\ncall = \"n:p#f\"\nevery = \"1s\"", 10, "it names no interface", "#function"),
        schedule("name = \"x\"\ncall = \"n:p/i\"\nevery = \"1s\"", 10, "it names no function", "#function"),
        schedule("name = \"a_b\"\ncall = \"n:p/i#f\"\nevery = \"1s\"", 9, "cannot be a schedule's name", "kebab-case"),
        schedule("name = \"x\"\ncall = \"n:p/i#f\"", 8, "has neither `cron` nor `every`", "cron = "),
        schedule("name = \"x\"\ncall = \"n:p/i#f\"\nevery = \"1s\"\ncron = \"* * * * *\"", 11, "has both", "keep one"),
        schedule("name = \"x\"\ncall = \"n:p/i#f\"\ncron = \"daily\"", 11, "`daily` is not a cron pattern", "UTC"),
        schedule("name = \"x\"\ncall = \"n:p/i#f\"\nevery = \"1.5\"", 11, "not a duration", "every = \"30m\""),
        schedule(
            "name = \"x\"\ncall = \"n:p/i#f\"\nevery = \"1s\"\nmissed = \"once\"",
            12,
            "`missed` must be \"skip\", \"last\" or \"all\"",
            "missed = \"last\"",
        ),
        in_component("tool.souk.idempotent = [\"n:p\"]", 8, "`n:p` in `idempotent` is neither", "#function"),
        in_component("tool.souk.idempotent = [\"n:p/i#\"]", 8, "names no function after its `#`", "#function"),
        in_component("tool.souk.idempotent = [\"in#f\"]", 8, "it names no package", "#function"),
    ]
}
