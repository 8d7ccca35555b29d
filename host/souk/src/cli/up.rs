//! `souk up`: starts the application and serves it.

use super::package::{ObtainArgs, remove_superseded, show_grants};
use super::port_file::PortFile;
use super::service_manager::{self, Inherited};
use super::{AppArgs, DEFAULT_LISTEN, fill_in, state_before_reading};
use super::{build, compile, given, output, own_url, progress, signals, stale, watch};
use crate::admin::serve::{self, Listener};
use crate::admin::sessions::Sessions;
use crate::admin::{Admin, Reload, Tokens};
use crate::app::{App, Seeds};
use crate::fetch::{self, ComponentDownload};
use crate::http::{Edge, Tls, TlsError};
use crate::metrics::Metrics;
use crate::moving;
use crate::otlp::{self, Export};
use crate::readiness::Readiness;
use crate::telemetry::{self, Format, Log};
use crate::{descriptors, machine};
use clap::Args;
use futures::FutureExt as _;
use souk_manifest::state::{self, StateFolder};
use souk_manifest::{Application, HostValues, LoadOptions, Manifest};
use souk_runtime::{lost, vital};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The arguments of `souk up`.
#[derive(Debug, Args)]
pub(super) struct Up {
    #[command(flatten)]
    app: AppArgs,
    #[command(flatten)]
    package_options: ObtainArgs,
    /// Build the components first [also: SPIN_ALWAYS_BUILD]
    #[arg(long)]
    build: bool,
    /// Rebuild a component whose sources change (`watch` under [component.NAME.build]), and deploy it
    #[arg(long)]
    watch: bool,
    /// The address for HTTP; port 0 takes a free one [default: SPIN_HTTP_LISTEN_ADDR, or 127.0.0.1:3000]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The port at which clients reach the host, for its own URL: that of a container is published as another one
    /// [default: the port of --listen]
    #[arg(long, value_name = "PORT")]
    published_port: Option<u16>,
    /// An environment variable for every component
    #[arg(short = 'e', long = "env", value_name = "K=V")]
    env: Vec<String>,
    /// Run only this component; may be given more than once. Without NATS, routes of others are not served; with NATS
    /// it is --only
    #[arg(
        short = 'c',
        long = "component-id",
        value_name = "COMPONENT",
        value_delimiter = ',',
        conflicts_with = "only"
    )]
    components: Vec<String>,
    /// A key and its value for the key-value store `default`
    #[arg(long, value_name = "K=V")]
    key_value: Vec<String>,
    /// SQL statements for the database `default`, or @FILE with some; @FILE:LABEL for another database
    #[arg(long, value_name = "SQL")]
    sqlite: Vec<String>,
    /// Start even if a store or database has a new place that is empty, and its old place was not
    #[arg(long)]
    start_empty: bool,
    /// For tests: let the server at this loopback URL answer the calls to a component
    #[arg(long, value_name = "COMPONENT=URL")]
    stand_in: Vec<String>,
    /// Tell clients why a component failed (the text and place of its panic or exception); only on loopback addresses
    #[arg(long)]
    dev: bool,
    /// Serve HTTPS with this PEM certificate chain
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The PEM private key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve the administration API here too, with a token; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Serve the administration over TLS with this PEM certificate chain
    #[arg(long, value_name = "FILE", requires = "admin_tls_key", requires = "admin")]
    admin_tls_cert: Option<PathBuf>,
    /// The PEM private key of that certificate
    #[arg(long, value_name = "FILE", requires = "admin_tls_cert")]
    admin_tls_key: Option<PathBuf>,
    /// Serve the administration without TLS on an address that other machines can reach
    #[arg(long, requires = "admin")]
    admin_insecure: bool,
    /// The format of the log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
    /// Write the port to this file once the host answers; it is removed at the end
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// Print warnings and errors only
    #[arg(short, long)]
    quiet: bool,
    #[arg(skip)]
    inherited: Inherited,
}

impl Up {
    /// Takes the socket that a service manager hands over. Call it before any thread starts.
    pub(super) fn inherit(&mut self) -> anyhow::Result<()> {
        self.inherited = Inherited::take()?;
        Ok(())
    }

