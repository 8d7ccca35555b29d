//! The runtime configuration: the places of stores, databases and NATS, and mistakes in it.

use super::*;
use std::collections::BTreeSet;

#[test]
fn the_runtime_configuration_places_stores_databases_and_state() {
    let text = with_component("sqlite_databases = [\"main\"]\nkey_value_stores = [\"cache\"]");
    let config = "state_dir = \"state\"\n[sqlite_database.main]\ntype = \"spin\"\npath = \"data/main.db\"\n\
        [key_value_store.cache]\ntype = \"spin\"\npath = \"/var/cache.db\"\n[key_value_store.stray]\ntype = \"spin\"\npath = \"x\"\n";
    let app = app(&text).file("conf/runtime-config.toml", config);
    assert_eq!(app.load().application.state_dir, None, "only the file beside the manifest is read without being named");
    let mut options = app.options.clone();
    options.runtime_config = Some(app.dir.path().join("conf/runtime-config.toml"));
    let loaded = load(&options).unwrap();
    let conf = app.dir.path().join("conf");
    assert_eq!(loaded.application.state_dir, Some(conf.join("state")));
    assert_eq!(loaded.application.sqlite_paths["main"], conf.join("data/main.db"));
    let KeyValuePlace::File(cache) = &loaded.application.key_value_places["cache"] else { panic!("not a file") };
    assert_eq!(*cache, PathBuf::from("/var/cache.db"));
    let warnings: Vec<_> = loaded.warnings.iter().map(|w| (w.line, w.message.as_str())).collect();
    assert_eq!(warnings, [(Some(8), "[key_value_store.stray] is granted to no component")]);
}

#[test]
fn a_mistyped_label_is_told_with_the_labels_of_components_the_most_similar_first() {
    let text = with_component("sqlite_databases = [\"orders\", \"main\"]\nkey_value_stores = [\"cache\"]");
    let fix = |table: &str| {
        let config = format!("[{table}]\ntype = \"spin\"\npath = \"x\"\n");
        let loaded = app(&text).file("runtime-config.toml", &config).load();
        assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
        assert_eq!(loaded.warnings[0].message, format!("[{table}] is granted to no component"));
        loaded.warnings[0].fix.clone()
    };
    let near = fix("sqlite_database.order");
    assert!(
        near.contains("did you mean `orders`? Labels in `sqlite_databases` are `orders` (of `a`), `main` (of `a`)")
    );
    assert!(near.contains("add `order` to a component's `sqlite_databases`, or remove the table"), "{near}");
    let far = fix("key_value_store.zzz");
    assert!(far.contains("name a label in `key_value_stores`, `cache` (of `a`); or add `zzz` to"), "{far}");
}

#[test]
fn two_labels_that_name_the_same_place_give_a_warning() {
    let text = with_component("key_value_stores = [\"a\", \"b\"]");
    let own =
        format!("type = \"nats\"\nbucket = \"{}\"", Subjects::of(&app(&text).load().application.name).bucket("a"));
    for (one, other, what) in [
        (
            "type = \"redis\"\nurl = \"redis://h\"",
            "type = \"redis\"\nurl = \"redis://u:s3cret@h:6379/0\"",
            Some("database"),
        ),
        ("type = \"redis\"\nurl = \"redis://h\"", "type = \"redis\"\nurl = \"redis://h/1\"", None),
        ("type = \"nats\"\nbucket = \"x\"", "type = \"nats\"\nbucket = \"x\"", Some("bucket")),
        ("type = \"nats\"", own.as_str(), Some("bucket")),
        ("type = \"nats\"", "type = \"nats\"", None),
        ("type = \"spin\"\npath = \"x.db\"", "type = \"spin\"\npath = \"./x.db\"", Some("file")),
        ("type = \"spin\"\npath = \"x.db\"", "type = \"spin\"\npath = \"y.db\"", None),
    ] {
        let config = format!("[nats]\nservers = [\"h\"]\n[key_value_store.a]\n{one}\n[key_value_store.b]\n{other}\n");
        let warnings = app(&text).file("runtime-config.toml", &config).load().warnings;
        let warnings: Vec<_> = warnings.iter().map(|warning| warning.message.as_str()).collect();
        let expected = what.map(|what| {
            format!("[key_value_store.b] is the same {what} as [key_value_store.a]: each holds the other's keys")
        });
        assert_eq!(warnings, expected.iter().collect::<Vec<_>>(), "{one}, {other}");
    }
}

