//! Every key that Souk adds to Spin's manifest, and every key of `runtime-config.toml`, for those who look one up.
//!
//! `docs/reference.md` is made from this table. The readers ([`crate`]) know the keys themselves; a test asks them which
//! they know, and compares.

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The table that it stands in.
    pub table: &'static str,
    /// The key.
    pub key: &'static str,
    /// What its value is: a type, with its unit.
    pub value: &'static str,
    /// What holds when it is not there.
    pub default: &'static str,
    /// A line with it.
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
        "Routes for which a part of the host is kept free: under load, others are refused first.",
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
        "Proxies that are believed when they say who their client is.",
    ),
    key(
        APPLICATION,
        "variables",
        "a table",
        "no value is made",
        "[application.tool.souk.variables]",
        "Values that the host makes for variables while nobody sets them, one entry a variable.",
    ),
    key(
        APPLICATION,
        "warnings",
        "a table",
        "no warning",
        "[application.tool.souk.warnings]",
        "What is said at the start while a variable has a certain value, one entry a variable.",
    ),
    key(
        STATIC,
        "route",
        "a path that ends with `/...`",
        "required in its table",
        "route = \"/assets/...\"",
        "The paths that the files have.",
    ),
    key(
        STATIC,
        "folder",
        "a folder beside the manifest",
        "required in its table",
        "folder = \"public\"",
        "Where the files are. Names that begin with a dot, and links that lead out of it, are not found.",
    ),
    key(
        STATIC,
        "fallback",
        "a file in the folder",
        "none",
        "fallback = \"index.html\"",
        "The page for paths without an extension that name no file.",
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
        "required in its entry, unless it has `one_of`",
        "jwt_secret = { generate = \"secret\" }",
        "`secret`: 256 random bits in hexadecimal, kept in the state folder. `url`: where the application answers.",
    ),
    key(
        VARIABLES,
        "one_of",
        "a list of texts",
        "any value",
        "currency = { one_of = [\"usd\", \"eur\"] }",
        "The values that the variable may have; with another one the application does not start.",
    ),
    key(
        VARIABLES,
        "unless",
        "a variable's name",
        "always",
        "webhook_secret = { generate = \"secret\", unless = \"stripe_secret\" }",
        "Nothing is made while that variable is set: then this one must be set too.",
    ),
    key(
        WARNINGS,
        "message",
        "a text",
        "required in its entry",
        "open_access = { value = \"true\", message = \"access is open\" }",
        "What is said.",
    ),
    key(
        WARNINGS,
        "value",
        "a text",
        "required in its entry",
        "open_access = { value = \"true\", message = \"access is open\" }",
        "The value at which it is said.",
    ),
    key(
        COMPONENT,
        "database_url",
        "a template of a URL",
        "its SQLite databases",
        "database_url = \"{{ orders_database_url }}\"",
        "The database that its migrations are for, and with that its grant: `sqlite:LABEL` or `postgres://USER:PASSWORD@HOST/DATABASE`.",
    ),
    key(
        COMPONENT,
        "durable",
        "a list of dependencies, each a name or a table",
        "none",
        "durable = [\"acme:clicks/inbox@0.1.0\"]",
        "Calls of these are stored first, and made until they succeed or a day is over.",
    ),
    key(
        COMPONENT,
        "exports",
        INTERFACES,
        "what other components depend on",
        "exports = [\"acme:links/store@0.1.0\"]",
        "What it exports, for `souk build` and `souk wit`, which write the file that its bindings are made from.",
    ),
    key(
        COMPONENT,
        "idempotent",
        "a list of interfaces or functions",
        "none",
        "idempotent = [\"acme:links/store@0.1.0#get\"]",
        "Calls that may be made twice: on several hosts they are sent again when a host dies.",
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
        "remote",
        "a list of dependencies",
        "this host where it can",
        "remote = [\"acme:links/store@0.1.0\"]",
        "Calls of these go over NATS even where their target runs on this host.",
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
        "Migrations that are not run any more, and whose files are gone; a database in which they ran is taken as it is.",
    ),
    key(
        COMPONENT,
        "schedule",
        "tables",
        "none",
        "[[component.cleaner.tool.souk.schedule]]",
        "Functions of it that the host calls at certain times; see docs/schedules.md.",
    ),
    key(
        COMPONENT,
        "seed",
        "a table",
        "none",
        "[component.store.tool.souk.seed]",
        "Example data, which `souk seed` puts in and takes away.",
    ),
    key(
        COMPONENT,
        "unless",
        "a variable's name",
        "always there",
        "unless = \"stripe_secret\"",
        "The component and its routes are left out while this variable is set.",
    ),
    key(
        DURABLE,
        "after",
        "a duration, 1s to 366days",
        "delivered at once",
        "durable = [{ interface = \"acme:mail/reminders@0.1.0\", after = \"30m\" }]",
        "How long after a call was stored it is made.",
    ),
    key(
        DURABLE,
        "deliver_at",
        "the name of a parameter",
        "delivered at once",
        "durable = [{ interface = \"acme:mail/reminders@0.1.0\", deliver_at = \"deliver-at\" }]",
        "The parameter, a `u64`, by which the caller says when the call is made: milliseconds since 1970.",
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
        "What is called: a function of a durable contract, which takes nothing, or `id: string`, or `due: u64`, or both.",
    ),
    key(
        SCHEDULE,
        "cron",
        "five fields, or six with seconds first",
        "`every` says when",
        "cron = \"0 3 * * *\"",
        "When it is called, in UTC.",
    ),
    key(
        SCHEDULE,
        "every",
        "a duration, 1s to 366days",
        "`cron` says when",
        "every = \"5m\"",
        "How often it is called; due times are multiples of it since 1970, in UTC.",
    ),
    key(
        SCHEDULE,
        "missed",
        "`skip`, `last` or `all`",
        "`skip`",
        "missed = \"last\"",
        "What becomes of due times that passed while no host ran: nothing, one call for the last of them, or one for each.",
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
        "Whether the first start puts it in by itself, where the component's database is a new SQLite file.",
    ),
    key(
        SEED,
        "folder",
        "a folder, from the manifest",
        "required",
        "folder = \"store/seed\"",
        "Its scripts, in `sqlite/` or `postgres/`: `add.sql`, `remove.sql`, and `keep.sql`, a query whose rows are reasons to keep other components' seeds.",
    ),
    key(
        SEED,
        "unless",
        "a variable's name",
        "none",
        "unless = \"stripe_secret\"",
        "The first start puts nothing in while this variable is set.",
    ),
    key(
        NEST,
        "calls",
        "a table",
        "none",
        "\"find_one\" = \"acme:links/store@0.1.0#get\"",
        "Patterns that are called, each as a function that it imports.",
    ),
    key(NEST, "errors", "a table", "none", "not-found = { status = 404 }", "What the cases of the error are in Nest."),
    key(
        NEST,
        "serves",
        "a table",
        "none",
        "\"find_one\" = \"acme:links/store@0.1.0#get\"",
        "Patterns that it answers, each by a function that it exports.",
    ),
];

