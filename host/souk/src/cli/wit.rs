//! `souk wit`: writes the files that binding generators need for each component, and shows how to call the generators.
//!
//! `souk build` writes the same files before it builds. If a contract is missing, it refuses a component whose build
//! reads the file: with the file of an earlier build, its generator would fail with an error that names neither the
//! contract nor the manifest. A component with other bindings is built, with a warning; this command fails for it too.

use super::{ManifestArg, output};
use crate::contracts::{ContractError, Contracts, FILE};
use crate::sources::watched;
use anyhow::Context as _;
use clap::Args;
use souk_manifest::{Build, BuildPlan, BuildStep, Diagnostic, ManifestErrors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The arguments of `souk wit`.
#[derive(Debug, Args)]
#[command(after_help = "A component's file is written into the folder in which it is built (`workdir` under \
                        [component.NAME.build]),\nfrom its dependencies, what others depend on, and its `exports`.")]
pub(super) struct Wit {
    #[command(flatten)]
    manifest: ManifestArg,
}

impl Wit {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let plan = souk_manifest::load_build_only(&self.manifest.path()?)?;
        let written = write(&plan, true)?;
        if written.is_empty() {
            output::note(
                "no component needs a file: none has both a link to or from another component and its own folder",
            );
        }
        for (component, path) in written {
            let file = path.display();
            output::line(&format!("{component}: {file}"));
            output::line("  Rust        spin_sdk::dependencies!();");
            output::line(&format!("  JavaScript  npx jco types --world-name root --out-dir types {file}"));
            output::line(&format!("  Python      componentize-py --wit-path {file} --world root bindings ."));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the files of all components that have their own folder, and returns those components and files. An unchanged
/// file is not touched, so that no build tool rebuilds. It fails for a file that cannot be written; unless it is
/// `strict`, that is a warning for a component whose build does not read the file.
pub(super) fn write(plan: &BuildPlan, strict: bool) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut wanted = own_files(plan);
    let folder = plan.dir.join("wit");
    if !strict && !folder.is_dir() {
        wanted.retain(|(_, step, _)| needs_file(step));
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let contracts = Contracts::read(&folder)?;
    let (mut texts, mut mistakes) = (Vec::new(), Vec::new());
    for (name, step, path) in wanted {
        let error = match contracts.dependencies(&step.imports, &step.exports) {
            Ok(text) => {
                texts.push((name, path, text));
                continue;
            }
            Err(error) => error,
        };
        let missing = missing(plan, &contracts, step);
        let is_unknown = matches!(error, ContractError::Missing { .. }) && missing.is_empty();
        if !strict && (is_unknown || !reads_file(step, &path)) {
            output::note(&format!("warning: component `{name}`: {FILE} is not written: {error}"));
        } else if missing.is_empty() {
            anyhow::bail!("component `{name}`: {error}");
        } else {
            mistakes.extend(missing);
        }
    }
    ManifestErrors::check(mistakes)?;
    let mut written = Vec::new();
    for (name, path, text) in texts {
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            std::fs::write(&path, text).with_context(|| format!("component `{name}`: {}", path.display()))?;
        }
        written.push((name.to_owned(), path));
    }
    Ok(written)
}

/// The contracts of a component that no file has, each at the lines of the manifest that name it. Those of code from
/// elsewhere are left out: it may bring its own WIT.
fn missing(plan: &BuildPlan, contracts: &Contracts, step: &BuildStep) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    for name in step.imports.iter().chain(&step.exports) {
        let Err(ContractError::Missing { folder, wanted, fix }) = contracts.find(name) else { continue };
        for named in plan.contracts.iter().filter(|named| named.name == *name) {
            mistakes.push(Diagnostic {
                file: plan.manifest.clone(),
                line: Some(named.line),
                component: Some(named.component.clone()),
                message: format!("no file in {} contains `{wanted}`", folder.display()),
                fix: fix.clone(),
            });
        }
    }
    mistakes
}

/// Whether a component's build reads the file: a command or a source names it, or a source in Rust calls
/// `spin_sdk::dependencies!()`. Without a list of its sources, whether an earlier build wrote the file.
fn reads_file(step: &BuildStep, path: &Path) -> bool {
    let Some(build) = &step.build else { return false };
    let names = |text: String| text.contains(FILE) || text.contains("dependencies!(");
    match build.watch.is_empty() {
        _ if needs_file(step) => true,
        true => path.is_file(),
        false => watched(build).any(|source| std::fs::read_to_string(source).is_ok_and(names)),
    }
}

/// The components that have contracts, or whose build reads the file, each with its file. A file in a folder in which
/// several components are built would match none of them, so it is written only where a command names it.
fn own_files(plan: &BuildPlan) -> Vec<(&str, &BuildStep, PathBuf)> {
    let mut folders: BTreeMap<&Path, usize> = BTreeMap::new();
    for build in plan.components.values().filter_map(|step| step.build.as_ref()) {
        *folders.entry(&build.workdir).or_default() += 1;
    }
    let own = plan.components.iter().filter_map(|(name, step)| {
        let build = step.build.as_ref()?;
        let alone = folders.get(build.workdir.as_path()) == Some(&1);
        let has_contracts = !step.imports.is_empty() || !step.exports.is_empty();
        let wanted = names_own(name, build) || (alone && (has_contracts || needs_file(step)));
        wanted.then(|| (name.as_str(), step, file(name, build)))
    });
    own.collect()
}

/// The file of a component: in its own folder where a command says so (`NAME/spin-dependencies.wit`), otherwise in the
/// folder in which it is built.
pub(super) fn file(component: &str, build: &Build) -> PathBuf {
    let folder = if names_own(component, build) { build.workdir.join(component) } else { build.workdir.clone() };
    folder.join(FILE)
}

fn names_own(component: &str, build: &Build) -> bool {
    let own = format!("{component}/{FILE}");
    let names = |command: &String| command.split_whitespace().any(|word| word.trim_start_matches("./") == own);
    build.commands.iter().any(names)
}

/// Whether a component's build reads the file, also while the component has no link.
fn needs_file(step: &BuildStep) -> bool {
    step.build.iter().flat_map(|build| &build.commands).any(|command| command.contains(FILE))
}