    /// The arguments as `souk watch` uses them.
    pub(super) fn watching(self) -> Self {
        Up { build: true, watch: true, ..self }
    }

    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // Parse first: a build takes time.
        let seeds = self.seeds()?;
        let packaged = self.app.obtain(&self.package_options, self.quiet).await?;
        if packaged && (self.build || self.watch) {
            anyhow::bail!(
                "-f names a package, whose build commands are never run\n  fix: leave out --build and --watch, or name \
                 a manifest"
            );
        }
        let mut options = self.app.options(given::pairs("--env", &self.env)?)?;
        options.selected.clone_from(&self.components);
        if !packaged && (self.build || std::env::var_os("SPIN_ALWAYS_BUILD").is_some()) {
            let (manifest, runtime_config) = (self.app.manifest(), self.app.runtime_config_file.as_deref());
            let state = self.app.state_dir.clone();
            let state = state.unwrap_or_else(|| state_before_reading(&manifest, runtime_config));
            // Check before the build, and not after it, that no other process has the state folder or the address.
            if state::exists(&state) {
                drop(StateFolder::open(&state)?);
            }
            self.check_dev(self.inherited.server(&self.listen()).await?.address())?;
            let request = build::BuildRequest {
                manifest: &manifest,
                runtime_config,
                components: &self.components,
                state: &state,
                names_unchanged: true,
            };
            build::run(request, self.quiet).await?;
        }
        let start = Instant::now();
        let manifest = souk_manifest::read(&options)?;
        let log = telemetry::start(if self.quiet { "warn" } else { "info" }, self.log_format)?;
        if self.log_format == Format::Text {
            return self.serve(manifest, options, seeds, &log, start).await;
        }
        output::log_notes();
        Ok(self.serve(manifest, options, seeds, &log, start).await.unwrap_or_else(|error| {
            output::note(&format!("error: {}", super::with_causes(&error)));
            ExitCode::FAILURE
        }))
    }

    async fn serve(
        self,
        manifest: Manifest,
        options: LoadOptions,
        seeds: Seeds,
        log: &Log,
        start: Instant,
    ) -> anyhow::Result<ExitCode> {
        signals::ignore()?;
        let state_dir = self.app.state_dir(manifest.state_dir());
        let state = StateFolder::open(&state_dir)?;
        let tls = tls(self.tls_cert.as_deref(), self.tls_key.as_deref())?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        // Bind before the components are compiled, so that a port in use is reported at once; listen when all is ready.
        let server = self.inherited.server(&self.listen()).await?;
        let address = server.address();
        self.check_dev(address)?;
        let (listener, by_hand) = (self.listen_for_admin().await?, self.is_by_hand());
        let certificates: Vec<Tls> =
            tls.iter().chain(listener.as_ref().and_then(|listener| listener.tls.as_ref())).cloned().collect();
        let own_url = url(scheme, address, self.published_port);
        let mut application = fill_in(manifest, own_url.clone(), state.secrets())?;
        if self.app.manifest.is_package() {
            show_grants(&application);
            remove_superseded(&state, &options.manifest);
        }
        let quiet = self.quiet;
        let note = |text: &str| {
            if !quiet {
                output::note(text);
            }
        };
        fetch_missing(&mut application, state.path(), note).await?;
        application.stand_ins = self.stand_ins(&application)?;
        descriptors::raise(&application.limits);
        machine::check_memory(&application.limits);
        stale::stale(&application).iter().for_each(|warning| output::note(&format!("warning: {warning}")));
        for warning in own_url::warnings(&application, &own_url) {
            output::note(&format!("warning: {warning}"));
        }
        if self.start_empty {
            moving::accept(&application, &state)?;
        }
        let socket = serve::bind_socket(&state::control_socket(state.path()))?;
        let tokens = Tokens::load(state.admin()).map_err(|e| anyhow::anyhow!("{e}\n  fix: {}", e.fix()))?;
        let export = otlp::Config::read(&application.name, &application.version)?;
        let exported = export.as_ref().is_some_and(otlp::Config::has_traces);
        let tracer = telemetry::tracer(listener.is_some() || exported)?;
        let app = App::start(application, &state, tracer, compile::program(), move |step| {
            if !quiet {
                progress::show(&step);
            }
        })
        .await?;
        app.seed(seeds).await?;
        for started in app.keep_versions()?.into_iter().filter(|started| !quiet || !started.is_usual) {
            output::note(&format!("  version {}", started.text));
        }
        let shutdown = CancellationToken::new();
        let drain = app.application().limits.drain;
        // Before any request or message is accepted: a signal must not leave one unanswered.
        signals::drain(shutdown.clone(), self.quiet)?;
        app.take_calls(shutdown.clone(), drain).await?;
        app.follow(shutdown.clone());
        let readiness = Readiness::start(&app, &state, shutdown.clone());
        let metrics = Arc::new(Metrics::start(&app, &readiness, log.losses()));
        let export = export.map(|config| Export::start(config, app.boundaries(), &metrics)).transpose()?;
        let admin = Arc::new(Admin {
            app: app.clone(),
            metrics,
            readiness: readiness.clone(),
            tokens,
            sessions: Sessions::default(),
            log: log.tail(),
            url: format!("{scheme}://{address}"),
            listener: listener.as_ref().map(Listener::url),
            started: start,
            reload: self.reload(&options, &state, own_url, &certificates),
            changes: TaskTracker::new(),
        });
        signals::reload(admin.clone(), certificates)?;
        // The administration stays until everything has drained, so that a probe can see the drain.
        let stop = CancellationToken::new();
        let _stopped = stop.clone().drop_guard();
        tokio::spawn(vital("the control socket", serve::serve_socket(admin.clone(), socket, stop.clone())));
        if let Some(listener) = listener {
            tokio::spawn(serve::serve_tcp(admin.clone(), listener, stop.clone()));
        }
        // The HTTP server's object lives until the end: the last export of metrics includes its measurements.
        let face = Edge::new(app.clone(), readiness, self.dev);
        let edge = server.listen()?.run(face.clone(), tls, shutdown.clone());
        let edge = tokio::spawn(vital("the listener", edge));
        let _port_file = self.port_file.map(|path| PortFile::write(path, address.port())).transpose()?;
        if !quiet {
            if let Some(url) = &admin.listener {
                output::text(&format!("Administration: {url}\n"));
            }
            if by_hand && let Some(address) = admin.console_address() {
                output::text(&format!("Console: {address} (once, within a minute; then `souk admin code`)\n"));
            }
            output::text(&app.summary(&admin.url, state.path(), start.elapsed()));
        }
        if self.watch {
            let (manifest, runtime_config) = (self.app.manifest(), self.app.runtime_config_file.clone());
            let places = watch::Places { manifest, runtime_config, state: state.path().to_path_buf() };
            // A developer waits for it.
            app.compile_without_yielding();
            let count = watch::start(&app, places, quiet, shutdown.clone())?;
            if !quiet {
                output::note(&format!(" watching the sources of {count} components"));
            }
        }
        service_manager::ready(&admin.url);
        let lost = tokio::select! {
            () = lost() => true,
            () = shutdown.cancelled() => false,
        };
        // After this, only requests that have begun are served.
        shutdown.cancel();
        service_manager::stopping();
        let trials = tokio::spawn({
            let app = app.clone();
            async move { app.end_trials().await }
        });
        let mut drained = edge.await?.unwrap_or_default();
        admin.changes.close();
        drained &= tokio::time::timeout(drain, admin.changes.wait()).await.is_ok();
        drained &= app.finish_calls().await;
        let _ = trials.await;
        if let Some(export) = export {
            export.finish().await;
        }
        drop(face);
        stop.cancel();
        let _ = std::fs::remove_file(state::control_socket(state.path()));
        if lost {
            anyhow::bail!("a part of the host failed that it cannot work without: the log says which")
        }
        if drained {
            Ok(ExitCode::SUCCESS)
        } else {
            anyhow::bail!("requests were still in progress when the limit `drain` was over; they were aborted")
        }
    }
}

