//! Mistakes in connections between components: dependencies, durable and remote links, patterns of NestJS.

use super::*;

/// A component whose source is `source`, in line 3.
fn sourced(source: &str, message: &'static str, fix: &'static str) -> Mistake {
    let source = source.replace("{SHA}", &format!("sha256:{}", "0".repeat(64)));
    Mistake(format!("{HEAD}component.a.source = {source}"), 3, Some("a"), message, fix)
}

/// A component whose source is a version of a package in a registry.
fn released(registry: &str, package: &str, version: &str, message: &'static str, fix: &'static str) -> Mistake {
    let source = format!("{{ registry = \"{registry}\", package = \"{package}\", version = \"{version}\" }}");
    sourced(&source, message, fix)
}

pub(super) fn mistakes() -> Vec<Mistake> {
    vec![
        in_component("tool.souk.readiness = \"off\"", 8, "`readiness` must be \"ignore\"", "remove it"),
        in_component("tool.souk.nest = {}", 8, "names no pattern", "`serves` or `calls`"),
        in_component("tool.souk.nest.serve = {}", 8, "unknown key `serve`", "did you mean `serves`?"),
        in_component(
            "tool.souk.nest.serves = { \"a b\" = \"n:p/i#f\" }",
            8,
            "cannot contain whitespace",
            "change the pattern",
        ),
        in_component(
            "tool.souk.nest.serves = { \"a.*\" = \"n:p/i#f\" }",
            8,
            "wildcards",
            "write one entry for each pattern",
        ),
        in_component(
            "tool.souk.nest.calls = { '{\"a\":[1]}' = \"n:p/i#f\" }",
            8,
            "a pattern cannot contain a list",
            "single quotes",
        ),
        in_component(
            "tool.souk.nest.calls = { a = \"n:p#f\" }",
            8,
            "not the name of a function",
            "interface@version#function",
        ),
        in_component("tool.souk.nest.calls = { a = 1 }", 8, "a function's name or a table", "write a function's name"),
        in_component("tool.souk.nest.calls = { a = { data = \"b\" } }", 8, "has no `function`", "#function"),
        in_component("tool.souk.nest.errors = { e = { message = \"m\" } }", 8, "`e` has no `status`", "status = 404"),
        in_component("tool.souk.nest.errors = { e = { status = -1 } }", 8, "out of range", "status = 404"),
        Mistake(
            with_component(
                "tool.souk.nest.serves.a = \"n:p/i#f\"\n[component.b]\nsource = \"b\"\ntool.souk.nest.serves.a = \"n:p/i#f\"",
            ),
            11,
            Some("b"),
            "the pattern `a` is served by `a` in line 8 too",
            "keep one of the two",
        ),
        Mistake(
            with_component(&format!("tool.souk.nest.calls.x = \"n:p/i#f\"\n{}", dependency("{ component = \"b\" }"))),
            8,
            Some("a"),
            "`n:p/i` is in `calls` of a NestJS system and in the dependencies",
            "keep one of the two",
        ),
        in_component("tool.souk.limits = { memroy = 1 }", 8, "unknown limit `memroy`", "`memory`"),
        in_component(
            "tool.souk.reuse = 1",
            8,
            "unknown key `reuse`",
            "migrations, nest, readiness, record, remote, retired, schedule, seed, trace_arguments, unless",
        ),
        Mistake(
            format!("{HEAD}[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n[component.a]\ndescription = \"\""),
            6,
            Some("a"),
            "has no `source`",
            "source =",
        ),
        sourced("{ url = \"https://x\", digest = \"sha256:0\" }", "`digest` is not", "sha256sum FILE"),
        sourced("{ url = \"https://x/a.wasm\" }", "has no `digest`", "sha256sum FILE"),
        sourced(
            "{ url = \"http://x.test/a.wasm\", digest = \"{SHA}\" }",
            "`url` uses http to another machine",
            "https://",
        ),
        sourced("{ url = \"https://u:s3cret@x.test/a\", digest = \"{SHA}\" }", "`url` has a user name", "https://"),
        sourced("{ url = \"https://x\", digest = \"{SHA}\", sha = \"\" }", "unknown key `sha`", "remove it"),
        sourced("{ package = \"a:b\", version = \"1.0.0\" }", "has no `registry`", "registry = \"HOST\""),
        sourced("{ registry = \"r.test\", version = \"1.0.0\" }", "has no `package`", "NAMESPACE:NAME"),
        released("r", "a:b", "1.0.0", "`registry` is not a host", "registry.example.com"),
        released("u:s3cret@r.test", "a:b", "1.0.0", "`registry` has a user name", "registry.example.com"),
        released("169.254.169.254", "a:b", "1.0.0", "`registry` is a link-local address", "example.com"),
        released("r.test/x", "a:b", "1.0.0", "`registry` is not a host", "registry.example.com"),
        released("r.test", "b", "1.0.0", "`package`: it names no package", "namespace:name"),
        released("r.test", "a:b/c", "1.0.0", "`package`: it is more than a package's name", "namespace:name"),
        released("r.test", "A:b", "1.0.0", "`package`: it must be in lower case", "namespace:name"),
        released("r.test", "a:b", "1.0", "`version` is not an exact version: `1.0`", "version = \"1.2.0\""),
        released("r.test", "a:b", "^1.0.0", "`version` is not an exact version", "version = \"1.2.0\""),
        in_component("tool.souk.digest = \"sha256:0\"", 8, "`digest` is for a `source` from a registry", "remove it"),
        Mistake(
            format!(
                "{HEAD}[[trigger.http]]\nroute = \"/\"\ncomponent = \"my_app\"\n[component.my_app]\nsource = \"a\""
            ),
            6,
            None,
            "cannot be a component's name",
            "kebab-case",
        ),
        Mistake(
            format!("{HEAD}[[trigger.http]]\nroute = \"/\"\ncomponent = {{ sorce = \"a\", source = \"b\" }}"),
            5,
            Some("http-trigger1-component"),
            "unknown key `sorce`",
            "`source`",
        ),
        in_component(
            &dependency("{ component = \"c-service\" }"),
            11,
            "`c-service`, which does not exist",
            "[component.c-service]",
        ),
        in_component(&dependency("{ component = \"a\" }"), 11, "on the component itself", "remove"),
        in_component(&dependency("\">=1.0.0\""), 11, "names a version, but no registry", "registry = \"HOST\""),
        in_component(
            &dependency("{ version = \"1.0.0\", package = \"n:p\" }"),
            11,
            "has no `registry`",
            "registry = \"HOST\"",
        ),
        in_component(
            &dependency("{ version = \">=1.0.0\", registry = \"r.test\" }"),
            11,
            "`version` is not an exact version",
            "version = \"1.2.0\"",
        ),
        in_component(
            &dependency("{ version = \"1.0.0\", registry = \"r.test\", path = \"b.wasm\" }"),
            11,
            "both `path` and `version`",
            "keep one",
        ),
        in_component(
            &dependency("{ path = \"b.wasm\", component = \"b\" }"),
            11,
            "both `component` and `path`",
            "keep one",
        ),
        in_component(&dependency("{ path = 3 }"), 11, "`path` must be a string", "quotes"),
        in_component(&dependency("{ url = \"https://x\", digest = \"y\" }"), 11, "`digest` is not", "sha256sum"),
        in_component(&dependency("{}"), 11, "has no `component`", "component = \"NAME\""),
        in_component(&dependency("{ component = \"b\", exprt = \"n:p/i\" }"), 11, "unknown key `exprt`", "`export`"),
        in_component(
            &dependency("{ component = \"b\", zebra = 1 }"),
            11,
            "unknown key `zebra`",
            "known here: component, environment, export, inherit_configuration, package, path, registry, url, version",
        ),
        in_component(
            &dependency("{ component = \"b\", inherit_configuration = [\"models\"] }"),
            11,
            "`models` in `inherit_configuration` cannot be inherited",
            "ai_models, allowed_outbound_hosts",
        ),
        in_component(
            &dependency("{ component = \"b\", environment = { A = 1 } }"),
            11,
            "`A` must be a string",
            "quotes",
        ),
        in_component(
            &dependency("{ component = \"b\" }\n\"n:p\" = { component = \"b\" }"),
            11,
            "for the same import",
            "keep one",
        ),
        in_component(
            &format!("{B}[component.a.dependencies]\n\"n:p\" = {{ component = \"b\", export = \"x\" }}"),
            11,
            "whole package",
            "remove `export`",
        ),
        in_component(
            &format!("{B}[component.a.dependencies]\norders = {{ component = \"b\" }}"),
            11,
            "not an interface of a package",
            "namespace:package",
        ),
        Mistake(
            with_component(&format!(
                "{B}[component.c]\nsource = \"c\"\n[component.a.dependencies]\n\"n:b/i\" = {{ component = \"b\" }}\n[component.b.dependencies]\n\"n:c/i\" = {{ component = \"c\" }}\n[component.c.dependencies]\n\"n:a/i\" = {{ component = \"a\" }}\n"
            )),
            17,
            Some("c"),
            "a -> b -> c -> a",
            "remove one of these links",
        ),
    ]
}
