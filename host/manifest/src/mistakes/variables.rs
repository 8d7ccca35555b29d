//! Mistakes in variables: declared ones, generated ones, ones with warnings, and ones that turn components off.

use super::*;

pub(super) fn mistakes() -> Vec<Mistake> {
    vec![
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
        beside_component("[variables]\nv = \"x\"", 9, "variable `v` is a text", "{ default = "),
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
        warned("opn = { value = \"true\", message = \"m\" }", "`warnings` names the variable `opn`", "`open`"),
        warned("open = { value = \"true\" }", "message", "message = "),
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
        generated(
            "v = { one_of = [] }",
            "v = { default = \"\" }",
            "`one_of` of variable `v` has no value",
            "one_of = [\"usd\"",
        ),
        generated("v = { one_of = \"a\" }", "v = { default = \"a\" }", "`one_of` must be", "[\"...\"]"),
        generated(
            "curency = { one_of = [\"a\"] }",
            "currency = { default = \"a\" }",
            "names the variable `curency`, which is not declared",
            "did you mean `currency`?",
        ),
        generated(
            "v = { one_of = [\"a\"], generate = \"url\" }",
            "v = { required = true }",
            "`v` is generated, so it has no `one_of`",
            "keep one",
        ),
        generated(
            "v = { one_of = [\"a\", \"b\"] }",
            "v = { default = \"c\" }",
            "variable `v` is \"c\", which is not one of the values",
            "set SPIN_VARIABLE_V to `a`, `b`",
        ),
        generated(
            "v = { pattern = \"a)|(b\" }",
            "v = { default = \"a\" }",
            "`pattern` of variable `v` is not a regular expression",
            "the crate `regex`",
        ),
        generated("v = { pattern = 7 }", "v = { default = \"a\" }", "`pattern` must be a string", "quotes"),
        generated(
            "v = { pattern = \"a{1000}{1000}{1000}\" }",
            "v = { default = \"a\" }",
            "is not a regular expression",
            "the crate `regex`",
        ),
        generated(
            "v = { one_of = [\"a\"], pattern = \"a\" }",
            "v = { default = \"a\" }",
            "`v` has both `one_of` and `pattern`",
            "keep one",
        ),
        generated(
            "v = { pattern = \"[0-9]+\" }",
            "v = { default = \"ten\" }",
            "variable `v` is \"ten\", which does not match the pattern `[0-9]+`",
            "set SPIN_VARIABLE_V to a value that does",
        ),
        generated("v = {}", "v = { required = true }", "has no `generate`", "generate = \"secret\""),
        generated("v = \"url\"", "v = { required = true }", "`v` must be a table", "v = {"),
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
    ]
}