/// TLS with this certificate and key, if both are given.
fn tls(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<Tls>, TlsError> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Tls::load(certificate, key).map(Some),
        _ => Ok(None),
    }
}

impl Up {
    /// The servers given by `--stand-in`.
    fn stand_ins(&self, application: &Application) -> anyhow::Result<BTreeMap<String, String>> {
        let stand_ins: BTreeMap<String, String> = given::pairs("--stand-in", &self.stand_in)?.into_iter().collect();
        for (component, url) in &stand_ins {
            if !application.components.contains_key(component) {
                let known: Vec<&str> = application.components.keys().map(String::as_str).collect();
                anyhow::bail!(
                    "--stand-in: there is no component `{component}`\n  fix: name one of {}",
                    known.join(", ")
                );
            }
            let loopback =
                url.parse::<http::Uri>().ok().filter(|uri| uri.scheme_str() == Some("http")).is_some_and(|uri| {
                    uri.host().is_some_and(|host| {
                        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
                    })
                });
            if !loopback {
                anyhow::bail!(
                    "--stand-in: {url:?} is not a loopback address\n  fix: write `{component}=http://127.0.0.1:PORT`"
                );
            }
            output::note(&format!("warning: the calls of `{component}` go to the stand-in at {url}"));
        }
        Ok(stand_ins)
    }