#[test]
fn nats_is_where_the_command_line_says_or_else_the_runtime_configuration() {
    let config = "[nats]\nservers = [\"nats://u:s3cret@one\", \"two:4333\"]\ncredentials = \"c.creds\"\nonly = [\"a\"]\nreplicas = 3";
    let mut app = app(&with_component("")).file("runtime-config.toml", config);
    let nats = app.load().application.nats.unwrap();
    assert_eq!(format!("{:?}", nats.servers), "[nats://one:4222, nats://two:4333]");
    assert_eq!(nats.credentials, Some(app.dir.path().join("c.creds")));
    assert_eq!(nats.replicas, Some(3));
    assert_eq!(app.load().application.only, Some(BTreeSet::from(["a".to_owned()])));
    app.options.nats = vec!["nats://three".parse().unwrap()];
    app.options.credentials = Some("d.creds".into());
    let nats = app.load().application.nats.unwrap();
    assert_eq!(
        (format!("{:?}", nats.servers), nats.credentials),
        ("[nats://three:4222]".into(), Some("d.creds".into()))
    );
    app.options.only = vec!["b".to_owned()];
    assert!(app.errors().to_string().starts_with("--only: component `b` does not exist\n  fix: "), "{}", app.errors());
}

#[test]
fn a_wrong_runtime_configuration_is_one_error_each() {
    for (config, line, message, fix) in [
        ("[key_value_store.a]\ntype = \"redis\"", 1, "[key_value_store.a] has no `url`", "redis://HOST"),
        (
            "[key_value_store.a]\ntype = \"redis\"\nurl = \"http://:s3cret@h\"",
            3,
            "not the URL of a Redis",
            "redis://HOST",
        ),
        (
            "[key_value_store.a]\ntype = \"nats\"",
            1,
            "[key_value_store.a] is kept in NATS, and no server is named",
            "[nats]",
        ),
        ("[key_value_store.a]\ntype = \"nats\"\nbucket = \"a.b\"", 3, "`a.b` cannot be a bucket's name", "letters"),
        (
            "[nats]\nservers = [\"h\"]\n[key_value_store.a]\ntype = \"nats\"\nurl = \"nats://x\"",
            5,
            "unknown key `url`",
            "bucket",
        ),
        ("[key_value_store.a]\ntype = \"azure_cosmos\"", 2, "not supported", "spin"),
        (
            "[sqlite_database.a]\ntype = \"libsql\"\nurl = \"x\"\ntoken = \"s3cret\"",
            2,
            "`type = \"libsql\"` is not supported",
            "spin",
        ),
        ("[sqlite_database.a]\ntype = \"sqlite\"", 2, "unknown", "spin"),
        ("[sqlite_database.a]\npath = \"x\"", 1, "has no `type`", "type = \"spin\""),
        ("[sqlite_database.a]\ntype = \"spin\"", 1, "has no `path`", "state folder"),
        ("[sqlite_database.a]\ntype = \"spin\"\npth = \"x\"\npath = \"x\"", 3, "unknown key `pth`", "`path`"),
        ("[sqlite_database.\"a/b\"]\ntype = \"spin\"\npath = \"x\"", 1, "cannot be a label", "my-data"),
        ("[[variables_provider]]\ntype = \"vault\"\nurl = \"x\"", 2, "not supported", "static"),
        ("[[variables_provider]]\ntype = \"env\"\ndotenv_path = \"none.env\"", 0, "cannot be read", "dotenv_path"),
        ("[variables_provider]\ntype = \"env\"", 1, "array of tables", "[[variables_provider]]"),
        ("[[config_provider]]\ntype = \"env\"", 1, "old name", "variables_provider"),
        ("[llm_compute]\ntype = \"spin\"", 1, "AI models", "remove"),
        ("\n\nlog_dir = \"x\"", 3, "`log_dir`", "remove"),
        ("state_dri = \"x\"", 1, "unknown key `state_dri`", "`state_dir`"),
        ("admin_hosts = [\"https://a.example\"]", 1, "is not a host's name", "the name alone"),
        ("state_dir = 3", 1, "must be a string", "quotes"),
        ("state_dir = ", 1, "not TOML", "TOML"),
    ] {
        let errors = app(&with_component("")).file("runtime-config.toml", config).errors();
        let [error] = errors.0.as_slice() else { panic!("{config}\n{errors}") };
        assert_eq!(error.line.unwrap_or(0), line, "{config}\n{errors}");
        assert!(error.message.contains(message) && error.fix.contains(fix), "{config}\n{errors}");
        assert!(!errors.to_string().contains("s3cret"), "{errors}");
    }
}

