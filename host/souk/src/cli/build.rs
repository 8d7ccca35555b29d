//! `souk build`: runs the components' build commands.
//!
//! Commands for the same folder run one after another, because build tools lock their folder; different folders are
//! built in parallel. So do commands for the packages of one workspace of Rust: cargo locks the workspace, and prints
//! that it waits. The first failing command stops the build. A command that runs alone gets the terminal. When several
//! run at once, each line of output begins with the names of its components.
//!
//! A build runs the build scripts of every dependency. They get the environment without the variables that hold the
//! application's values, which can be secrets: see [`BuildEnvironment`].

use super::{ManifestArg, forgotten_imports, javascript, output, stale, state_before_reading, wit};
use crate::fetch::{self, ComponentDownload};
use anyhow::{Context, bail};
use clap::Args;
use souk_runtime::report::sections;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The target that components are built for, and that of core modules, which older tools build.
pub(super) const TARGETS: [&str; 2] = ["wasm32-wasip2", "wasm32-wasip1"];

/// The arguments of `souk build`.
#[derive(Debug, Args)]
pub(super) struct Build {
    #[command(flatten)]
    manifest: ManifestArg,
    /// The component to build; may be given more than once [default: all]
    #[arg(short = 'c', long = "component-id", value_name = "COMPONENT", value_delimiter = ',')]
    components: Vec<String>,
    /// Where components from a URL are kept [default: the runtime configuration's, or .souk beside the manifest]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl Build {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let manifest = self.manifest.path()?;
        let state = self.state_dir.unwrap_or_else(|| state_before_reading(&manifest, None));
        let request = BuildRequest {
            manifest: &manifest,
            runtime_config: None,
            components: &self.components,
            state: &state,
            names_unchanged: true,
        };
        run(request, false).await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What to build.
pub(super) struct BuildRequest<'a> {
    pub(super) manifest: &'a Path,
    /// The runtime configuration, if it is not beside the manifest.
    pub(super) runtime_config: Option<&'a Path>,
    /// Only these components; all when empty.
    pub(super) components: &'a [String],
    /// The state folder, which holds components from a URL.
    pub(super) state: &'a Path,
    /// Whether components that need no build are named.
    pub(super) names_unchanged: bool,
}

