//! The command line, one file per command.
//!
//! A command's result goes to stdout; the log and errors go to stderr. Errors name their fix. The exit code is 0 after
//! success, 1 after an error, and 2 for a wrong command line.

mod add;
mod admin;
mod backup;
mod build;
mod by_hand;
mod call;
mod cluster;
mod compile;
mod completions;
mod deploy;
mod doctor;
mod event_table;
mod events;
mod forgotten_imports;
mod given;
mod health;
mod import;
mod javascript;
mod limits;
mod messages;
mod migrate;
mod new;
mod output;
mod own_url;
mod package;
mod port_file;
mod profile;
mod progress;
mod reach;
mod replay;
mod seed;
mod service_manager;
mod signals;
mod stale;
mod store;
mod test;
mod tools;
mod traces;
mod up;
mod wait;
mod watch;
mod wit;

use crate::sources;
use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit};
use souk_manifest::limits::FixedLimit;
use souk_manifest::secrets::Secrets;
use souk_manifest::{self as manifest, Application, HostValues, LoadOptions, Manifest, NatsServer};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of the process.
    pub(crate) const FIXED_LIMITS = "process";

    /// How long the process waits at its end for blocking work that is still running, such as an interrupted query.
    const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    let parts = [FIXED_LIMITS, reach::FIXED_LIMITS, health::FIXED_LIMITS, sources::FIXED_LIMITS];
    let commands = [test::FIXED_LIMITS, wait::FIXED_LIMITS, watch::FIXED_LIMITS, signals::FIXED_LIMITS];
    [parts.concat(), commands.concat(), javascript::FIXED_LIMITS.to_vec()].concat()
}

/// Runs applications of sandboxed WebAssembly components with typed links between them.
#[derive(Debug, Parser)]
#[command(name = "souk", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create an application
    New(new::New),
    /// Add a component to the application, or a link between two
    Add(add::Add),
    /// Build the components: run each one's build command
    Build(build::Build),
    /// Write the WIT files that binding generators need
    Wit(wit::Wit),
    /// Start the application and serve it over HTTP
    Up(up::Up),
    /// Build and serve the application; rebuild and reload each component whose sources change
    Watch(up::Up),
    /// Build and start the application, and run the command that tests it
    Test(test::Test),
    /// Call one function of a component, in the running host or, when none runs, in one started for the call
    Call(call::Call),
    /// Show, retry or drop the messages of durable links, in the running host or in the state folder
    Events(events::Events),
    /// Show or accept what the hosts of the application have agreed on
    Cluster(cluster::ClusterCommand),
    /// Print the last traces of the running host: what requests did
    Traces(traces::Traces),
    /// Print one trace, as a waterfall
    Trace(traces::Trace),
    /// Write a profile of a component in the running host, for the Firefox profiler
    Profile(profile::Profile),
    /// Run recorded calls again, without any effect, and show where they differ
    Replay(replay::Replay),
    /// Print or renew the tokens of the administration listener
    Admin(admin::AdminCommand),
    /// Run the components' pending migrations, or show their state
    Migrate(migrate::Migrate),
    /// Copy a key-value store or a database to another place
    Store(store::Store),
    /// Import rows of another system, through the components that know them
    Import(import::Import),
    /// Add the components' example data to the databases, or remove it
    Seed(seed::Seed),
    /// Deploy a new version of a component in the running host, or try it out with a share of the calls
    Deploy(deploy::Deploy),
    /// Show the versions of components in the running host
    Versions(deploy::Versions),
    /// Go back to a previous version of a component
    Rollback(deploy::Rollback),
    /// Let the running host apply its changed manifest, as far as that needs no restart
    Reload(deploy::Reload),
    /// Check the toolchain and the manifest; show grants and limits
    Doctor(doctor::Doctor),
    /// Show how much of each budget the running host uses
    Limits(limits::Limits),
    /// Copy the application's data at one moment into a folder; the host may run meanwhile
    Backup(backup::Backup),
    /// Restore a backup into a state folder that has no data
    Restore(backup::Restore),
    /// Create a package of the application: its manifest, components and files
    Package(package::MakePackage),
    /// Push the application, or the file of a package, to a registry
    Push(package::Push),
    /// Get a package from a registry, check it against its digests, and write it to a file
    Pull(package::Pull),
    /// Check whether the host on this machine is ready, for health checks
    Health(health::Health),
    /// Print a shell completion script
    Completions(completions::Completions),
    /// Write the manual pages
    Man(completions::Man),
    /// Compile one component; a host starts this
    #[command(hide = true)]
    Compile(compile::Compile),
}