#[test]
fn each_file_with_secrets_that_other_users_can_read_is_one_warning() {
    let text =
        format!("{}[variables]\nkey = {{ required = true, secret = true }}\nname = {{ required = true }}\n", HEAD);
    let config = "[nats]\nservers = [\"nats://u:s3cret@h\"]\ncredentials = \"n.creds\"\ncluster_secret = \"0123456789abcdef\"\n\
        [key_value_store.a]\ntype = \"redis\"\nurl = \"redis://:s3cret@h\"\n[key_value_store.b]\ntype = \"mongodb\"\n\
        url = \"mongodb://u:s3cret@h/d\"\n[key_value_store.c]\ntype = \"redis\"\nurl = \"redis://h/1\"\n\
        [[variables_provider]]\ntype = \"static\"\nvalues = { key = \"s3cret\", name = \"x\" }\n";
    let mut app = app(&text).file("runtime-config.toml", config);
    app = app
        .file(".env", "SPIN_VARIABLE_KEY=s3cret\nSPIN_VARIABLE_NAME=x\n")
        .file("n.creds", "s3cret")
        .file("k", "s3cret");
    let file = |name: &str| app.dir.path().join(name);
    app.options.variables = ["key", "name"].map(|name| (name.to_owned(), "s3cret".to_owned())).into();
    app.options.variable_files = ["key", "name"].map(|name| (name.to_owned(), file("k"))).into();
    let warned = |mode: u32| {
        for name in ["runtime-config.toml", ".env", "n.creds", "k"] {
            fs::set_permissions(file(name), Permissions::from_mode(mode)).unwrap();
        }
        let warnings = app.load().warnings.into_iter().filter(|warning| warning.message.contains("other users"));
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        warnings.map(|warning| (name(&warning.file), warning.message, warning.fix)).collect::<Vec<_>>()
    };
    assert_eq!(warned(0o600), []);
    let found = warned(0o644);
    let held = |name: &str| {
        let (_, message, fix) = found.iter().find(|(file, ..)| file == name).unwrap();
        assert!(fix.starts_with("chmod 600 ") && fix.ends_with(name), "{fix}");
        message.split_once("(mode 0644), and it holds secrets: ").unwrap().1.to_owned()
    };
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!((held(".env"), held("k")), ("key".to_owned(), "key".to_owned()));
    assert_eq!(held("n.creds"), "the credentials for NATS");
    assert_eq!(
        held("runtime-config.toml"),
        "`cluster_secret` of [nats], `servers` of [nats], `url` of [key_value_store.a], `url` of [key_value_store.b], key"
    );
}
