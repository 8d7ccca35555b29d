//! The keys of `runtime-config.toml`.

use super::{Key, key};

pub(super) const ROOT: &str = "";
pub(super) const NATS: &str = "nats";
pub(super) const STORE: &str = "key_value_store.LABEL";
pub(super) const DATABASE: &str = "sqlite_database.LABEL";
pub(super) const PROVIDER: &str = "variables_provider";

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