impl Command {
    /// Takes over what the parent process handed on; must run before any thread starts.
    fn inherit(&mut self) -> anyhow::Result<()> {
        if let Command::Up(up) = self {
            up.inherit()?;
        }
        Ok(())
    }
}

/// The application. Its options may stand before or after a subcommand.
#[derive(Debug, Args)]
struct ManifestArg {
    /// The manifest, the folder with spin.toml, or a package: its file, or REGISTRY/REPOSITORY:TAG
    #[arg(short = 'f', long = "from", value_name = "FILE", default_value = "spin.toml", global = true)]
    manifest: PathBuf,
}

impl ManifestArg {
    /// The path of the manifest; an error for a package.
    fn path(&self) -> anyhow::Result<PathBuf> {
        if self.is_package() {
            let package = self.manifest.display();
            anyhow::bail!("{package} is a package: nothing in it is built or changed\n  fix: name a manifest with -f");
        }
        Ok(if self.manifest.is_dir() { self.manifest.join("spin.toml") } else { self.manifest.clone() })
    }
}

/// The application and its state.
#[derive(Debug, Args)]
struct AppArgs {
    #[command(flatten)]
    manifest: ManifestArg,
    /// Where databases, compiled code and secrets are kept [default: .souk beside the manifest]
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
    /// Spin's runtime configuration [default: runtime-config.toml beside the manifest, if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    runtime_config_file: Option<PathBuf>,
    /// The NATS servers through which the hosts of an application reach each other [default: the runtime
    /// configuration's]
    #[arg(long, value_name = "URL", global = true, value_delimiter = ',', value_parser = manifest::server_without_secret)]
    nats: Vec<NatsServer>,
    /// The credentials file for NATS
    #[arg(long, value_name = "FILE", global = true)]
    creds: Option<PathBuf>,
    /// The value of a variable, which overrides all other sources: NAME=VALUE, NAME=@FILE, or @FILE with many as TOML
    /// or JSON. Every user of the machine can see a value on the command line
    #[arg(long, value_name = "K=V", global = true)]
    variable: Vec<String>,
    /// The application's name on NATS; hosts with another name belong to another application [default: the runtime
    /// configuration's, then the manifest's]
    #[arg(long = "name", value_name = "NAME", global = true, value_parser = checked_name)]
    application_name: Option<String>,
    /// The components that run here; other hosts run the rest [default: all]
    #[arg(long, value_name = "COMPONENT", global = true, value_delimiter = ',')]
    only: Vec<String>,
}

fn checked_name(text: &str) -> Result<String, String> {
    manifest::check_name(text).map(|()| text.to_owned()).map_err(|wrong| format!("the name {wrong}"))
}

impl AppArgs {
    fn manifest(&self) -> PathBuf {
        self.located().map_or_else(|_| self.manifest.manifest.clone(), |located| located.manifest)
    }

    fn options(&self, environment: Vec<(String, String)>) -> anyhow::Result<LoadOptions> {
        let located = self.located()?;
        let variables = given::variables(&self.variable)?;
        Ok(LoadOptions {
            manifest: located.manifest,
            operator: located.operator,
            runtime_config: self.runtime_config_file.clone(),
            environment,
            process_env: std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
            nats: self.nats.clone(),
            credentials: self.creds.clone(),
            name: self.application_name.clone(),
            only: self.only.clone(),
            selected: Vec::new(),
            variables: variables.values,
            variable_files: variables.files,
        })
    }

