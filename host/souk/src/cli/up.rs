//! `souk up`: the application, served.

use super::port_file::PortFile;
use super::{AppArgs, DEFAULT_LISTEN, fill_in};
use super::{build, output, signals};
use crate::app::{App, Progress};
use crate::control;
use crate::http::{Edge, Server, Tls};
use crate::telemetry;
use crate::{descriptors, machine};
use clap::Args;
use souk_manifest::state::{self, StateFolder};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The arguments of `souk up`.
#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    app: AppArgs,
    /// Build the components first
    #[arg(long)]
    build: bool,
    /// Where to serve HTTP; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_LISTEN)]
    listen: String,
    /// An environment variable for every component
    #[arg(short = 'e', long = "env", value_name = "K=V", value_parser = key_value)]
    env: Vec<(String, String)>,
    /// Serve HTTPS with this PEM certificate chain
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The PEM private key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Write the port to this file once requests are answered; it is removed at the end
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// Print warnings and errors only
    #[arg(short, long)]
    quiet: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("write it as NAME=VALUE".into()),
    }
}

impl Up {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        if self.build {
            build::run(&self.app.manifest(), self.app.runtime_config_file.as_deref(), self.quiet).await?;
        }
        let start = Instant::now();
        let manifest = self.app.read(&self.env)?;
        let _log = telemetry::start(if self.quiet { "warn" } else { "info" })?;
        signals::ignore()?;
        let state_dir = self.app.state_dir(manifest.state_dir());
        let state = StateFolder::open(&state_dir)?;
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls::load(certificate, key)?),
            _ => None,
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        // Bound before the components are compiled, so that a port in use is found at once; served when all is ready.
        let server = Server::bind(&self.listen).await?;
        let address = server.address();
        let application = fill_in(manifest, url(scheme, address), state.secrets())?;
        descriptors::raise(&application.limits);
        machine::check_memory(&application.limits);
        let control = control::bind(&state::control_socket(state.path()))?;
        let quiet = self.quiet;
        let app = App::start(application, &state, move |progress| {
            if !quiet {
                show(&progress);
            }
        })
        .await?;
        let shutdown = CancellationToken::new();
        let drain = app.application().limits.drain;
        // Before anything is taken, which a signal must not leave unanswered.
        signals::drain(shutdown.clone(), self.quiet)?;
        let deliveries = app.deliver(shutdown.clone()).await?.map(|deliveries| tokio::spawn(deliveries.finish(drain)));
        let serving = app.serve(shutdown.clone()).await?.map(|serving| tokio::spawn(serving.finish(drain)));
        let bridge = app.bridge(shutdown.clone()).await?.map(|bridge| tokio::spawn(bridge.finish(drain)));
        let calls = TaskTracker::new();
        control::serve(app.clone(), control, calls.clone(), shutdown.clone());
        let edge = tokio::spawn(server.run(Edge::new(app.clone()), tls, shutdown.clone()));
        let _port_file = self.port_file.map(|path| PortFile::write(path, address.port())).transpose()?;
        if !quiet {
            output::text(&app.summary(&format!("{scheme}://{address}"), state.path(), start.elapsed()));
        }
        let mut drained = edge.await?;
        calls.close();
        drained &= tokio::time::timeout(drain, calls.wait()).await.is_ok();
        if let Some(serving) = serving {
            drained &= serving.await?;
        }
        for ending in [deliveries, bridge].into_iter().flatten() {
            ending.await?;
        }
        let _ = std::fs::remove_file(state::control_socket(state.path()));
        if drained {
            Ok(ExitCode::SUCCESS)
        } else {
            anyhow::bail!("requests were still under way when the limit `drain` was over; they were cut off")
        }
    }
}

/// The URL of the application that is served at `address`. Nothing reaches the wildcard addresses by their name.
fn url(scheme: &str, address: SocketAddr) -> String {
    if address.ip().to_canonical().is_unspecified() {
        format!("{scheme}://localhost:{}", address.port())
    } else {
        format!("{scheme}://{address}")
    }
}

fn show(progress: &Progress) {
    match progress {
        Progress::Ready { components, took } => {
            output::note(&format!("    ready {} in {:.2} s", components.join(", "), took.as_secs_f64()));
        }
        Progress::Migrated { component, count } => output::note(&format!(" migrated {component}: {count} applied")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_one_that_a_browser_can_open() {
        for (address, expected) in [
            ("127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("0.0.0.0:80", "http://localhost:80"),
            ("[::]:3000", "http://localhost:3000"),
            ("[::ffff:0.0.0.0]:3000", "http://localhost:3000"),
            ("[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(url("http", address.parse().unwrap()), expected);
        }
        assert_eq!(url("https", "0.0.0.0:443".parse().unwrap()), "https://localhost:443");
    }
}
