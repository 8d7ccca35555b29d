//! Reference of every key that Souk adds to Spin's manifest, and every key of `runtime-config.toml`.
//!
//! `docs/reference.md` is generated from this table. The code that reads manifests ([`crate`]) does not use it; a test
//! checks that both have the same keys.

mod runtime_config;

pub use runtime_config::RUNTIME_CONFIG;

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The table that it belongs to.
    pub table: &'static str,
    /// The key.
    pub key: &'static str,
    /// The type of its value, with the unit.
    pub value: &'static str,
    /// What applies if it is absent.
    pub default: &'static str,
    /// An example line.
    pub example: &'static str,
    /// What it does.
    pub about: &'static str,
}

const fn key(
    table: &'static str,
    key: &'static str,
    value: &'static str,
    default: &'static str,
    example: &'static str,
    about: &'static str,
) -> Key {
    Key { table, key, value, default, example, about }
}

const APPLICATION: &str = "application.tool.souk";
const COMPONENT: &str = "component.NAME.tool.souk";
const DURABLE: &str = "component.NAME.tool.souk.durable";
const SCHEDULE: &str = "component.NAME.tool.souk.schedule";
const NEST: &str = "component.NAME.tool.souk.nest";
const SEED: &str = "component.NAME.tool.souk.seed";
const VARIABLES: &str = "application.tool.souk.variables";
const WARNINGS: &str = "application.tool.souk.warnings";
const STATIC: &str = "application.tool.souk.static";
const TEST: &str = "application.tool.souk.test";
const INTERFACES: &str = "a list of interfaces";

