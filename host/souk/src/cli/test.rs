//! `souk test`: builds the application, starts it on a free port with a separate state folder, and runs the command of
//! `[application.tool.souk.test]` with the application's URL.
//!
//! The host runs as a separate process, so that the application is tested as it will run and the host's log stays apart
//! from the command's output: the log is shown only when the command fails.

use super::build::BuildEnvironment;
use super::{ManifestArg, build, output, progress, state_beside};
use anyhow::Context as _;
use clap::Args;
use rustix::process::{Pid, Signal};
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of `souk test`.
    pub(crate) const FIXED_LIMITS = "process";

    /// How long `souk test` waits for the application to answer while its log says nothing new. A host that compiles
    /// large components, as those in JavaScript and Python are, says so every five seconds.
    const TEST_START_TIMEOUT: Duration = Duration::from_secs(120);
    /// How often `souk test` checks whether the application answers.
    const TEST_POLL_INTERVAL: Duration = Duration::from_millis(10);
}

/// The arguments of `souk test`.
#[derive(Debug, Args)]
#[command(
    after_help = "The command runs in the folder of the manifest, with these in its environment: SOUK_URL (where the\n\
                        application answers), SOUK_STATE_DIR, SOUK_MANIFEST and SOUK_PROGRAM (for `souk call` and\n\
                        `souk events`). Variables of the application are those of this environment and of .env."
)]
pub(super) struct Test {
    #[command(flatten)]
    manifest: ManifestArg,
    /// Run this instead of the manifest's command
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Test {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let manifest = std::path::absolute(self.manifest.path()?)?;
        let plan = souk_manifest::load_build_only(&manifest)?;
        let command = match (self.command.as_slice(), &plan.test) {
            ([], Some(command)) => vec!["sh".to_owned(), "-c".to_owned(), command.clone()],
            ([], None) if plan.components.is_empty() => {
                anyhow::bail!("{} has no component to test\n  fix: souk add web --http /...", manifest.display())
            }
            ([], None) => anyhow::bail!(
                "{} does not say how the application is tested\n  fix: write\n    [application.tool.souk.test]\n    command \
                 = \"cargo test\"",
                manifest.display()
            ),
            (command, _) => command.to_vec(),
        };
        let folder = tempfile::TempDir::with_prefix("souk-test-")?;
        let (state, log) = (folder.path().join("state"), folder.path().join("log"));
        let request = build::BuildRequest {
            manifest: &manifest,
            runtime_config: None,
            components: &[],
            state: &state,
            names_unchanged: true,
        };
        build::run(request, false).await?;
        share_compiled(&state_beside(&manifest).join("cache"), &state);
        let program = std::env::current_exe()?;
        let mut host = start(&program, &manifest, &state, &folder.path().join("port"), &log)?;
        let port = wait(&mut host, &folder.path().join("port"), &log).await?;
        let [name, arguments @ ..] = command.as_slice() else { anyhow::bail!("there is no command") };
        let environment = BuildEnvironment::of(&manifest, None);
        let status = environment
            .command(name)
            .args(arguments)
            .current_dir(&plan.dir)
            .env("SOUK_URL", format!("http://127.0.0.1:{port}"))
            .env("SOUK_STATE_DIR", &state)
            .env("SOUK_MANIFEST", &manifest)
            .env("SOUK_PROGRAM", &program)
            .env("SOUK_BUILT", "1")
            .kill_on_drop(true)
            .status()
            .await
            .with_context(|| format!("`{name}` does not start"))?;
        stop(&mut host).await;
        if status.success() {
            return Ok(ExitCode::SUCCESS);
        }
        output::note(&format!("the application's log:\n{}", read_log(&log)));
        anyhow::bail!("`{}` failed ({status})", command.last().map_or("", String::as_str))
    }
}

/// Links the compiled components in `cache` into the test's state folder: compiling is the only slow part of a start.
/// If this fails, the test still works.
fn share_compiled(cache: &Path, state: &Path) {
    for folder in [cache, state] {
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    }
    let _ = cache.canonicalize().and_then(|cache| symlink(cache, state.join("cache")));
}

/// Starts the host.
fn start(program: &Path, manifest: &Path, state: &Path, port: &Path, log: &Path) -> anyhow::Result<Child> {
    let log = std::fs::File::create(log)?;
    let mut up = Command::new(program);
    up.args(["up", "--listen", "127.0.0.1:0", "--from"]).arg(manifest).arg("--state-dir").arg(state);
    up.arg("--port-file").arg(port).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Ok(up.kill_on_drop(true).spawn()?)
}

/// Waits until the host answers, and returns its port. Says what the host compiles, which can take long.
async fn wait(host: &mut Child, file: &Path, log: &Path) -> anyhow::Result<u16> {
    let (mut said, mut since, mut told) = (0, Instant::now(), 0);
    loop {
        let says = std::fs::metadata(log).map_or(0, |log| log.len());
        if says != said {
            (said, since) = (says, Instant::now());
            let text = read_log(log);
            let compiling = progress::compiling_in(&text);
            compiling.iter().skip(told).for_each(|line| output::note(line));
            told = compiling.len();
        }
        if let Some(port) = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()) {
            return Ok(port);
        }
        if host.try_wait()?.is_some() {
            anyhow::bail!("the application does not start:\n{}", read_log(log).trim_end());
        }
        anyhow::ensure!(since.elapsed() < TEST_START_TIMEOUT, "the application does not answer:\n{}", read_log(log));
        tokio::time::sleep(TEST_POLL_INTERVAL).await;
    }
}

/// Stops the host as an operator does. The test's result does not depend on how it ends.
async fn stop(host: &mut Child) {
    let process = host.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if process.is_none_or(|process| rustix::process::kill_process(process, Signal::TERM).is_err()) {
        let _ = host.start_kill();
    }
    let _ = host.wait().await;
}

fn read_log(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}
