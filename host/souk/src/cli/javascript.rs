//! Why a build in JavaScript may have failed, where `componentize-js` does not say it: of a syntax error it names neither
//! file nor line, and of an export that a contract asks for no file but `source.js`, with code for another form of export.
//!
//! Sources are read only after a build has failed, so this also works with build commands that are older than it. Node.js
//! itself finds syntax errors. Exports are searched as text: a wrong guess costs a line then, and no build. A component
//! that cargo builds is left out, since its scripts are files for browsers.

use super::forgotten_imports::sources;
use crate::contracts::{ContractFunction, Contracts};
use heck::ToLowerCamelCase as _;
use souk_manifest::{BuildPlan, BuildStep};
use souk_runtime::is_host_interface;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tokio::process::Command;

souk_manifest::fixed_limits! {
    /// The fixed limits of searching for mistakes.
    pub(crate) const FIXED_LIMITS = "process";

    /// The most sources of a component in JavaScript whose syntax is checked after its build has failed.
    const MAX_CHECKED_SCRIPTS: usize = 100, "files";
}

/// The programs of build commands in JavaScript.
const PROGRAMS: [&str; 5] = ["node", "npm", "npx", "componentize-js", "j2w"];
/// What Node.js calls a source that it reads from its standard input.
const STDIN: &str = "[stdin]:";

/// The fixes for what is wrong in the sources of these `components`; `node` creates a command that runs Node.js.
pub(super) async fn fixes(plan: &BuildPlan, components: &[String], node: impl Fn() -> Command) -> Vec<String> {
    let failed = plan.components.iter().filter(|(name, step)| components.contains(name) && is_javascript(step));
    let failed: Vec<&BuildStep> = failed.map(|(_, step)| step).collect();
    let files: BTreeSet<PathBuf> = failed
        .iter()
        .flat_map(|step| scripts(step).into_iter().take(MAX_CHECKED_SCRIPTS))
        .map(|(file, _)| file)
        .collect();
    let mut fixes = Vec::new();
    for file in files {
        if let Some(error) = syntax_error(node(), &file).await {
            fixes.push(format!("correct {}:{error}", shown(plan, &file)));
        }
    }
    if !fixes.is_empty() {
        return fixes;
    }
    // A mistake in the contracts is reported elsewhere.
    let Ok(contracts) = Contracts::read(&plan.dir.join("wit")) else { return fixes };
    failed.iter().flat_map(|step| missing_exports(plan, step, &contracts)).collect()
}

fn is_javascript(step: &BuildStep) -> bool {
    let commands = step.build.iter().flat_map(|build| &build.commands);
    let words: BTreeSet<&str> = commands
        .flat_map(|command| command.split(|c: char| c.is_whitespace() || "()&|;".contains(c)))
        .filter_map(|word| word.rsplit('/').next())
        .collect();
    PROGRAMS.iter().any(|program| words.contains(program)) && !words.contains("cargo")
}

/// The watched sources of a component in JavaScript, each with its text.
fn scripts(step: &BuildStep) -> Vec<(PathBuf, String)> {
    let mut sources = sources(step);
    sources.retain(|(file, _)| file.extension().is_some_and(|kind| kind == "js" || kind == "mjs"));
    sources
}

fn shown(plan: &BuildPlan, file: &Path) -> String {
    file.strip_prefix(&plan.dir).unwrap_or(file).display().to_string()
}

/// The syntax error in a source, with its place, as Node.js finds it; `None` without Node.js.
async fn syntax_error(mut node: Command, file: &Path) -> Option<String> {
    let source = std::fs::File::open(file).ok()?;
    // A component is an ES module, even where no `package.json` says so. Node.js takes the option for its standard input
    // only.
    node.args(["--input-type=module", "--check"]).stdin(source).kill_on_drop(true);
    let output = node.output().await.ok()?;
    if output.status.success() { None } else { place_and_error(&String::from_utf8_lossy(&output.stderr)) }
}

/// `LINE:COLUMN: ERROR` of what Node.js prints about its standard input.
fn place_and_error(printed: &str) -> Option<String> {
    let mut lines = printed.lines().skip_while(|line| !line.starts_with(STDIN));
    let line = lines.next()?.strip_prefix(STDIN)?;
    let (_source, carets) = (lines.next()?, lines.next()?);
    let column = carets.find('^').map(|at| format!(":{}", at + 1)).unwrap_or_default();
    let error = lines.find(|line| line.starts_with("SyntaxError: "))?;
    Some(format!("{line}{column}: {error}"))
}

