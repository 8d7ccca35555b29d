//! A table of mistakes: each wrong manifest is one error that names line, component and fix.

use super::tests::{HEAD, app, load, with_component};

/// A manifest with one mistake: its text, and the line, component, message and fix of its only error.
struct Mistake(String, usize, Option<&'static str>, &'static str, &'static str);

fn in_component(more: &str, line: usize, message: &'static str, fix: &'static str) -> Mistake {
    Mistake(with_component(more), line, Some("a"), message, fix)
}

fn beside_component(more: &str, line: usize, message: &'static str, fix: &'static str) -> Mistake {
    Mistake(with_component(more), line, None, message, fix)
}

fn in_application(text: &str, line: usize, message: &'static str, fix: &'static str) -> Mistake {
    Mistake(text.to_owned(), line, None, message, fix)
}

fn in_trigger(text: &str, line: usize, message: &'static str, fix: &'static str) -> Mistake {
    let text = format!("{HEAD}component.a.source = \"a.wasm\"\n[[trigger.http]]\n{text}");
    Mistake(text, line, Some("a"), message, fix)
}

/// An `entry` of `[application.tool.souk.variables]`, in line 5, beside the declaration of a variable.
fn generated(entry: &str, declared: &str, message: &'static str, fix: &'static str) -> Mistake {
    let head = "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.tool.souk.variables]\n";
    Mistake(format!("{head}{entry}\n[variables]\n{declared}\n"), 5, None, message, fix)
}

/// An `entry` of `[application.tool.souk.warnings]`, in line 5, beside the variable `open`.
fn warned(entry: &str, message: &'static str, fix: &'static str) -> Mistake {
    let head = "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.tool.souk.warnings]\n";
    Mistake(format!("{head}{entry}\n[variables]\nopen = {{ default = \"\" }}\n"), 5, None, message, fix)
}

fn mistakes() -> Vec<Mistake> {
    const B: &str = "[component.b]\nsource = \"b.wasm\"\n";
    let dependency = |value: &str| format!("{B}[component.a.dependencies]\n\"n:p/i@1.0.0\" = {value}");
    vec![
        // The document and the application.
        in_application("spin_manifest_version = 2\n[application\n", 2, "not TOML", "[brackets]"),
        in_application("spin_manifest_version = 2\nspin_manifest_version = 2\n", 2, "duplicate key", "remove one"),
        in_application("[application]\nname = \"t\"", 1, "does not say its version", "spin_manifest_version = 2"),
        in_application("spin_version = \"1\"\nname = \"t\"", 1, "does not say its version", "version 1"),
        in_application(
            "\nspin_manifest_version = 1\n[application]\nname = \"t\"",
            2,
            "version 1 is not supported",
            "= 2",
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
            "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.trigger.redis]\naddress = \"x\"",
            4,
            "trigger `redis` is not supported",
            "http",
        ),
        in_application(
            "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.trigger.http]\nbase = \"/shop\"",
            5,
            "base path",
            "each route",
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
        // Variables.
        beside_component(
            "[variables]\nv = { required = true }",
            9,
            "`v` is required and has no value",
            "set SPIN_VARIABLE_V",
        ),
        beside_component("[variables]\nv = {}", 9, "no default and is not required", "required = true"),
        beside_component(
            "[variables]\nv = { default = \"\", required = true }",
            9,
            "required and has a default",
            "keep one",
        ),
        beside_component("[variables]\nv = { default = 7 }", 9, "`default` must be a string", "quotes"),
        beside_component("[variables]\nv = \"x\"", 9, "`v` must be a table", "table"),
        beside_component(
            "[variables]\nno-dash = { default = \"\" }",
            9,
            "`no-dash` cannot be a variable's name",
            "snake_case",
        ),
        beside_component("[variables]\nv = { default = \"\", secrte = true }", 9, "unknown key `secrte`", "`secret`"),
        in_component(
            "variables = { v = \"{{ nobody }}\" }",
            8,
            "variable `nobody`, which is not declared",
            "[variables]",
        ),
        in_component(
            "variables = { v = \"{{ api_kye }}\" }\n[variables]\napi_key = { default = \"\" }",
            8,
            "`api_kye`",
            "{{ api_key }}",
        ),
        in_component("variables = { v = \"{{ open\" }", 8, "without `}}`", "{{ variable }}"),
        in_component("variables = { \"a-b\" = \"\" }", 8, "cannot be a variable's name", "snake_case"),
        in_component("variables = { v = true }", 8, "`v` must be a string", "quotes"),
        // Values that the host warns of.
        warned("opn = { value = \"true\", message = \"m\" }", "`warnings` names the variable `opn`", "`open`"),
        warned("open = { value = \"true\" }", "message", "message = "),
        // Variables that the host gives.
        generated(
            "api_kye = { generate = \"secret\" }",
            "api_key = { required = true, secret = true }",
            "`api_kye` is generated, but not declared",
            "did you mean `api_key`?",
        ),
        generated("v = { generate = \"url\" }", "", "`v` is generated, but not declared", "v = { required = true }"),
        generated("v = { generate = \"url\" }", "v = { default = \"\" }", "never be generated", "required = true"),
        generated("v = { generate = \"secret\" }", "v = { required = true }", "not declared as one", "secret = true"),
        generated("v = { generate = \"uuid\" }", "v = { required = true }", "`generate = \"uuid\"`", "\"url\""),
        generated("v = { generate = true }", "v = { required = true }", "`generate` must be a string", "quotes"),
        generated("v = { generat = \"url\" }", "v = { required = true }", "unknown key `generat`", "`generate`"),
        generated("v = {}", "v = { required = true }", "has no `generate`", "generate = \"secret\""),
        generated("v = \"url\"", "v = { required = true }", "`v` must be a table", "table"),
        generated(
            "v = { generate = \"url\", unles = \"w\" }",
            "v = { required = true }\nw = { default = \"\" }",
            "unknown key `unles`",
            "`unless`",
        ),
        generated(
            "v = { generate = \"url\", unless = \"bank_kye\" }",
            "v = { required = true }\nbank_key = { default = \"\" }",
            "names the variable `bank_kye`, which is not declared",
            "did you mean `bank_key`?",
        ),
        generated(
            "v = { generate = \"url\", unless = \"w\" }\nw = { generate = \"url\" }",
            "v = { required = true }\nw = { required = true }",
            "`w`, which is generated itself",
            "the operator decides",
        ),
        Mistake(
            format!(
                "{}api_key = {{ default = \"k\" }}\n",
                generated("v = { generate = \"url\", unless = \"api_key\" }", "v = { required = true }", "", "").0
            ),
            7,
            None,
            "`v` is required because `api_key` is set",
            "set SPIN_VARIABLE_V",
        ),
        // Components that are off.
        in_component("tool.souk.unless = \"no_such\"", 8, "`no_such`, which is not declared", "[variables]"),
        in_component("tool.souk.unless = true", 8, "`unless` must be a string", "quotes"),
        in_component(
            &format!(
                "{}[component.b.tool.souk]\nunless = \"v\"\n[variables]\nv.default = \"x\"",
                dependency("{ component = \"b\" }\n")
            ),
            11,
            "component `b`, which is off, because `v` is set",
            "leave `v` empty",
        ),
        // Triggers.
        in_trigger("component = \"a\"", 4, "has no `route`", "private = true"),
        Mistake(
            format!("{HEAD}component.a.source = \"a\"\n[[trigger.http]]\nroute = \"/\""),
            4,
            None,
            "has no `component`",
            "component = ",
        ),
        Mistake(
            with_component("[[trigger.http]]\nroute = \"/x\"\ncomponent = \"orders\""),
            10,
            Some("orders"),
            "does not exist",
            "[component.orders]",
        ),
        Mistake(
            format!("{HEAD}component.orders.source = \"a\"\n[[trigger.http]]\nroute = \"/\"\ncomponent = \"order\""),
            6,
            Some("order"),
            "does not exist",
            "`orders`",
        ),
        in_trigger("component = \"a\"\nroute = \"/x/.../y\"", 6, "wildcard", "only at the end"),
        in_trigger("component = \"a\"\nroute = \"/:a.txt\"", 6, "proper name", "/:user_id"),
        in_trigger("component = \"a\"\nroute = { private = false }", 6, "`{ private = true }`", "route = \"/...\""),
        in_trigger("component = \"a\"\nroute = { privat = true }", 6, "unknown key `privat`", "`private`"),
        in_trigger("component = \"a\"\nroute = {}", 6, "`{ private = true }`", "route = \"/...\""),
        in_trigger("component = \"a\"\nroute = { private = 1 }", 6, "`private` must be", "`true` or `false`"),
        in_trigger("component = \"a\"\nroute = 7", 6, "`route` must be a string", "route = "),
        in_trigger(
            "component = \"a\"\nroute = \"/\"\nexecutor = { type = \"wagi\" }",
            7,
            "`wagi` is not supported",
            "wasi:http",
        ),
        in_trigger("component = \"a\"\nroute = \"/\"\nexecutor = { type = \"php\" }", 7, "`php` is unknown", "remove"),
        in_trigger("component = \"a\"\nroute = \"/\"\npath = \"/\"", 7, "unknown key `path`", "route"),
        in_trigger(
            "component = \"a\"\nroute = \"/\"\nstatic_response = { body = \"\" }",
            7,
            "`static_response` is not supported",
            "component",
        ),
        in_trigger("component = \"a\"\nroute = \"/\"\ndependencies = {}", 7, "`dependencies` of a trigger", "link"),
        in_trigger(
            "component = \"a\"\nroute = \"/x/\"\n[[trigger.http]]\ncomponent = \"a\"\nroute = \"/x\"",
            7,
            "same paths as `/x`",
            "remove one",
        ),
        in_trigger(
            "component = \"a\"\nroute = \"/:x\"\n[[trigger.http]]\ncomponent = \"a\"\nroute = \"/:y\"",
            7,
            "same paths as `/:x`",
            "change its route",
        ),
        in_trigger(
            "component = \"a\"\nroute = \"/\"\nid = \"x\"\n[[trigger.http]]\nid = \"x\"\ncomponent = \"a\"\nroute = \"/y\"",
            9,
            "id `x`",
            "its own",
        ),
        beside_component(
            "[[trigger.redis]]\nchannel = \"c\"\ncomponent = \"a\"",
            8,
            "trigger `redis` is not supported",
            "`http` trigger",
        ),
        beside_component(
            "[[trigger.htpp]]\nroute = \"/y\"\ncomponent = \"a\"",
            8,
            "trigger `htpp` is not supported",
            "did you mean `http`?",
        ),
        in_application(
            "spin_manifest_version = 2\napplication.name = \"t\"\n[trigger.http]\nroute = \"/\"",
            3,
            "array of tables",
            "[[trigger.http]]",
        ),
        // Components.
        in_component("sqlite_database = [\"orders\"]", 8, "unknown key `sqlite_database`", "`sqlite_databases`"),
        in_component("sqlite_databases = \"orders\"", 8, "must be a list of strings", "[\"...\"]"),
        in_component("sqlite_databases = [\"../x\"]", 8, "cannot be a label", "my-data"),
        in_component("key_value_stores = [\"a\", 3]", 8, "list of strings", "list of strings"),
        in_component("ai_models = [\"llama2-chat\"]", 8, "`ai_models` is not supported", "remove"),
        in_component("environment = { PORT = 80 }", 8, "`PORT` must be a string", "quotes"),
        in_component("environment = { \"A=B\" = \"\" }", 8, "environment variable", "leave out"),
        in_component("profile.debug.source = \"x\"", 8, "`profile` is not supported", "one source"),
        in_component("dependencies_inherit_configuration = true", 8, "its own grants", "remove it"),
        in_component(
            "allowed_http_hosts = [\"example.com\"]",
            8,
            "`allowed_http_hosts` is an old key",
            "[\"https://example.com\"]",
        ),
        in_component(
            "allowed_outbound_hosts = [\"example.com\"]",
            8,
            "`example.com` in `allowed_outbound_hosts`: the scheme is missing",
            "https://HOST",
        ),
        in_component("allowed_outbound_hosts = [\"\"]", 8, "the scheme is missing", "https://HOST"),
        in_component("allowed_outbound_hosts = [\"http://self\"]", 8, "`self`", "http://NAME.spin.internal"),
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
            "files = [{ source = \"x\", destination = \"y\" }]",
            8,
            "not an absolute path",
            "begin it with `/`",
        ),
        in_component("files = [{ source = \"x\" }]", 8, "has no `destination`", "destination ="),
        in_component("files = [7]", 8, "of type integer", "pattern"),
        in_component("build.workdir = \"x\"", 8, "has no `command`", "command ="),
        in_component("build.command = []", 8, "empty list", "command ="),
        in_component("build = { command = \"make\", watchs = [\"x\"] }", 8, "unknown key `watchs`", "`watch`"),
        in_component("tool.souk.migrations = \"none\"", 8, "`none` does not exist", "make the folder"),
        in_component("tool.souk.migrations = \"spin.toml\"", 8, "is a file", "name the folder"),
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
            "take it out of one",
        ),
        in_component("tool.souk.idempotent = [\"n:p\"]", 8, "`n:p` in `idempotent` is neither", "#function"),
        in_component("tool.souk.idempotent = [\"n:p/i#\"]", 8, "names no function after its `#`", "#function"),
        in_component("tool.souk.idempotent = [\"in#f\"]", 8, "it names no package", "#function"),
        // A NestJS system.
        in_component("tool.souk.readiness = \"off\"", 8, "`readiness` must be \"ignore\"", "remove it"),
        in_component("tool.souk.nest = {}", 8, "names no pattern", "`serves` or `calls`"),
        in_component("tool.souk.nest.serve = {}", 8, "unknown key `serve`", "did you mean `serves`?"),
        in_component("tool.souk.nest.serves = { \"a b\" = \"n:p/i#f\" }", 8, "takes no blanks", "change the pattern"),
        in_component("tool.souk.nest.serves = { \"a.*\" = \"n:p/i#f\" }", 8, "wildcards", "write each pattern"),
        in_component(
            "tool.souk.nest.calls = { '{\"a\":[1]}' = \"n:p/i#f\" }",
            8,
            "a list has no place",
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
        in_component("tool.souk.reuse = 1", 8, "unknown key `reuse`", "limits, migrations, nest, remote, unless"),
        Mistake(
            format!("{HEAD}[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n[component.a]\ndescription = \"\""),
            6,
            Some("a"),
            "has no `source`",
            "source =",
        ),
        Mistake(
            format!("{HEAD}component.a.source = {{ url = \"https://x\", digest = \"sha256:0\" }}"),
            3,
            Some("a"),
            "from a URL is not supported",
            "download",
        ),
        Mistake(
            format!("{HEAD}component.a.source = {{ registry = \"r\", package = \"a:b\", version = \"1\" }}"),
            3,
            Some("a"),
            "from a registry is not supported",
            "download",
        ),
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
        // Links.
        in_component(
            &dependency("{ component = \"c-service\" }"),
            11,
            "`c-service`, which does not exist",
            "[component.c-service]",
        ),
        in_component(&dependency("{ component = \"a\" }"), 11, "on the component itself", "remove"),
        in_component(&dependency("\">=1.0.0\""), 11, "comes from a registry", "component = \"NAME\""),
        in_component(
            &dependency("{ version = \"1\", package = \"n:p\" }"),
            11,
            "comes from a registry",
            "component = \"NAME\"",
        ),
        in_component(&dependency("{ path = \"b.wasm\" }"), 11, "comes from a file", "component = \"NAME\""),
        in_component(
            &dependency("{ url = \"https://x\", digest = \"y\" }"),
            11,
            "comes from a URL",
            "component = \"NAME\"",
        ),
        in_component(&dependency("{}"), 11, "has no `component`", "component = \"NAME\""),
        in_component(&dependency("{ component = \"b\", exprt = \"n:p/i\" }"), 11, "unknown key `exprt`", "`export`"),
        in_component(
            &dependency("{ component = \"b\", zebra = 1 }"),
            11,
            "unknown key `zebra`",
            "known here: component, export",
        ),
        in_component(
            &dependency("{ component = \"b\", inherit_configuration = [\"ai_models\"] }"),
            11,
            "its own sandbox and its own grants",
            "grant what is needed",
        ),
        in_component(
            &dependency("{ component = \"b\", environment = { A = \"1\" } }"),
            11,
            "`environment` of a dependency",
            "other component",
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
            "names no package",
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

#[test]
fn every_mistake_is_one_error_with_line_component_and_fix() {
    let mistakes = mistakes();
    assert!(mistakes.len() >= 30);
    let mut wrong = String::new();
    for Mistake(text, line, component, message, fix) in &mistakes {
        let app = app(text);
        let errors = match load(&app.options) {
            Ok(_) => {
                wrong += &format!("\n--- accepted:\n{text}\n");
                continue;
            }
            Err(errors) => errors,
        };
        let fits = matches!(errors.0.as_slice(), [error]
            if error.line == Some(*line)
                && error.component.as_deref() == *component
                && error.message.contains(message)
                && error.fix.contains(fix)
                && error.file == app.options.manifest);
        if !fits {
            wrong += &format!("\n--- wanted line {line}, {component:?}, {message:?}, {fix:?} of\n{text}\n{errors}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
