//! `souk wit`: writes the files that binding generators need for each component, and shows how to call the generators.
//!
//! `souk build` writes the same files before it builds. It continues if a contract is missing, since a component may
//! have other bindings; this command fails.

use super::{ManifestArg, output};
use crate::contracts::{Contracts, FILE};
use anyhow::Context as _;
use clap::Args;
use souk_manifest::{BuildPlan, BuildStep};
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
            output::line(&format!("{component}: {}", path.display()));
            output::line("  Rust        spin_sdk::dependencies!();");
            output::line(&format!("  JavaScript  npx jco types --world-name root --out-dir types {FILE}"));
            output::line(&format!("  Python      componentize-py --wit-path {FILE} --world root bindings ."));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the files of all components that have their own folder, and returns those components and files. An unchanged
/// file is not touched, so that no build tool rebuilds. A `strict` run fails for a file that cannot be written;
/// otherwise that is a warning.
pub(super) fn write(plan: &BuildPlan, strict: bool) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let wanted = own_folders(plan);
    let folder = plan.dir.join("wit");
    if wanted.is_empty() || (!strict && !folder.is_dir()) {
        return Ok(Vec::new());
    }
    let contracts = Contracts::read(&folder)?;
    let mut written = Vec::new();
    for (name, step, workdir) in wanted {
        let text = match contracts.dependencies(&step.imports, &step.exports) {
            Ok(text) => text,
            Err(error) if strict => anyhow::bail!("component `{name}`: {error}"),
            Err(error) => {
                output::note(&format!("warning: component `{name}`: {FILE} is not written: {error}"));
                continue;
            }
        };
        let path = workdir.join(FILE);
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            std::fs::write(&path, text).with_context(|| format!("component `{name}`: {}", path.display()))?;
        }
        written.push((name.to_owned(), path));
    }
    Ok(written)
}

/// The components with contracts that are built in their own folder. If several components share a folder, the file
/// would not match any of them.
fn own_folders(plan: &BuildPlan) -> Vec<(&str, &BuildStep, &Path)> {
    let mut folders: BTreeMap<&Path, Vec<(&str, &BuildStep)>> = BTreeMap::new();
    for (name, step) in &plan.components {
        if let Some(build) = &step.build {
            folders.entry(&build.workdir).or_default().push((name, step));
        }
    }
    let alone = folders.into_iter().filter_map(|(folder, components)| match components.as_slice() {
        [(name, step)] if !step.imports.is_empty() || !step.exports.is_empty() => Some((*name, *step, folder)),
        _ => None,
    });
    alone.collect()
}
