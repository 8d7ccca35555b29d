//! `souk build`: runs the components' build commands.
//!
//! Commands that run in the same folder run one after another, because build tools lock their folder; folders are built
//! side by side. The first command that fails stops the build.

use super::{From, output};
use crate::manifest;
use anyhow::{Context, bail};
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::process::Command;
use tokio::task::JoinSet;

/// The target that components are built for.
pub const TARGET: &str = "wasm32-wasip2";

/// The arguments of `souk build`.
#[derive(Debug, Args)]
pub struct Build {
    #[command(flatten)]
    from: From,
}

impl Build {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        run(&self.from.manifest()).await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Builds every component of the manifest.
pub(super) async fn run(manifest: &Path) -> anyhow::Result<()> {
    let plan = manifest::load_build_only(manifest)?;
    let mut folders: BTreeMap<PathBuf, Vec<(String, String)>> = BTreeMap::new();
    for (component, step) in plan.components {
        let Some(build) = step.build else { continue };
        let commands = folders.entry(build.workdir.clone()).or_default();
        for command in &build.commands {
            if !commands.iter().any(|(_, known)| known == command) {
                commands.push((component.clone(), command.clone()));
            }
        }
    }
    let mut tasks = JoinSet::new();
    for (folder, commands) in folders {
        if commands.iter().any(|(_, command)| command.contains(TARGET)) {
            ensure_target(&folder).await?;
        }
        tasks.spawn(async move {
            for (component, command) in commands {
                build_one(&component, &command, &folder).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        // Dropping the set ends the other commands.
        done??;
    }
    Ok(())
}

async fn build_one(component: &str, command: &str, folder: &Path) -> anyhow::Result<()> {
    output::note(&format!(" building {component}: {command}"));
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .current_dir(folder)
        .process_group(0)
        .spawn()
        .with_context(|| format!("component `{component}`: `sh` does not start in {}", folder.display()))?;
    let group = Group(child.id());
    let status = child.wait().await?;
    group.ended();
    if !status.success() {
        bail!(
            "component `{component}`: `{command}` failed ({status})\n  fix: its own messages are above; run it in {}",
            folder.display()
        );
    }
    Ok(())
}

/// The processes of a build command; all of them are ended when another command fails first.
struct Group(Option<u32>);

impl Group {
    /// The command has ended by itself.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // `kill` is the safe way to signal a group; it ends at once.
            let _ = std::process::Command::new("kill").args(["-TERM", "--", &format!("-{leader}")]).status();
        }
    }
}

/// Whether the toolchain of `folder` has the target's standard library.
pub(super) async fn has_target(folder: &Path) -> bool {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .kill_on_drop(true)
        .output()
        .await;
    output.is_ok_and(|o| o.status.success() && Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_dir())
}

/// Adds the target through rustup where it is missing: a toolchain file names it, but does not install it by itself
/// everywhere.
async fn ensure_target(folder: &Path) -> anyhow::Result<()> {
    if has_target(folder).await {
        return Ok(());
    }
    output::note(&format!(" adding the target {TARGET} (rustup target add {TARGET})"));
    let status =
        Command::new("rustup").args(["target", "add", TARGET]).current_dir(folder).kill_on_drop(true).status().await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            bail!("`rustup target add {TARGET}` failed ({status})\n  fix: run it by hand, then build again")
        }
        Err(error) => bail!(
            "the target {TARGET} is missing, and rustup does not start: {error}\n  fix: install the target with the tool \
             that installed Rust"
        ),
    }
}
