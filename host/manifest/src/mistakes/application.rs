//! Mistakes in the document and `[application]`.

use super::*;

pub(super) fn mistakes() -> Vec<Mistake> {
    vec![
        in_application("spin_manifest_version = 2\n[application\n", 2, "not TOML", "[brackets]"),
        in_application("spin_manifest_version = 2\nspin_manifest_version = 2\n", 2, "duplicate key", "remove one"),
        in_application("[application]\nname = \"t\"", 1, "does not say its version", "spin_manifest_version = 2"),
        in_application("spin_version = \"1\"\nname = \"t\"", 1, "does not say its version", "version 1"),
        in_application(
            "\nspin_manifest_version = 1\n[application]\nname = \"t\"",
            2,
            "version 1 is not supported",
            "spin doctor",
        ),
        in_application("spin_manifest_version = \"1\"", 1, "version 1 is not supported", "spin doctor"),
        in_application("spin_manifest_version = 3", 1, "version 3 is not supported", "= 2"),
        in_application(
            "spin_manifest_version = 2\n[application]\nname = \"t\"\n[[component]]\nid = \"a\"",
            4,
            "`component` must be a table",
            "`[component.NAME]`",
        ),
        in_application("spin_manifest_version = \"2\"", 1, "of type string", "= 2"),
        in_application("spin_manifest_version = 2", 1, "no [application]", "name"),
        in_application("spin_manifest_version = 2\n[application]\nversion = \"1\"", 2, "has no `name`", "write `name"),
        in_application("spin_manifest_version = 2\n[application]\nname = \" \"", 3, "empty", "name"),
        in_application(
            "spin_manifest_version = 2\n[application]\nname = \"t\"\nauthor = [\"x\"]",
            4,
            "unknown key `author`",
            "`authors`",
        ),
        in_application(
            "spin_manifest_version = 2\n[application]\nname = \"t\"\nversion = 1.0",
            4,
            "must be a string",
            "quotes",
        ),
        in_application(
            "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.trigger.cron]\nzone = \"x\"",
            4,
            "trigger `cron` is not supported",
            "redis",
        ),
        in_application(
            "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.trigger.http]\nbase = \"shop\"",
            5,
            "`base` does not begin with `/`",
            "base = ",
        ),
        in_application(
            "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.tool.souk.limits]\nconections = 3",
            5,
            "unknown limit `conections`",
            "`connections`",
        ),
        in_application(
            "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.tool.souk]\nlimit = 3",
            5,
            "unknown key `limit`",
            "`limits`",
        ),
        beside_component("[variable]\nx = 1", 8, "unknown key `variable`", "`variables`"),
        in_application(
            "spin_manifest_version = 2\n[aplication]\nname = \"t\"",
            2,
            "unknown key `aplication`",
            "`application`",
        ),
        in_application(
            &format!("{HEAD}[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n[components.a]\nsource = \"a\""),
            6,
            "unknown key `components`",
            "`component`",
        ),
        beside_component(
            "[components.b]\nsource = \"b\"\n[component.b.tool.souk]\nlimits = {}",
            8,
            "unknown key `components`",
            "`component`",
        ),
        beside_component(
            "[zebra]\nx = 1",
            8,
            "unknown key `zebra`",
            "known here: application, component, spin_manifest_version, trigger, variables",
        ),
    ]
}