    /// Reads and checks the manifest.
    fn read(&self) -> anyhow::Result<Manifest> {
        Ok(manifest::read(&self.options(Vec::new())?)?)
    }

    /// The state folder of the application: from the command line, else the runtime configuration, else `.souk`.
    fn state_dir(&self, configured: Option<&Path>) -> PathBuf {
        match (&self.state_dir, configured) {
            (Some(dir), _) => dir.clone(),
            (None, Some(dir)) => dir.to_path_buf(),
            (None, None) if self.manifest.is_package() => PathBuf::from(".souk"),
            (None, None) => state_beside(&self.manifest()),
        }
    }

    /// The state folder of a packaged application, before its package is read.
    #[cfg(feature = "oci")]
    fn package_state(&self) -> PathBuf {
        let beside = Path::new("runtime-config.toml");
        let configured = manifest::configured_state_dir(self.runtime_config_file.as_deref().unwrap_or(beside));
        self.state_dir(configured.as_deref())
    }
}

/// The default state folder.
fn state_beside(manifest: &Path) -> PathBuf {
    manifest.parent().unwrap_or(Path::new("")).join(".souk")
}

/// The state folder of a manifest that has not been read yet: the runtime configuration's, which is beside the manifest
/// unless it is named here, else the default.
fn state_before_reading(manifest: &Path, runtime_config: Option<&Path>) -> PathBuf {
    let beside = manifest.with_file_name("runtime-config.toml");
    let configured = souk_manifest::configured_state_dir(runtime_config.unwrap_or(&beside));
    configured.unwrap_or_else(|| state_beside(manifest))
}

/// Fills in the variables and the host's own values; warnings go to stderr.
fn fill_in(manifest: Manifest, url: String, secrets: Secrets) -> anyhow::Result<Application> {
    let loaded = manifest.fill_in(&HostValues { url, secrets })?;
    for warning in &loaded.warnings {
        output::note(&format!("warning: {warning}"));
    }
    Ok(loaded.application)
}

/// The default address of `souk up`.
const DEFAULT_LISTEN: &str = "127.0.0.1:3000";

/// The application's URL for commands that serve nothing: the default address.
fn default_url() -> String {
    format!("http://{DEFAULT_LISTEN}")
}