/// The keys of `spin.toml` that Spin does not have.
pub const MANIFEST: &[Key] = &[
    key(
        APPLICATION,
        "limits",
        "a table",
        "every limit's default",
        "[application.tool.souk.limits]",
        "Limits of the HTTP edge and of the process; see Limits.",
    ),
    key(
        APPLICATION,
        "openapi",
        "a path of the application",
        "the console shows no HTTP operations",
        "openapi = \"/api/openapi.json\"",
        "Where the application serves its OpenAPI document in JSON, for the explorer of the console.",
    ),
    key(
        APPLICATION,
        "reserved_routes",
        "a list of routes",
        "none",
        "reserved_routes = [\"/payments/webhook\"]",
        "Routes for which a part of the host's capacity is reserved: under load, requests to other routes are refused first.",
    ),
    key(
        APPLICATION,
        "static",
        "tables",
        "none",
        "[[application.tool.souk.static]]",
        "Folders whose files the host serves.",
    ),
    key(
        APPLICATION,
        "test",
        "a table",
        "`souk test` refuses",
        "[application.tool.souk.test]",
        "How the application is tested.",
    ),
    key(
        APPLICATION,
        "trusted_proxies",
        "a list of addresses and networks",
        "none",
        "trusted_proxies = [\"10.0.0.7\"]",
        "Proxies whose forwarded client address is trusted.",
    ),
    key(
        APPLICATION,
        "variables",
        "a table",
        "no value is generated",
        "[application.tool.souk.variables]",
        "Values that the host generates for variables that are not set, one entry for each variable.",
    ),
    key(
        APPLICATION,
        "warnings",
        "a table",
        "no warning",
        "[application.tool.souk.warnings]",
        "Warnings at the start while a variable has a certain value, one entry for each variable.",
    ),
    key(
        STATIC,
        "route",
        "a path that ends with `/...`",
        "required in its table",
        "route = \"/assets/...\"",
        "The route under which the files are served.",
    ),
    key(
        STATIC,
        "folder",
        "a folder beside the manifest",
        "required in its table",
        "folder = \"public\"",
        "The folder of the files. Names that begin with a dot, and links that lead out of the folder, are not served. \
         Clients that accept a precompressed file (`app.js.br`, `.gz`, `.zst`) get it, unless it is older than `app.js`.",
    ),
    key(
        STATIC,
        "fallback",
        "a file in the folder",
        "none",
        "fallback = \"index.html\"",
        "The file for paths that have no extension and name no file.",
    ),
    key(
        TEST,
        "command",
        "a shell command",
        "required in its table",
        "command = \"cargo test\"",
        "`souk test` builds and starts the application and runs it, with SOUK_URL set.",
    ),
    key(
        VARIABLES,
        "generate",
        "`secret` or `url`",
        "required in its entry, unless it has `one_of` or `pattern`",
        "jwt_secret = { generate = \"secret\" }",
        "`secret`: 256 random bits in hexadecimal, kept in the state folder. `url`: the URL of the application.",
    ),
    key(
        VARIABLES,
        "one_of",
        "a list of texts",
        "any value",
        "currency = { one_of = [\"usd\", \"eur\"] }",
        "The values that the variable may have; with any other value the application does not start.",
    ),
    key(
        VARIABLES,
        "pattern",
        "a regular expression",
        "any value",
        "max_orders = { pattern = \"[1-9][0-9]{0,3}\" }",
        "As `one_of`, for values that the expression matches from beginning to end.",
    ),
    key(
        VARIABLES,
        "unless",
        "a variable's name",
        "always",
        "webhook_secret = { generate = \"secret\", unless = \"api_key\" }",
        "While that variable is set, no value is generated, and this one must be set too.",
    ),
    key(
        WARNINGS,
        "message",
        "a text",
        "required in its entry",
        "open_access = { value = \"true\", message = \"access is open\" }",
        "The text of the warning.",
    ),
    key(
        WARNINGS,
        "value",
        "a text",
        "required in its entry",
        "open_access = { value = \"true\", message = \"access is open\" }",
        "The variable's value that triggers the warning.",
    ),
    key(
        COMPONENT,
        "additive",
        "a list of numbers, as text",
        "none",
        "additive = [\"0007\"]",
        "Migrations that older releases can work with. An older release starts on a database that has them, with a warning, and a new version that adds them can be tried beside the old one.",
    ),
    key(
        COMPONENT,
        "build_if_changed",
        "a boolean",
        "`false`",
        "build_if_changed = true",
        "`souk build` leaves the component alone while its file is newer than the files in `watch` of its `build` table; for build tools that do not look themselves.",
    ),
    key(
        COMPONENT,
        "database_url",
        "a template of a URL",
        "its SQLite databases",
        "database_url = \"{{ orders_database_url }}\"",
        "The database that its migrations are for, which is a grant too: `sqlite:LABEL` or `postgres://USER:PASSWORD@HOST/DATABASE`.",
    ),
    key(
        COMPONENT,
        "digest",
        "`sha256:` and 64 hexadecimal digits",
        "the digest that is found first",
        "digest = \"sha256:d62b...\"",
        "The digest that a component from a registry must have; `souk build` prints it.",
    ),
    key(
        COMPONENT,
        "durable",
        "a list of dependencies, each a name or a table",
        "none",
        "durable = [\"acme:clicks/inbox@0.1.0\"]",
        "Dependencies whose calls are stored first, and delivered again until the target accepts or rejects them, by default for about a day.",
    ),
    key(
        COMPONENT,
        "exports",
        INTERFACES,
        "what other components depend on",
        "exports = [\"acme:links/store@0.1.0\"]",
        "What it exports, for `souk build` and `souk wit`, which write the file that its bindings are generated from.",
    ),
    key(
        COMPONENT,
        "imports",
        INTERFACES,
        "what it depends on",
        "imports = [\"fermyon:spin/sqlite@2.0.0\"]",
        "Interfaces of the host that `souk build` and `souk wit` write into that file too, for languages whose tools have no SDK of Spin's; their packages are in `wit/`. An interface in this list grants nothing.",
    ),
    key(
        COMPONENT,
        "idempotent",
        "a list of interfaces or functions",
        "none",
        "idempotent = [\"acme:links/store@0.1.0#get\"]",
        "Functions for which a call may be repeated: with several hosts, a call is sent again when a host dies.",
    ),
    key(
        COMPONENT,
        "limits",
        "a table",
        "every limit's default",
        "[component.web.tool.souk.limits]",
        "Its limits; see Limits.",
    ),
    key(
        COMPONENT,
        "migrations",
        "a folder, from the manifest",
        "none",
        "migrations = \"store/migrations\"",
        "Its migrations, `sqlite/0001_NAME.sql` or `postgres/0001_NAME.sql`. They run before the first request, each once, in a transaction.",
    ),
    key(
        COMPONENT,
        "nest",
        "a table",
        "none",
        "[component.orders.tool.souk.nest.serves]",
        "Patterns of a NestJS system; see docs/replace-a-nestjs-service.md.",
    ),
    key(
        COMPONENT,
        "record",
        "a boolean",
        "`false`",
        "record = true",
        "Calls into it are recorded for a day, so that `souk replay` can run them again; see docs/observe.md.",
    ),
    key(
        COMPONENT,
        "remote",
        "a list of dependencies",
        "on this host if the target runs here",
        "remote = [\"acme:links/store@0.1.0\"]",
        "Dependencies that are called over NATS even if their target runs on this host.",
    ),
    key(
        COMPONENT,
        "readiness",
        "`ignore`",
        "the host is ready only when the component is",
        "readiness = \"ignore\"",
        "The host may be ready while this component cannot serve.",
    ),
    key(
        COMPONENT,
        "retired",
        "a list of numbers, as text",
        "none",
        "retired = [\"0002\"]",
        "Migrations that do not run any more and whose files were removed; a database in which they ran is accepted.",
    ),
    key(
        COMPONENT,
        "schedule",
        "tables",
        "none",
        "[[component.cleaner.tool.souk.schedule]]",
        "Functions of the component that the host calls on a schedule; see docs/schedules.md.",
    ),
    key(
        COMPONENT,
        "seed",
        "a table",
        "none",
        "[component.store.tool.souk.seed]",
        "Example data, which `souk seed` adds and removes.",
    ),
    key(
        COMPONENT,
        "trace_arguments",
        "a boolean",
        "`false`",
        "trace_arguments = true",
        "Traces contain the arguments and results of calls to it, for the token `full`; see docs/observe.md.",
    ),
    key(
        COMPONENT,
        "unless",
        "a variable's name",
        "always there",
        "unless = \"api_key\"",
        "The component and its routes are left out while this variable is set.",
    ),
    key(
        DURABLE,
        "after",
        "a duration, 1s to 366days",
        "delivered at once",
        "durable = [{ interface = \"acme:mail/reminders@0.1.0\", after = \"30m\" }]",
        "The delay between storing a call and delivering it.",
    ),
    key(
        DURABLE,
        "deliver_at",
        "the name of a parameter",
        "delivered at once",
        "durable = [{ interface = \"acme:mail/reminders@0.1.0\", deliver_at = \"deliver-at\" }]",
        "The `u64` parameter with the time at which the call is delivered, in milliseconds since 1970.",
    ),
    key(
        DURABLE,
        "interface",
        "a dependency",
        "required in its table",
        "durable = [{ interface = \"acme:mail/reminders@0.1.0\", after = \"30m\" }]",
        "The dependency.",
    ),
    key(
        SCHEDULE,
        "call",
        "a function",
        "required in its table",
        "call = \"acme:tasks/cleaner@0.1.0#clean\"",
        "The function: one of a durable contract, with no parameters, or `id: string`, or `due: u64`, or both.",
    ),
    key(
        SCHEDULE,
        "cron",
        "five fields, or six with seconds first",
        "required without `every`",
        "cron = \"0 3 * * *\"",
        "When it is called, in UTC.",
    ),
    key(
        SCHEDULE,
        "every",
        "a duration, 1s to 366days",
        "required without `cron`",
        "every = \"5m\"",
        "How often it is called; due times are multiples of it since 1970, in UTC.",
    ),
    key(
        SCHEDULE,
        "missed",
        "`skip`, `last` or `all`",
        "`skip`",
        "missed = \"last\"",
        "What happens to due times that passed while no host ran: no call, one call for the last of them, or one for each.",
    ),
    key(
        SCHEDULE,
        "name",
        "a name in kebab-case",
        "required in its table",
        "name = \"clean-up\"",
        "Its name, by which `souk events` shows its calls.",
    ),
    key(
        SEED,
        "first_start",
        "a template of `true` or `false`",
        "`false`",
        "first_start = \"{{ seed }}\"",
        "Whether the first start adds it, if the component's database is a new SQLite file.",
    ),
    key(
        SEED,
        "folder",
        "a folder, from the manifest",
        "required",
        "folder = \"store/seed\"",
        "Its scripts: `add.sql`, `remove.sql`, and `keep.sql`, a query whose rows are reasons to keep other components' seeds. Those in the folder itself are for both kinds of database; those in `sqlite/` or `postgres/` come after them.",
    ),
    key(
        SEED,
        "unless",
        "a variable's name",
        "none",
        "unless = \"api_key\"",
        "While this variable is set, the first start does not add it.",
    ),
    key(
        NEST,
        "calls",
        "a table",
        "none",
        "\"find_one\" = \"acme:links/store@0.1.0#get\"",
        "Patterns that it calls, each with a function that it imports.",
    ),
    key(
        NEST,
        "errors",
        "a table",
        "none",
        "not-found = { status = 404 }",
        "The Nest errors for the cases of the contract's error.",
    ),
    key(
        NEST,
        "serves",
        "a table",
        "none",
        "\"find_one\" = \"acme:links/store@0.1.0#get\"",
        "Patterns that it answers, each with a function that it exports.",
    ),
];

#[cfg(test)]
mod tests;
