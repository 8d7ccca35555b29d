//! Mistakes in triggers.

use super::*;

/// A trigger with a fixed response, beside a component that has a route.
fn static_response(text: &str, line: usize, message: &'static str, fix: &'static str) -> Mistake {
    let rest = "[[trigger.http]]\nroute = \"/a\"\ncomponent = { source = \"a\" }";
    Mistake(format!("{HEAD}\n[[trigger.http]]\n{text}\n{rest}"), line, None, message, fix)
}

/// A Redis trigger for `a` in line 8, and `text` in it from line 10 on.
fn of_redis(text: &str, line: usize, message: &'static str, fix: &'static str) -> Mistake {
    Mistake(with_component(&format!("[[trigger.redis]]\ncomponent = \"a\"\n{text}")), line, Some("a"), message, fix)
}

pub(super) fn mistakes() -> Vec<Mistake> {
    vec![
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
            "`static_response` and `component`",
            "keep one",
        ),
        static_response("route = { private = true }\nstatic_response = {}", 6, "private route", "give it a path"),
        static_response(
            "route = \"/\"\nstatic_response = { status_code = 100 }",
            6,
            "`status_code`",
            "from 200 to 599",
        ),
        static_response(
            "route = \"/\"\nstatic_response = { status_code = \"200\" }",
            6,
            "`status_code` must be a number",
            "write",
        ),
        static_response(
            "route = \"/\"\nstatic_response = { status = 404 }",
            6,
            "unknown key `status`",
            "`status_code`",
        ),
        static_response(
            "route = \"/\"\nstatic_response = { headers = { \"a b\" = \"\" } }",
            6,
            "`a b` in `headers`",
            "one line",
        ),
        static_response(
            "route = \"/\"\nstatic_response = { headers = { Connection = \"x\" } }",
            6,
            "`Connection`",
            "the host's",
        ),
        static_response(
            "route = \"/\"\nstatic_response = { status_code = 304, body = \"x\" }",
            6,
            "304 has no body",
            "remove `body`",
        ),
        in_trigger(
            "component = \"a\"\nroute = \"/\"\ndependencies = { middlewear = [] }",
            7,
            "`middlewear`",
            "`middleware`",
        ),
        in_trigger(
            "component = \"a\"\nroute = \"/\"\ndependencies = { middleware = [\"b\"] }",
            7,
            "of type string",
            "component =",
        ),
        Mistake(
            with_component(
                "[[trigger.http]]\nroute = \"/x\"\ncomponent = \"a\"\ndependencies = { middleware = [{ component = \"c\" }] }",
            ),
            8,
            Some("a"),
            "middleware `c` does not exist",
            "add [component.c]",
        ),
        Mistake(
            with_component(
                "[[trigger.http]]\nroute = \"/x\"\ncomponent = \"a\"\ndependencies = { middleware = [{ component = \"a\" }] }",
            ),
            8,
            Some("a"),
            "its own middleware",
            "another component",
        ),
        in_trigger(
            "component = \"a\"\nroute = \"/\"\ndependencies = { middleware = [{}] }",
            7,
            "has no `component`",
            "path =",
        ),
        in_trigger(
            "component = \"a\"\nroute = \"/\"\ndependencies = { middleware = [{ package = \"n:p\", version = \"1.0.0\" }] }",
            7,
            "has no `registry`",
            "registry = \"HOST\"",
        ),
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
            "[[trigger.sqs]]\nqueue = \"c\"\ncomponent = \"a\"",
            8,
            "trigger `sqs` is not supported",
            "`http` and `redis`",
        ),
        of_redis("address = \"redis://h\"", 8, "[[trigger.redis]] has no `channel`", "channel ="),
        of_redis("channel = \"c\"", 8, "has no `address`", "[application.trigger.redis]"),
        of_redis(
            "channel = \"c\"\naddress = \"http://:s3cret@h\"",
            11,
            "is not the URL of a Redis server",
            "redis://HOST",
        ),
        of_redis("channel = \"\"\naddress = \"redis://h\"", 10, "`channel` of [[trigger.redis]] is empty", "name"),
        of_redis("channel = \"{{ c }}\"\naddress = \"redis://h\"", 10, "`c`, which is not declared", "[variables]"),
        of_redis("chanel = \"c\"\naddress = \"redis://h\"", 10, "unknown key `chanel`", "`channel`"),
        of_redis(
            "channel = \"c\"\naddress = \"redis://h\"\ndependencies = {}",
            12,
            "`dependencies` of a Redis",
            "link",
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
    ]
}