/// Builds components, and fetches those that come from a URL. A `quiet` build prints only the output of a command that
/// fails.
pub(super) async fn run(request: BuildRequest<'_>, quiet: bool) -> anyhow::Result<()> {
    let BuildRequest { manifest, runtime_config, components, state, names_unchanged } = request;
    let mut plan = souk_manifest::load_build_only(manifest)?;
    wit::write(&plan, false)?;
    if let Some(unknown) = components.iter().find(|name| !plan.components.contains_key(*name)) {
        let known = souk_manifest::nearest_first(unknown, plan.components.keys().map(String::as_str));
        bail!("there is no component `{unknown}`\n  fix: name one of {}", known.join(", "));
    }
    plan.components.retain(|name, _| components.is_empty() || components.contains(name));
    let environment = Arc::new(BuildEnvironment::of(manifest, runtime_config));
    let note = move |text: &str| {
        if !quiet {
            output::note(text);
        }
    };
    let wanted = plan.components.iter().filter_map(|(component, step)| {
        Some(ComponentDownload { component: component.clone(), line: step.line, download: step.download.clone()? })
    });
    let wanted: Vec<ComponentDownload> = wanted.collect();
    let fetches = !wanted.is_empty();
    fetch::fetch(wanted, manifest, state, note).await?;
    let (start, time) = (Instant::now(), souk_manifest::clock::now());
    let (mut built, mut files, mut current) = (Vec::new(), Vec::new(), Vec::new());
    let mut folders: BTreeMap<PathBuf, Vec<Step>> = BTreeMap::new();
    for (component, step) in plan.components {
        let Some(build) = step.build else { continue };
        if step.is_built_if_changed && stale::is_current(&component, &step.source, &build, &plan.dir) {
            // A contract of other components may be newer, which a start would warn of.
            mark_current(&step.source, time);
            current.push(component);
            continue;
        }
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
        files.push(step.source);
    }
    if names_unchanged && !current.is_empty() {
        note(&format!(" unchanged {}", current.join(", ")));
    }
    if built.is_empty() && (fetches || !current.is_empty()) {
        return Ok(());
    }
    if built.is_empty() {
        note(" nothing to build: no component has a build command");
        return Ok(());
    }
    let queues = queues(folders);
    let shown = match queues.len() {
        _ if quiet => Shown::OnFailure,
        1 => Shown::Directly,
        _ => Shown::WithComponents,
    };
    let mut tasks = JoinSet::new();
    for (root, queue) in queues {
        prepare(&root, &queue, &environment, note).await?;
        let environment = environment.clone();
        tasks.spawn(async move {
            for (folder, steps) in queue {
                for step in steps {
                    if let Err(error) = step.run(&folder, shown, &environment).await {
                        return Err((step.components, error));
                    }
                }
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        if let Err((components, error)) = done? {
            // This ends the other commands.
            drop(tasks);
            return Err(explained(error, manifest, &components, &environment).await);
        }
    }
    files.sort_unstable();
    files.dedup();
    files.iter().try_for_each(|file| keep_symbols_beside(file))?;
    files.iter().for_each(|file| mark_current(file, time));
    files.iter().filter(|file| !file.exists()).for_each(|file| note(&not_made(file)));
    note(&format!("    built {} in {:.1} s", built.join(", "), start.elapsed().as_secs_f64()));
    Ok(())
}

/// The error of a build with what is wrong in the sources of these components, or missing for them in the manifest, if
/// the tool did not say it.
async fn explained(
    error: anyhow::Error,
    manifest: &Path,
    components: &[String],
    environment: &BuildEnvironment,
) -> anyhow::Error {
    let Ok(plan) = souk_manifest::load_build_only(manifest) else { return error };
    let mut fixes = javascript::fixes(&plan, components, || environment.command("node")).await;
    fixes.extend(forgotten_imports::fixes(&plan, components));
    match fixes.as_slice() {
        [] => error,
        fixes => anyhow::anyhow!("{error:#}\n  fix: {}", fixes.join("\n  fix: ")),
    }
}

/// Folders with the commands that run there.
type Queue = Vec<(PathBuf, Vec<Step>)>;

/// The folders whose commands run one after another, by the folder that their tools lock.
fn queues(folders: BTreeMap<PathBuf, Vec<Step>>) -> BTreeMap<PathBuf, Queue> {
    let mut queues: BTreeMap<PathBuf, Queue> = BTreeMap::new();
    for (folder, steps) in folders {
        let locked = if run_cargo(&steps) { workspace(&folder) } else { folder.clone() };
        queues.entry(locked).or_default().push((folder, steps));
    }
    queues
}

fn run_cargo(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.command.split_whitespace().any(|word| word == "cargo"))
}

/// The folder of the workspace of Rust that `folder` is in, otherwise `folder` itself.
fn workspace(folder: &Path) -> PathBuf {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let is_workspace = |folder: &&Path| {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml"));
        manifest.is_ok_and(|manifest| manifest.lines().any(|line| line.trim_start().starts_with("[workspace")))
    };
    folder.ancestors().find(is_workspace).unwrap_or(&folder).to_owned()
}

/// Makes ready what the commands for Rust in a queue need.
async fn prepare(
    root: &Path,
    queue: &[(PathBuf, Vec<Step>)],
    environment: &BuildEnvironment,
    note: impl Fn(&str) + Copy,
) -> anyhow::Result<()> {
    for (folder, steps) in queue {
        for target in TARGETS {
            if steps.iter().any(|step| needs_target(&step.command, target)) {
                ensure_target(folder, target, environment, note).await?;
            }
        }
    }
    if queue.iter().any(|(_, steps)| run_cargo(steps)) {
        lock_versions(root, environment, note).await;
    }
    Ok(())
}

/// Chooses the versions of dependencies before the first build of a workspace: cargo would print a line for each of
/// which there is a newer one. If this fails, the build says why.
async fn lock_versions(root: &Path, environment: &BuildEnvironment, note: impl Fn(&str)) {
    if !root.join("Cargo.toml").is_file() || root.join("Cargo.lock").exists() {
        return;
    }
    note(" choosing the versions of dependencies (cargo generate-lockfile)");
    let mut cargo = environment.command("cargo");
    cargo.args(["generate-lockfile", "--quiet"]).current_dir(root).kill_on_drop(true);
    let _ = cargo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().await;
}

/// The warning about a component whose file is not there after its commands. A start that needs it refuses.
fn not_made(file: &Path) -> String {
    let fix = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => format!("unset CARGO_TARGET_DIR: with it, cargo builds into {}", Path::new(&folder).display()),
        None => "let `source` in the manifest name the file that the build command writes".to_owned(),
    };
    format!("warning: the build made no {}\n  fix: {fix}", file.display())
}

/// Marks a component as built from its sources of that `time`. A build tool that finds nothing to do leaves the file's
/// time unchanged, and the file would then look older than a source that it does not even use.
fn mark_current(file: &Path, time: SystemTime) {
    let older = std::fs::metadata(file).and_then(|data| data.modified()).is_ok_and(|modified| modified < time);
    if older && let Ok(file) = std::fs::File::options().append(true).open(file) {
        // If this fails, the warning simply appears again.
        let _ = file.set_modified(time);
    }
}

/// Moves a component's debug information into a file beside it: the host reads and hashes a component at each start,
/// and debug information is nine tenths of it. When the component fails, the host finds the source lines for its log
/// there.
fn keep_symbols_beside(file: &Path) -> anyhow::Result<()> {
    // If the command made no such file, the start reports it.
    let Ok(whole) = std::fs::read(file) else { return Ok(()) };
    let Some(code) = sections::without_symbols(&whole) else { return Ok(()) };
    let replaced = sections::symbols_of(file);
    let write = || {
        // The build tool may have hard-linked the file under another name, which stays unchanged.
        let new = file.with_extension("wasm.new");
        std::fs::write(&replaced, &whole)?;
        std::fs::write(&new, code)?;
        std::fs::rename(new, file)
    };
    write().with_context(|| format!("the symbols of {} cannot be kept beside it", file.display()))
}

/// How a command's output is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// The command writes to the terminal itself.
    Directly,
    /// Each line begins with the names of its components.
    WithComponents,
    /// Only when the command has failed.
    OnFailure,
}

