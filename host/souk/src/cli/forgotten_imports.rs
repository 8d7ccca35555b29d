//! Why a build in JavaScript or Python may have failed: the source imports an interface that the manifest does not give
//! the component, so that it is not in the component's world. The tools only say that there is no such module.
//!
//! The sources are searched as text, and only after a build has failed: a wrong guess costs a line then, and no build.

use crate::contracts::Contracts;
use crate::sources::watched;
use souk_manifest::{BuildPlan, BuildStep, DependencyName};
use souk_runtime::is_host_interface;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The fixes for what the `components` import and the manifest does not name.
pub(super) fn fixes(plan: &BuildPlan, components: &[String]) -> Vec<String> {
    // A mistake in the contracts is reported elsewhere.
    let known = Contracts::read(&plan.dir.join("wit")).map(|contracts| interfaces(&contracts)).unwrap_or_default();
    let mut fixes = Vec::new();
    for (component, step) in plan.components.iter().filter(|(component, _)| components.contains(component)) {
        for (file, text) in sources(step) {
            for import in forgotten(&file, &text, step, &known) {
                let shown = file.strip_prefix(&plan.dir).unwrap_or(&file).display();
                fixes.push(format!("{shown} imports `{import}`: {}", fix(plan, component, &import)));
            }
        }
    }
    fixes
}

/// All interfaces, as `PACKAGE/INTERFACE@VERSION`.
fn interfaces(contracts: &Contracts) -> Vec<String> {
    let mut all = Vec::new();
    for (package, interfaces) in contracts.packages() {
        let (name, version) = package.split_once('@').map_or((package, None), |(name, version)| (name, Some(version)));
        let version = version.map(|version| format!("@{version}")).unwrap_or_default();
        all.extend(interfaces.iter().map(|interface| format!("{name}/{interface}{version}")));
    }
    all
}

/// The watched sources of a component in JavaScript or Python, each with its text.
pub(super) fn sources(step: &BuildStep) -> Vec<(PathBuf, String)> {
    let is_script = |file: &PathBuf| {
        file.extension().and_then(|kind| kind.to_str()).is_some_and(|kind| ["js", "mjs", "ts", "py"].contains(&kind))
    };
    let files = step.build.iter().flat_map(watched).filter(is_script);
    files.filter_map(|file| std::fs::read_to_string(&file).ok().map(|text| (file, text))).collect()
}

/// The interfaces that a source imports and its component does not.
fn forgotten(file: &Path, text: &str, step: &BuildStep, known: &[String]) -> BTreeSet<String> {
    let mut forgotten = BTreeSet::new();
    if file.extension().is_none_or(|kind| kind != "py") {
        for module in modules(text) {
            let Some(import) = DependencyName::parse(module).ok().filter(|import| import.interface.is_some()) else {
                continue;
            };
            if !step.imports.iter().any(|declared| declared.overlaps(&import)) {
                forgotten.insert(module.to_owned());
            }
        }
        return forgotten;
    }
    // An imported interface brings others of its package that have its types.
    let is_there = |interface: &&String| {
        let package = interface.split('/').next();
        step.imports.iter().any(|declared| Some(declared.package.as_str()) == package)
    };
    for module in python_modules(text) {
        let named: Vec<&String> = known.iter().filter(|interface| is_module(interface, module)).collect();
        if let Some(first) = named.first()
            && !named.iter().any(is_there)
        {
            forgotten.insert((*first).clone());
        }
    }
    forgotten
}

/// The modules that a source in JavaScript imports.
fn modules(text: &str) -> Vec<&str> {
    let mut modules = Vec::new();
    for word in ["from", "import"] {
        for rest in text.split(word).skip(1) {
            let rest = rest.trim_start().trim_start_matches('(');
            let quoted = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
            let quoted = quoted.or_else(|| rest.strip_prefix('\'')?.split_once('\''));
            modules.extend(quoted.map(|(module, _)| module));
        }
    }
    modules
}

/// The modules of interfaces that a source in Python imports.
fn python_modules(text: &str) -> Vec<&str> {
    let mut modules = Vec::new();
    for rest in text.split("wit_world.imports").skip(1) {
        if let Some(rest) = rest.strip_prefix('.') {
            modules.extend(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next());
            continue;
        }
        let Some(rest) = rest.trim_start().strip_prefix("import") else { continue };
        let list = match rest.trim_start().strip_prefix('(') {
            Some(list) => list.split(')').next(),
            None => rest.lines().next(),
        };
        let names = list.unwrap_or_default().split(',');
        modules.extend(names.filter_map(|name| name.split_whitespace().next()));
    }
    modules
}