/// The fixes for what a component's contracts ask for and its sources do not have. Sources in TypeScript are not searched.
fn missing_exports(plan: &BuildPlan, step: &BuildStep, contracts: &Contracts) -> Vec<String> {
    let scripts = scripts(step);
    if sources(step).len() != scripts.len() {
        return Vec::new();
    }
    let interfaces = step.exports.iter().flat_map(|name| contracts.find(name).unwrap_or_default());
    let interfaces: BTreeSet<String> = interfaces.filter(|interface| !is_host_interface(interface)).collect();
    let mut fixes = Vec::new();
    for interface in interfaces {
        let object = camel(interface.rsplit('/').next().and_then(|name| name.split('@').next()).unwrap_or_default());
        let functions = contracts.functions(&interface);
        let Some((file, _)) = scripts.iter().find(|(_, text)| has_export(text, &interface, &object)) else {
            let Some(file) = main_script(step, &scripts) else { continue };
            let functions: Vec<String> = functions.iter().map(definition).collect();
            fixes.push(format!(
                "{} does not export `{interface}`: write `const {object} = {{ {} }};` and `export {{ {object} as \
                 \"{interface}\" }};`",
                shown(plan, file),
                functions.join(", ")
            ));
            continue;
        };
        for function in functions {
            let name = camel(&function.name);
            if !scripts.iter().any(|(_, text)| has_function(text, &name)) {
                fixes.push(format!(
                    "{} exports `{interface}` without its function `{name}`: write `{}` in the object that it exports",
                    shown(plan, file),
                    definition(function)
                ));
            }
        }
    }
    fixes
}

/// The source that a build command names, otherwise the first one.
fn main_script<'s>(step: &BuildStep, scripts: &'s [(PathBuf, String)]) -> Option<&'s Path> {
    let is_named = |file: &Path| {
        step.build.as_ref().is_some_and(|build| {
            let file = file.strip_prefix(&build.workdir).unwrap_or(file).to_string_lossy();
            build.commands.iter().any(|command| command.split_whitespace().any(|word| word == file))
        })
    };
    scripts.iter().find(|(file, _)| is_named(file)).or(scripts.first()).map(|(file, _)| file.as_path())
}

/// A function as a method of the exported object.
fn definition(function: &ContractFunction) -> String {
    let parameters: Vec<String> = function.parameters.iter().map(|name| camel(name)).collect();
    format!("{}({}) {{ ... }}", camel(&function.name), parameters.join(", "))
}

/// The name that `componentize-js` gives something of a contract.
fn camel(name: &str) -> String {
    name.to_lower_camel_case()
}

fn is_part_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Whether a source exports an interface, by its full name or as `object`.
fn has_export(text: &str, interface: &str, object: &str) -> bool {
    text.split("export").skip(1).any(|rest| {
        let rest = rest.trim_start();
        if let Some(list) = rest.strip_prefix('{') {
            let mut items = list.split('}').next().unwrap_or_default().split(',');
            return items.any(|item| {
                let name = item.split_whitespace().next_back().unwrap_or_default().trim_matches(['"', '\'']);
                name == interface || name == object
            });
        }
        // What another file has is not searched.
        let mut words = rest.split(|c: char| !is_part_of_name(c)).filter(|word| !word.is_empty());
        rest.starts_with('*') || words.nth(1) == Some(object)
    })
}

/// Whether a source seems to define a function of that name.
fn has_function(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        let after = text.get(at..).and_then(|rest| rest.strip_prefix(name)).unwrap_or_default();
        is_definition(before, after)
    })
}

/// Whether a name between these texts is defined there, and not only used.
fn is_definition(before: &str, after: &str) -> bool {
    if before.ends_with(is_part_of_name) || after.starts_with(is_part_of_name) || ends_in_comment(before) {
        return false;
    }
    let after = after.trim_start_matches(['"', '\'']).trim_start();
    if let Some(rest) = after.strip_prefix('(') {
        return !before.ends_with('.') && has_body(rest);
    }
    let is_assigned = after.starts_with('=') && !after.starts_with("==") && !after.starts_with("=>");
    let is_listed = after.starts_with([',', '}']) && !before.ends_with('.') && !ends_in_import(before);
    after.starts_with(':') || is_assigned || is_listed
}