/// Reads the command line and runs the command.
pub fn main() -> ExitCode {
    let mut cli = Cli::parse();
    no_core_dumps();
    #[cfg(feature = "jemalloc")]
    crate::allocator::return_memory_soon();
    match cli.command.inherit().and_then(|()| run(cli.command)) {
        Ok(code) => code,
        Err(error) => {
            output::note(&format!("error: {}", with_causes(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Prevents core dumps, which would write the memory of a crashed process, with all secrets, to the disk. The hard
/// limit stays, so that an operator can allow them again (`prlimit --core`).
fn no_core_dumps() {
    let limit = rustix::process::getrlimit(Resource::Core);
    if let Err(error) = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit }) {
        output::note(&format!("warning: a crash may write secrets to the disk, because RLIMIT_CORE stays: {error}"));
    }
}

/// The error, followed by those of its causes that its text does not include.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    // The command runs as a spawned task: components must not run on the thread that blocks for it.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(async move {
        tokio::spawn(async move {
            match command {
                Command::New(new) => new.run(),
                Command::Add(add) => add.run(),
                Command::Build(build) => build.run().await,
                Command::Wit(wit) => wit.run(),
                Command::Test(test) => test.run().await,
                Command::Up(up) => up.run().await,
                Command::Watch(up) => up.watching().run().await,
                Command::Call(call) => call.run().await,
                Command::Events(events) => events.run().await,
                Command::Cluster(cluster) => cluster.run().await,
                Command::Traces(traces) => traces.run().await,
                Command::Trace(trace) => trace.run().await,
                Command::Profile(profile) => profile.run().await,
                Command::Replay(replay) => replay.run().await,
                Command::Admin(admin) => admin.run().await,
                Command::Migrate(migrate) => migrate.run().await,
                Command::Store(store) => store.run().await,
                Command::Import(import) => import.run().await,
                Command::Seed(seed) => seed.run().await,
                Command::Deploy(deploy) => deploy.run().await,
                Command::Versions(versions) => versions.run().await,
                Command::Rollback(rollback) => rollback.run().await,
                Command::Reload(reload) => reload.run().await,
                Command::Doctor(doctor) => doctor.run().await,
                Command::Limits(limits) => limits.run().await,
                Command::Backup(backup) => backup.run().await,
                Command::Restore(restore) => restore.run().await,
                Command::Package(package) => package.run().await,
                Command::Push(push) => push.run().await,
                Command::Pull(pull) => pull.run().await,
                Command::Health(health) => health.run().await,
                Command::Completions(completions) => Ok(completions.run()),
                Command::Man(man) => man.run(),
                Command::Compile(compile) => Ok(compile.run()),
            }
        })
        .await
    });
    // Do not wait for ever for blocking work that is still running, such as an interrupted query.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    code?
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;
    use std::collections::BTreeSet;

    /// clap checks this only with debug assertions: of two arguments with the same id, one never gets its value. It does
    /// not check an argument against one that all commands have: the help has the name twice then.
    fn check_ids(command: &clap::Command, inherited: &[clap::Arg]) {
        let mut ids = BTreeSet::new();
        for argument in command.get_arguments() {
            let id = argument.get_id();
            assert!(ids.insert(id.clone()), "`{}` has two arguments `{id}`", command.get_name());
            let global = inherited.iter().find(|global| global.get_id() == id);
            let same = global.is_none_or(|global| global.get_long() == argument.get_long());
            assert!(same, "`{}` has an argument `{id}`, and so have all of them", command.get_name());
            let long = argument.get_long();
            let other = |global: &&clap::Arg| global.get_id() != id && long.is_some() && global.get_long() == long;
            assert!(!inherited.iter().any(|global| other(&global)), "`{}` has two `--{long:?}`", command.get_name());
        }
        let own = command.get_arguments().filter(|argument| argument.is_global_set()).cloned();
        let inherited: Vec<_> = inherited.iter().cloned().chain(own).collect();
        command.get_subcommands().for_each(|command| check_ids(command, &inherited));
    }

    #[test]
    fn the_state_folder_of_the_runtime_configuration_is_known_before_the_manifest_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("spin.toml");
        assert_eq!(state_before_reading(&manifest, None), folder.path().join(".souk"));
        std::fs::write(folder.path().join("runtime-config.toml"), "state_dir = \"state\"\n").unwrap();
        assert_eq!(state_before_reading(&manifest, None), folder.path().join("state"));
        let other = folder.path().join("other.toml");
        std::fs::write(&other, "state_dir = \"elsewhere\"\n").unwrap();
        assert_eq!(state_before_reading(&manifest, Some(&other)), folder.path().join("elsewhere"));
    }

    /// Scenarios run the blocks of commands of these pages. This is about the commands in their text; some of them have
    /// words such as `NAME` as values.
    #[test]
    fn every_command_in_the_text_of_the_pages_about_own_applications_is_one_of_the_program() {
        let mut checked = 0;
        for page in ["your-own-application.md", "change-a-contract.md"] {
            let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
            let text = std::fs::read_to_string(page).unwrap();
            // Every second part is a block.
            for line in text.split("```").step_by(2).flat_map(str::lines) {
                for span in line.split('`').skip(1).step_by(2).filter(|span| span.starts_with("souk ")) {
                    checked += 1;
                    let Err(error) = Cli::command().try_get_matches_from(span.split_whitespace()) else { continue };
                    let is_left_open = matches!(
                        error.kind(),
                        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::MissingRequiredArgument
                    );
                    assert!(is_left_open, "`{span}`: {error}");
                }
            }
        }
        assert!(checked > 10, "only {checked} commands were found");
    }

    #[test]
    fn no_command_has_two_arguments_of_one_id_or_name() {
        check_ids(&Cli::command(), &[]);
    }
}
