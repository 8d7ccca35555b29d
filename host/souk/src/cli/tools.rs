//! The tools that an application's build commands need, for `souk doctor`.
//!
//! Only tools that a build command names are checked: an application in Python needs no Rust. A missing tool is not a
//! mistake: the host may run components that were built elsewhere.

use super::build::{BuildEnvironment, TARGETS, has_target, needs_target};
use crate::admin::examine::Level;
use souk_manifest::BuildPlan;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A program that builds components.
struct Tool {
    /// Its name in the report.
    name: &'static str,
    program: &'static str,
    /// The programs in build commands that need it.
    needed_by: &'static [&'static str],
}

const RUST: Tool = Tool { name: "toolchain", program: "rustc", needed_by: &["cargo", "rustc"] };

const TOOLS: [Tool; 5] = [
    RUST,
    Tool { name: "cargo", program: "cargo", needed_by: &["cargo"] },
    Tool { name: "node", program: "node", needed_by: &["node", "npm", "npx"] },
    Tool { name: "npm", program: "npm", needed_by: &["npm", "npx"] },
    Tool { name: "python3", program: "python3", needed_by: &["python3", "python", "pip", "componentize-py"] },
];

/// A result of the checks.
pub(super) struct Found {
    pub(super) name: &'static str,
    /// `None` for information that is neither good nor wrong.
    pub(super) level: Option<Level>,
    pub(super) text: String,
}

/// Checks the tools of an application's build commands, each in the first folder that it is needed in.
pub(super) async fn check(plan: &BuildPlan, environment: &BuildEnvironment) -> Vec<Found> {
    let (mut folders, mut components): (BTreeMap<_, &Path>, BTreeMap<_, BTreeSet<&str>>) = Default::default();
    let mut targets: BTreeMap<&str, &Path> = BTreeMap::new();
    for (component, step) in &plan.components {
        let Some(build) = &step.build else { continue };
        for command in &build.commands {
            for tool in TOOLS.iter().filter(|tool| tool.is_needed(command)) {
                folders.entry(tool.name).or_insert(&build.workdir);
                components.entry(tool.name).or_default().insert(component);
            }
            for target in TARGETS.into_iter().filter(|target| needs_target(command, target)) {
                targets.entry(target).or_insert(&build.workdir);
            }
        }
    }
    let (mut found, mut has_rust) = (Vec::new(), false);
    for tool in &TOOLS {
        let (Some(folder), Some(built)) = (folders.get(tool.name), components.get(tool.name)) else { continue };
        let version = version(tool.program, folder, environment).await;
        has_rust |= tool.name == RUST.name && version.is_some();
        let level = version.as_ref().map(|_| Level::Ok);
        let text = version.unwrap_or_else(|| {
            let built: Vec<&str> = built.iter().copied().collect();
            format!("there is no {}: {} cannot be built here", tool.program, built.join(", "))
        });
        found.push(Found { name: tool.name, level, text });
    }
    for (target, folder) in targets.into_iter().filter(|_| has_rust) {
        let (level, text) = match has_target(folder, target, environment).await {
            true => (Level::Ok, target.to_owned()),
            false => (Level::Wrong, format!("{target} is missing\n  fix: rustup target add {target}")),
        };
        found.push(Found { name: "target", level: Some(level), text });
    }
    found
}

impl Tool {
    /// Whether a build command names a program that needs the tool, by whatever path.
    fn is_needed(&self, command: &str) -> bool {
        let mut words = command.split(|c: char| c.is_whitespace() || "|&;()'\"`$={}".contains(c));
        words.any(|word| word.rsplit('/').next().is_some_and(|program| self.needed_by.contains(&program)))
    }
}

/// The version of `program`, as it says; `None` when it does not run.
async fn version(program: &str, folder: &Path, environment: &BuildEnvironment) -> Option<String> {
    let mut command = environment.command(program);
    let output = command.arg("--version").current_dir(folder).kill_on_drop(true).output().await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_needed_where_a_build_command_names_it() {
        for (command, expected) in [
            ("cargo rustc -p web --target wasm32-wasip2", &["toolchain", "cargo"][..]),
            ("CARGO_TERM_QUIET=true cargo build", &["toolchain", "cargo"]),
            ("[ -d node_modules ] || npm install", &["node", "npm"]),
            ("npx componentize-js web/app.js --out web/web.wasm", &["node", "npm"]),
            ("node build.mjs", &["node"]),
            (".venv/bin/pip install --requirement requirements.txt", &["python3"]),
            (". .venv/bin/activate && componentize-py --world root componentize app", &["python3"]),
            ("[ -d .venv ] || (python3 -m venv .venv)", &["python3"]),
            ("go build -o cargo.wasm", &[]),
        ] {
            let needed: Vec<&str> = TOOLS.iter().filter(|tool| tool.is_needed(command)).map(|tool| tool.name).collect();
            assert_eq!(needed, expected, "{command}");
        }
    }
}