    /// How a reload reads the manifest again.
    fn reload(&self, options: &LoadOptions, state: &StateFolder, url: String, certificates: &[Tls]) -> Reload {
        let (options, state) = (options.clone(), state.clone());
        let manifest = move || {
            let (options, state, url) = (options.clone(), state.clone(), url.clone());
            let read = async move {
                let read = tokio::task::block_in_place(|| {
                    let host = HostValues { url, secrets: state.secrets() };
                    anyhow::Ok(souk_manifest::read(&options)?.fill_in(&host)?.application)
                });
                let mut application = read?;
                fetch_missing(&mut application, state.path(), |text| tracing::info!("reload: {text}")).await?;
                Ok(application)
            };
            read.boxed()
        };
        Reload {
            manifest: Box::new(manifest),
            certificates: certificates.to_vec(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The listener of `--admin`; like the public one, it is bound before anything is compiled.
    async fn listen_for_admin(&self) -> anyhow::Result<Option<Listener>> {
        let Some(address) = &self.admin else { return Ok(self.listen_for_console().await) };
        let tls = tls(self.admin_tls_cert.as_deref(), self.admin_tls_key.as_deref())?;
        Ok(Some(Listener::bind(address, tls, self.admin_insecure).await?))
    }

    /// Whether a person started the host in a terminal: then the console is served without `--admin`.
    fn is_by_hand(&self) -> bool {
        self.admin.is_none() && !self.quiet && self.log_format == Format::Text && std::io::stdout().is_terminal()
    }

    /// A listener on loopback at a free port. The host starts even if this fails.
    async fn listen_for_console(&self) -> Option<Listener> {
        if !self.is_by_hand() {
            return None;
        }
        let listener = Listener::bind("127.0.0.1:0", None, false).await;
        listener.inspect_err(|error| output::note(&format!("warning: no console: {error}"))).ok()
    }

    /// Refuses `--dev` on addresses that others can reach: its answers contain what attackers look for.
    fn check_dev(&self, address: SocketAddr) -> anyhow::Result<()> {
        if self.dev && !address.ip().to_canonical().is_loopback() {
            anyhow::bail!(
                "--dev tells every client why a component failed, and others reach {address}\n  fix: leave out --dev, or \
                 listen on 127.0.0.1"
            );
        }
        Ok(())
    }

    /// The address to serve at.
    fn listen(&self) -> String {
        listen(self.listen.as_deref(), std::env::var("SPIN_HTTP_LISTEN_ADDR").ok())
    }

    /// The data for databases and stores.
    fn seeds(&self) -> anyhow::Result<Seeds> {
        let statement = |text: &String| {
            let Some(file) = text.strip_prefix('@') else { return Ok((None, text.clone())) };
            // A file name may contain a colon.
            let (file, label) = match file.rsplit_once(':').filter(|_| !Path::new(file).exists()) {
                Some((file, label)) => (file, Some(label.to_owned())),
                None => (file, None),
            };
            anyhow::Ok((label, given::read("--sqlite", Path::new(file))?))
        };
        let statements = self.sqlite.iter().map(statement).collect::<anyhow::Result<_>>()?;
        Ok(Seeds { statements, keys: given::pairs("--key-value", &self.key_value)? })
    }
}

/// Fetches the components of this host that come from a URL or a registry and are missing.
async fn fetch_missing(application: &mut Application, state: &Path, note: impl Fn(&str)) -> anyhow::Result<()> {
    let part = application.restricted_to(&application.reachable());
    let wanted = part.here().filter_map(|component| {
        let download = component.download.clone()?;
        Some(ComponentDownload { component: component.name.clone(), line: component.line, download })
    });
    fetch::fetch(wanted.collect(), &application.manifest, state, note).await?;
    // The file of a package's version is known only when its digest is.
    fetch::locate(application, state);
    Ok(())
}

/// The address from the command line, otherwise from Spin's variable, otherwise the default.
fn listen(given: Option<&str>, spins: Option<String>) -> String {
    let spins = spins.filter(|address| !address.is_empty());
    given.map(str::to_owned).or(spins).unwrap_or_else(|| DEFAULT_LISTEN.to_owned())
}

/// The URL of the application served at `address`, and published at another port if one is given; for a wildcard
/// address, which is no valid destination, it has `localhost`.
fn url(scheme: &str, mut address: SocketAddr, published_port: Option<u16>) -> String {
    address.set_port(published_port.unwrap_or(address.port()));
    if address.ip().to_canonical().is_unspecified() {
        format!("{scheme}://localhost:{}", address.port())
    } else {
        format!("{scheme}://{address}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_says_where_to_serve_and_then_spins_variable() {
        for (given, spins, address) in [
            (Some("[::]:80"), Some("0.0.0.0:1"), "[::]:80"),
            (None, Some("0.0.0.0:1"), "0.0.0.0:1"),
            (None, Some(""), DEFAULT_LISTEN),
            (None, None, DEFAULT_LISTEN),
        ] {
            assert_eq!(listen(given, spins.map(str::to_owned)), address);
        }
    }

    #[test]
    fn the_url_is_one_that_a_browser_can_open() {
        for (address, expected) in [
            ("127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("0.0.0.0:80", "http://localhost:80"),
            ("[::]:3000", "http://localhost:3000"),
            ("[::ffff:0.0.0.0]:3000", "http://localhost:3000"),
            ("[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(url("http", address.parse().unwrap(), None), expected);
        }
        assert_eq!(url("https", "0.0.0.0:443".parse().unwrap(), None), "https://localhost:443");
        // A container's.
        assert_eq!(url("http", "0.0.0.0:3000".parse().unwrap(), Some(8080)), "http://localhost:8080");
    }
}