/// The environment of the build programs that the host runs: its own, without the values of application variables and
/// without the credentials for a collector.
pub(super) struct BuildEnvironment {
    /// The names of the variables to leave out.
    secret: Vec<OsString>,
}

impl BuildEnvironment {
    /// Leaves out `SPIN_VARIABLE_*`, the variables that providers of the runtime configuration read, and
    /// `OTEL_EXPORTER_OTLP_HEADERS` with its variants for one signal.
    pub(super) fn of(manifest: &Path, runtime_config: Option<&Path>) -> Self {
        let prefixes = souk_manifest::environment_prefixes(manifest, runtime_config);
        let prefixes: Vec<String> = prefixes.into_iter().map(|prefix| format!("{prefix}_")).collect();
        let is_secret = |name: &OsString| {
            let name = name.as_encoded_bytes();
            let of_collector = name.starts_with(b"OTEL_EXPORTER_OTLP_") && name.ends_with(b"HEADERS");
            of_collector || prefixes.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
        };
        BuildEnvironment { secret: std::env::vars_os().map(|(name, _)| name).filter(is_secret).collect() }
    }

    /// A command with this environment.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for name in &self.secret {
            command.env_remove(name);
        }
        command
    }
}

/// One command, and the components that it builds.
struct Step {
    components: Vec<String>,
    command: String,
}

impl Step {
    async fn run(&self, folder: &Path, shown: Shown, environment: &BuildEnvironment) -> anyhow::Result<()> {
        let (components, command) = (self.components.join(", "), &self.command);
        if shown != Shown::OnFailure {
            output::note(&format!(" building {components}: {command}"));
        }
        let stdio = || if shown == Shown::Directly { Stdio::inherit() } else { Stdio::piped() };
        let mut child = environment
            .command("sh")
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
        let (kept, status) = if shown == Shown::OnFailure {
            let (out, err) = tokio::join!(read(out), read(err));
            (out + &err, child.wait().await?)
        } else {
            tokio::join!(pass_on(out, &components, output::line), pass_on(err, &components, output::note));
            (String::new(), child.wait().await?)
        };
        group.ended();
        if !status.success() {
            kept.lines().for_each(|line| output::note(&format!("{components}: {line}")));
            bail!(
                "component `{components}`: `{command}` failed ({status})\n  fix: its own messages are above; run it in {}",
                folder.display()
            );
        }
        Ok(())
    }
}

