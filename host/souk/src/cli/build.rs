//! `souk build`: runs the components' build commands.
//!
//! Commands that run in the same folder run one after another, because build tools lock their folder; folders are built
//! side by side. The first command that fails stops the build. A command that runs alone has the terminal for itself;
//! of several that run at once each line begins with the components that it is for.

use super::{ManifestArg, output};
use anyhow::{Context, bail};
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::task::JoinSet;

/// The target that components are built for.
pub const TARGET: &str = "wasm32-wasip2";

/// The arguments of `souk build`.
#[derive(Debug, Args)]
pub struct Build {
    #[command(flatten)]
    manifest: ManifestArg,
}

impl Build {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        run(&self.manifest.path()).await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Builds every component of the manifest.
pub(super) async fn run(manifest: &Path) -> anyhow::Result<()> {
    let plan = souk_manifest::load_build_only(manifest)?;
    let start = Instant::now();
    let mut built = Vec::new();
    let mut folders: BTreeMap<PathBuf, Vec<Step>> = BTreeMap::new();
    for (component, step) in plan.components {
        let Some(build) = step.build else { continue };
        let steps = folders.entry(build.workdir).or_default();
        for command in build.commands {
            // A command that builds several components runs once.
            match steps.iter_mut().find(|step| step.command == command) {
                Some(step) if step.components.contains(&component) => {}
                Some(step) => step.components.push(component.clone()),
                None => steps.push(Step { components: vec![component.clone()], command }),
            }
        }
        built.push(component);
    }
    if built.is_empty() {
        output::note(" nothing to build: no component has a build command");
        return Ok(());
    }
    let alone = folders.len() == 1;
    let mut tasks = JoinSet::new();
    for (folder, steps) in folders {
        if steps.iter().any(|step| step.command.contains(TARGET)) {
            ensure_target(&folder).await?;
        }
        tasks.spawn(async move {
            for step in steps {
                step.run(&folder, alone).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        // Dropping the set ends the other commands.
        done??;
    }
    output::note(&format!("    built {} in {:.1} s", built.join(", "), start.elapsed().as_secs_f64()));
    Ok(())
}

/// One command, and the components that it builds.
struct Step {
    components: Vec<String>,
    command: String,
}

impl Step {
    async fn run(&self, folder: &Path, alone: bool) -> anyhow::Result<()> {
        let (components, command) = (self.components.join(", "), &self.command);
        output::note(&format!(" building {components}: {command}"));
        let stdio = || if alone { Stdio::inherit() } else { Stdio::piped() };
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(command)
            .current_dir(folder)
            .process_group(0)
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .with_context(|| format!("component `{components}`: `sh` does not start in {}", folder.display()))?;
        let group = Group(child.id());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        tokio::join!(pass_on(out, &components, output::line), pass_on(err, &components, output::note));
        let status = child.wait().await?;
        group.ended();
        if !status.success() {
            bail!(
                "component `{components}`: `{command}` failed ({status})\n  fix: its own messages are above; run it in {}",
                folder.display()
            );
        }
        Ok(())
    }
}

/// Prints the lines of `stream`, if it was not handed the terminal, each after the `components` that it is about.
async fn pass_on(stream: Option<impl AsyncRead + Unpin>, components: &str, print: fn(&str)) {
    let Some(stream) = stream else { return };
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        print(&format!("{components}: {}", String::from_utf8_lossy(&line)));
    }
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
