//! Compares the tables of keys with the readers.

use super::runtime_config::{DATABASE, NATS, PROVIDER, ROOT, STORE};
use super::*;
use crate::tests::{HEAD, app, load};
use std::collections::BTreeSet;

/// The keys that the reader of a table knows, taken from its error about an unknown key.
fn known(error: &str) -> BTreeSet<String> {
    let known = error.split("known here: ").nth(1).unwrap_or_else(|| panic!("no keys are listed: {error}"));
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
                "[key_value_store.default]\ntype = \"mongodb\"\nurl = \"mongodb://127.0.0.1/shop\"",
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