/// Reads what a command prints on `stream`.
async fn read(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // Read errors are ignored: the command's status decides.
        let _ = stream.read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Prints the lines of `stream`, each after the names of its `components`; without a stream the command has the
/// terminal.
async fn pass_on(stream: Option<impl AsyncRead + Unpin>, components: &str, print: fn(&str)) {
    let Some(stream) = stream else { return };
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        print(&format!("{components}: {}", String::from_utf8_lossy(&line)));
    }
}

/// The process group of a build command, which is ended when another command fails first.
struct Group(Option<u32>);

impl Group {
    /// The command has already ended.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // `kill` signals a group without unsafe code; it ends at once.
            let _ = std::process::Command::new("kill").args(["-TERM", "--", &format!("-{leader}")]).status();
        }
    }
}

/// Whether a build command has Rust's compiler build for `target`. Other compilers have targets of the same names, and
/// libraries of their own.
pub(super) fn needs_target(command: &str, target: &str) -> bool {
    let mut words = command.split(|c: char| c.is_whitespace() || c == '=');
    words.any(|word| word == target) && (command.contains("cargo") || command.contains("rustc"))
}

/// Whether the toolchain of `folder` has the standard library of `target`.
pub(super) async fn has_target(folder: &Path, target: &str, environment: &BuildEnvironment) -> bool {
    let output = environment
        .command("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(folder)
        .kill_on_drop(true)
        .output()
        .await;
    output.is_ok_and(|o| o.status.success() && Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_dir())
}

/// Adds a missing target through rustup: a toolchain file names the target, but does not everywhere cause its
/// installation.
async fn ensure_target(
    folder: &Path,
    target: &str,
    environment: &BuildEnvironment,
    note: impl Fn(&str),
) -> anyhow::Result<()> {
    if has_target(folder, target, environment).await {
        return Ok(());
    }
    note(&format!(" adding the target {target} (rustup target add {target})"));
    let mut rustup = environment.command("rustup");
    let status = rustup.args(["target", "add", target]).current_dir(folder).kill_on_drop(true).status().await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            bail!("`rustup target add {target}` failed ({status})\n  fix: run it yourself, then build again")
        }
        Err(error) => bail!(
            "the target {target} is missing, and rustup does not start: {error}\n  fix: install the target with the tool \
             that installed Rust"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_one_workspace_are_built_one_after_another_and_other_folders_in_parallel() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for folder in ["shop/web", "shop/store", "shop/page", "other"] {
            std::fs::create_dir_all(path(folder)).unwrap();
        }
        std::fs::write(path("shop/Cargo.toml"), "# An application.\n[workspace]\nmembers = []\n").unwrap();
        std::fs::write(path("other/Cargo.toml"), "[package]\nname = \"other\"\n").unwrap();
        let step = |command: &str| vec![Step { components: Vec::new(), command: command.to_owned() }];
        let folders = [
            ("shop/web", "cargo build --release"),
            ("shop/store", "RUSTFLAGS= cargo build"),
            ("shop/page", "npm run build"),
            ("other", "cargo build"),
        ];
        let queues = queues(folders.map(|(folder, command)| (path(folder), step(command))).into());
        let found: Vec<(PathBuf, usize)> = queues.into_iter().map(|(root, queue)| (root, queue.len())).collect();
        assert_eq!(found, [("other", 1), ("shop", 2), ("shop/page", 1)].map(|(root, count)| (path(root), count)));
    }

    #[test]
    fn a_target_is_added_for_rusts_compiler_alone() {
        let [component, module] = TARGETS;
        for (command, target, needs) in [
            ("cargo rustc -p a --target wasm32-wasip2 --crate-type cdylib", component, true),
            ("cargo build --target=wasm32-wasip1 --release", module, true),
            ("cargo build --target=wasm32-wasip1 --release", component, false),
            ("clang --target=wasm32-wasip2 -o a.wasm a.c", component, false),
            ("cargo build && cp target/wasm32-wasip2/debug/a.wasm .", component, false),
        ] {
            assert_eq!(needs_target(command, target), needs, "{command}");
        }
    }
}