/// Whether `componentize-py` gives an interface this name, alone or beside an SDK.
fn is_module(interface: &str, module: &str) -> bool {
    let own = interface.rsplit('/').next().and_then(|name| name.split('@').next()).unwrap_or_default();
    own.replace('-', "_") == module || interface.replace([':', '/', '@', '.', '-'], "_") == module
}

fn fix(plan: &BuildPlan, component: &str, import: &str) -> String {
    let exports = |step: &BuildStep| step.exports.iter().any(|export| export.covers(import));
    match plan.components.iter().find(|(name, step)| *name != component && exports(step)) {
        Some((exporter, _)) => format!(
            "write \"{import}\" = {{ component = \"{exporter}\" }} under [component.{component}.dependencies], as `souk \
             add --link {component} {exporter}` does"
        ),
        None if is_host_interface(import) => {
            format!("name it under [component.{component}.tool.souk]: `imports = [\"{import}\"]`")
        }
        None => format!("no component exports it; `souk add NAME --exports {import}` creates one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_source_imports_and_the_manifest_does_not_name_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let build = |name: &str, kind: &str| {
            format!(
                "[component.{name}]\nsource = \"{name}.wasm\"\n[component.{name}.build]\ncommand = \"true\"\nwatch = \
                 [\"{name}/*.{kind}\"]\n"
            )
        };
        let exports = "[component.store.tool.souk]\nexports = [\"acme:links/store@0.1.0\"]\n";
        let link = "[component.linked.dependencies]\n\"acme:links/store@0.1.0\" = { component = \"store\" }\n";
        let head = "spin_manifest_version = 2\n[application]\nname = \"t\"\n";
        let names = ["web", "page", "linked", "store"];
        let components =
            [build("web", "js"), build("page", "py"), build("linked", "js"), build("store", "js")].concat();
        write("spin.toml", &format!("{head}{components}{exports}{link}"));
        write("wit/links/store.wit", "package acme:links@0.1.0;\ninterface store { get: func() -> string; }\n");
        write(
            "wit/deps/spin/variables.wit",
            "package fermyon:spin@2.0.0;\ninterface variables { get: func() -> string; }\n",
        );
        let both = "import { get } from \"acme:links/store@0.1.0\";\nimport {\n  read,\n} from \
                    'fermyon:spin/variables@2.0.0';\nimport help from \"./help.js\";\n";
        write("web/app.js", both);
        write("linked/app.js", "import { get } from \"acme:links/store@0.1.0\";\n");
        write("store/app.js", "import x from \"acme:other/thing@1.0.0\";\n");
        write("page/app.py", "from wit_world.imports import acme_links_store_0_1_0 as store, variables\nimport os\n");
        let plan = souk_manifest::load_build_only(&folder.path().join("spin.toml")).unwrap();
        let found = fixes(&plan, &names.map(str::to_owned));
        let link = |component: &str, file: &str| {
            format!(
                "{file} imports `acme:links/store@0.1.0`: write \"acme:links/store@0.1.0\" = {{ component = \"store\" }} \
                 under [component.{component}.dependencies], as `souk add --link {component} store` does"
            )
        };
        let host = |component: &str, file: &str| {
            format!(
                "{file} imports `fermyon:spin/variables@2.0.0`: name it under [component.{component}.tool.souk]: `imports \
                 = [\"fermyon:spin/variables@2.0.0\"]`"
            )
        };
        let none = "store/app.js imports `acme:other/thing@1.0.0`: no component exports it; `souk add NAME --exports \
                    acme:other/thing@1.0.0` creates one";
        let expected = [
            link("page", "page/app.py"),
            host("page", "page/app.py"),
            none.to_owned(),
            link("web", "web/app.js"),
            host("web", "web/app.js"),
        ];
        assert_eq!(found, expected);
        assert_eq!(fixes(&plan, &["linked".to_owned()]), [""; 0]);
    }

    #[test]
    fn modules_are_found_in_every_form_of_an_import() {
        let python = "from wit_world.imports.a_b import c\nfrom wit_world.imports import (\n    d as e,\n    f,\n)\n\
                      import wit_world.imports.g\nfrom wit_world import exports\n";
        assert_eq!(python_modules(python), ["a_b", "d", "f", "g"]);
        let javascript =
            "import \"a\";\nconst b = await import('b');\nexport { c } from \"c\";\nimport d, { e } from 'd';";
        assert_eq!(modules(javascript), ["c", "d", "a", "b"]);
    }
}