const ROOT: &str = "";
const NATS: &str = "nats";
const STORE: &str = "key_value_store.LABEL";
const DATABASE: &str = "sqlite_database.LABEL";
const PROVIDER: &str = "variables_provider";

/// The keys of `runtime-config.toml`, Spin's among them.
pub const RUNTIME_CONFIG: &[Key] = &[
    key(
        ROOT,
        "key_value_store",
        "tables",
        "each label is a file in the state folder",
        "[key_value_store.default]",
        "Where the stores of labels are.",
    ),
    key(
        ROOT,
        "nats",
        "a table",
        "one host",
        "[nats]",
        "The servers by which the hosts of one application reach each other.",
    ),
    key(
        ROOT,
        "sqlite_database",
        "tables",
        "each label is a file in the state folder",
        "[sqlite_database.default]",
        "Where the databases of labels are.",
    ),
    key(
        ROOT,
        "admin_hosts",
        "a list of names",
        "none",
        "admin_hosts = [\"admin.example\"]",
        "Names of the administration's listener, besides its address.",
    ),
    key(
        ROOT,
        "state_dir",
        "a folder, from this file",
        "`.souk` beside the manifest",
        "state_dir = \"/var/lib/shop\"",
        "The state folder.",
    ),
    key(
        ROOT,
        "variables_provider",
        "an array of tables",
        "the environment and `.env`",
        "[[variables_provider]]",
        "Where variables get their values from, the first that has one wins; the environment is always the last.",
    ),
    key(STORE, "type", "`spin`, `redis` or `nats`", "required", "type = \"redis\"", "What keeps the store."),
    key(
        STORE,
        "path",
        "a file, from this file",
        "required for `spin`",
        "path = \"data/values.db\"",
        "For `spin`: the file.",
    ),
    key(
        STORE,
        "url",
        "redis://HOST:PORT/NUMBER",
        "required for `redis`",
        "url = \"redis://127.0.0.1:6379\"",
        "For `redis`: the server.",
    ),
    key(
        STORE,
        "bucket",
        "a name",
        "the application's and the label's",
        "bucket = \"accounts\"",
        "For `nats`: the bucket in JetStream.",
    ),
    key(DATABASE, "type", "`spin`", "required", "type = \"spin\"", "What keeps the database: SQLite."),
    key(DATABASE, "path", "a file, from this file", "required", "path = \"data/orders.db\"", "The file."),
    key(PROVIDER, "type", "`env` or `static`", "required", "type = \"static\"", "What the source is."),
    key(
        PROVIDER,
        "prefix",
        "a text",
        "`SPIN_VARIABLE`",
        "prefix = \"SHOP\"",
        "For `env`: what the names of environment variables begin with.",
    ),
    key(
        PROVIDER,
        "dotenv_path",
        "a file, from this file",
        "none",
        "dotenv_path = \"values.env\"",
        "For `env`: a file with more of them.",
    ),
    key(PROVIDER, "values", "a table", "none", "values = { currency = \"eur\" }", "For `static`: the values."),
    key(
        NATS,
        "credentials",
        "a file, from this file",
        "none",
        "credentials = \"shop.creds\"",
        "The credentials for NATS.",
    ),
    key(
        NATS,
        "only",
        "a list of components",
        "all",
        "only = [\"products\"]",
        "The components that run here; other hosts run the rest.",
    ),
    key(
        NATS,
        "replicas",
        "a number, 1 to 5",
        "1 server: 1; a cluster: 3",
        "replicas = 3",
        "How many servers keep each durable message and each value.",
    ),
    key(
        NATS,
        "cluster_secret",
        "text of 16 characters or more",
        "none",
        "cluster_secret = \"...\"",
        "What all hosts of the application know, and nobody else: a host without it, or with other secrets, does not start beside them.",
    ),
    key(
        NATS,
        "name",
        "text",
        "the manifest's name of the application",
        "name = \"store-staging\"",
        "The application's name on NATS: hosts of another name are another application. `--name` wins over it.",
    ),
    key(NATS, "servers", "a list of URLs", "required", "servers = [\"nats://127.0.0.1:4222\"]", "The servers."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{HEAD, app, load};
    use std::collections::BTreeSet;

    /// The keys that the reader of a table knows, from what it says of one that it does not.
    fn known(error: &str) -> BTreeSet<String> {
        let known = error.split("known here: ").nth(1).unwrap_or_else(|| panic!("no keys are told: {error}"));
        known.lines().next().unwrap().split(", ").map(str::to_owned).collect()
    }

    fn listed(keys: &[Key], table: &str) -> BTreeSet<String> {
        keys.iter().filter(|key| key.table == table).map(|key| key.key.to_owned()).collect()
    }

    #[test]
    fn the_table_lists_the_keys_that_the_manifests_readers_know() {
        let tables: BTreeSet<_> = MANIFEST.iter().map(|key| key.table).collect();
        for table in tables {
            let place = match table {
                VARIABLES => "[application.tool.souk.variables.x]\ngenerate = \"url\"",
                WARNINGS => "[application.tool.souk.warnings.x]\nvalue = \"a\"\nmessage = \"b\"",
                STATIC => "[[application.tool.souk.static]]\nroute = \"/a/...\"\nfolder = \".\"",
                TEST => "[application.tool.souk.test]\ncommand = \"true\"",
                DURABLE => "[[component.a.tool.souk.durable]]\ninterface = \"n:p/i\"",
                SCHEDULE => "[[component.a.tool.souk.schedule]]\nname = \"x\"\ncall = \"n:p/i#f\"\nevery = \"1m\"",
                other => &format!("[{}]", other.replace("NAME", "a")),
            };
            let head = HEAD.replace("application = { name = \"t\" }", "[application]\nname = \"t\"");
            let manifest = format!(
                "{head}[variables]\nx = {{ default = \"\" }}\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n\
                 [component.a]\nsource = \"a.wasm\"\n{place}\nzzz = 1\n"
            );
            let errors = load(&app(&manifest).options).expect_err(table).to_string();
            assert_eq!(known(&errors), listed(MANIFEST, table), "[{table}]: {errors}");
        }
    }

    #[test]
    fn the_table_lists_the_keys_that_the_runtime_configurations_reader_knows() {
        for (config, table) in [
            ("zzz = 1", ROOT),
            ("[nats]\nservers = [\"nats://127.0.0.1\"]\nzzz = 1", NATS),
            ("[sqlite_database.default]\ntype = \"spin\"\npath = \"x\"\nzzz = 1", DATABASE),
        ] {
            let manifest = crate::tests::with_component("sqlite_databases = [\"default\"]");
            let errors = app(&manifest).file("runtime-config.toml", config).errors().to_string();
            assert_eq!(known(&errors), listed(RUNTIME_CONFIG, table), "[{table}]: {errors}");
        }
        // Which keys these know depends on their `type`.
        for (table, heads) in [
            (
                STORE,
                vec![
                    "[key_value_store.default]\ntype = \"spin\"\npath = \"x\"",
                    "[key_value_store.default]\ntype = \"redis\"\nurl = \"redis://127.0.0.1\"",
                    "[key_value_store.default]\ntype = \"nats\"",
                ],
            ),
            (PROVIDER, vec!["[[variables_provider]]\ntype = \"env\"", "[[variables_provider]]\ntype = \"static\""]),
        ] {
            let mut all = BTreeSet::new();
            for head in heads {
                let manifest = crate::tests::with_component("key_value_stores = [\"default\"]");
                let app = app(&manifest).file("runtime-config.toml", &format!("{head}\nzzz = 1\n"));
                all.extend(known(&app.errors().to_string()));
            }
            assert_eq!(all, listed(RUNTIME_CONFIG, table), "[{table}]");
        }
    }
}