/// Whether a body follows the parameters that `rest` begins with: a call has none.
fn has_body(rest: &str) -> bool {
    let mut depth = 1_usize;
    let parameters = rest.split_once(|c: char| {
        match c {
            '(' => depth = depth.saturating_add(1),
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    });
    parameters.is_some_and(|(_, body)| body.trim_start().starts_with('{'))
}

fn ends_in_comment(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default();
    line.trim_start().starts_with('*') || line.replace("://", "").contains("//")
}

fn ends_in_import(before: &str) -> bool {
    let statement = before.rsplit_once('{').and_then(|(head, _)| head.rsplit(['\n', ';']).next());
    statement.is_some_and(|statement| statement.trim_start().starts_with("import"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_syntax_error_is_read_from_what_node_prints() {
        let printed = "[stdin]:4\n  const y = ;\n            ^\n\nSyntaxError: Unexpected token ';'\n    at checkSyntax \
                       (node:internal/main/check_syntax:74:5)\n\nNode.js v20.20.2\n";
        assert_eq!(place_and_error(printed).as_deref(), Some("4:13: SyntaxError: Unexpected token ';'"));
        let at_the_end = "[stdin]:2\n\n\n\nSyntaxError: Unexpected end of input\n    at checkSyntax\n";
        assert_eq!(place_and_error(at_the_end).as_deref(), Some("2: SyntaxError: Unexpected end of input"));
        let warned = format!("(node:7) Warning: something\n{printed}");
        assert_eq!(place_and_error(&warned), place_and_error(printed));
        for other in ["", "node: bad option: --input-type\n", "[stdin]:4\n", "[stdin]:1\na\n^\n\nError: no syntax\n"] {
            assert_eq!(place_and_error(other), None, "{other}");
        }
    }

    #[test]
    fn a_function_is_found_in_every_form_of_its_definition_and_not_in_its_uses() {
        for defined in [
            "const store = {\n  get(key) {\n    return 1;\n  },\n};",
            "const store = { get: (key) => find(key) };",
            "const store = { \"get\"(key) { return (1); } };",
            "function get(key = (1)) {}",
            "async function get(\n  key,\n) {}",
            "const get = (key) => key;",
            "Store.prototype.get = function (key) {};",
            "const store = { set, get };",
            "const store = {\n  get,\n  set,\n};",
        ] {
            assert!(has_function(defined, "get"), "{defined}");
        }
        for used in [
            "import { get, set } from \"acme:links/store@0.1.0\";",
            "const value = map.get(key);",
            "const value = get(key);",
            "if (get(key)) { set(key); }",
            "// get(key) { is to be written",
            "/**\n * get: reads\n */",
            "const getter = 1; const forget = { forget(a) {} };",
            "get === set",
            "get => 1",
        ] {
            assert!(!has_function(used, "get"), "{used}");
        }
    }

    #[test]
    fn an_interface_is_exported_by_its_full_name_or_its_own() {
        let full = "acme:links/link-store@0.1.0";
        for exported in [
            "export { values as \"acme:links/link-store@0.1.0\" };",
            "export {\n  a as \"acme:a/b\",\n  values as 'acme:links/link-store@0.1.0',\n};",
            "export const linkStore = {};",
            "export { values as linkStore };",
            "export { linkStore };",
            "export * from \"./links.js\";",
        ] {
            assert!(has_export(exported, full, &camel("link-store")), "{exported}");
        }
        for other in ["import { get } from \"acme:links/link-store@0.1.0\";", "export { linkStore as other };", ""] {
            assert!(!has_export(other, full, &camel("link-store")), "{other}");
        }
    }

    #[test]
    fn exports_that_a_contract_asks_for_and_no_source_has_are_named_with_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let component = |name: &str, command: &str| {
            format!(
                "[component.{name}]\nsource = \"{name}.wasm\"\n[component.{name}.tool.souk]\nexports = \
                 [\"acme:links/store@0.1.0\"]\n[component.{name}.build]\ncommand = \"{command}\"\nwatch = \
                 [\"{name}/*.js\"]\n"
            )
        };
        let head = "spin_manifest_version = 2\n[application]\nname = \"t\"\n";
        let components = [
            component("store", "npx componentize-js store/app.js --out store.wasm"),
            component("empty", "npx componentize-js empty/main.js --out empty.wasm"),
            component("whole", "npx componentize-js whole/app.js --out whole.wasm"),
            component("rust", "cargo build && npm run assets"),
        ];
        write("spin.toml", &format!("{head}{}", components.concat()));
        write(
            "wit/links/store.wit",
            "package acme:links@0.1.0;\ninterface store {\n  get: func(key: string) -> string;\n  remove-all: \
             func(of-key: string, now: bool);\n}\n",
        );
        let export = "export { values as \"acme:links/store@0.1.0\" };\n";
        write("store/app.js", &format!("const values = {{\n  get(key) {{ return key; }},\n}};\n{export}"));
        write("store/help.js", "removeAll(1);\n");
        write("empty/help.js", "export function get(key) {}\n");
        write("empty/main.js", "addEventListener(\"fetch\", () => {});\n");
        write("whole/app.js", &format!("const values = {{ get(key) {{}}, removeAll(key, now) {{}} }};\n{export}"));
        write("rust/page.js", "addEventListener(\"load\", () => {});\n");
        let plan = souk_manifest::load_build_only(&folder.path().join("spin.toml")).unwrap();
        let contracts = Contracts::read(&folder.path().join("wit")).unwrap();
        let missing = |component: &str| missing_exports(&plan, &plan.components[component], &contracts);
        let object = "write `removeAll(ofKey, now) { ... }` in the object that it exports";
        let store = format!("store/app.js exports `acme:links/store@0.1.0` without its function `removeAll`: {object}");
        assert_eq!(missing("store"), [store]);
        let empty = "empty/main.js does not export `acme:links/store@0.1.0`: write `const store = { get(key) { ... }, \
                     removeAll(ofKey, now) { ... } };` and `export { store as \"acme:links/store@0.1.0\" };`";
        assert_eq!(missing("empty"), [empty]);
        assert_eq!(missing("whole"), [""; 0]);
        let built = |component: &str| is_javascript(&plan.components[component]);
        assert!(built("store") && !built("rust"), "its scripts are for browsers");
    }
}
