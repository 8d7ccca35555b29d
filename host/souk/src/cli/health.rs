//! `souk health`: checks whether the host on this machine answers, for health checks of containers, which have no curl.
//!
//! It asks over HTTP, as a client does: a host whose HTTP listener hangs is not healthy, even if its control socket
//! answers.

use super::{DEFAULT_LISTEN, output};
use clap::Args;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpStream;

souk_manifest::fixed_limits! {
    /// The fixed limits of `souk health`.
    pub(crate) const FIXED_LIMITS = "health";

    /// How long `souk health` waits for the host's answer.
    const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
}

/// Reports whether every route can be served. A host of version 0.1.0 does not have this path, and its application may
/// answer 404.
const READY: &str = "/.well-known/souk/ready";
/// Spin's path, which reports whether the host answers at all.
const HEALTH: &str = "/.well-known/spin/health";

/// The arguments of `souk health`.
#[derive(Debug, Args)]
#[command(after_help = "Exits with 0 when the host answers that it is ready, and with 1 otherwise.")]
pub(super) struct Health {
    /// The address at which the host serves, without TLS
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_LISTEN)]
    listen: String,
    /// Ask only whether the host answers, not whether it can serve its routes
    #[arg(long)]
    live: bool,
}

impl Health {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let paths: &[&str] = if self.live { &[HEALTH] } else { &[READY, HEALTH] };
        let mut answer = String::new();
        for path in paths {
            let status = match tokio::time::timeout(ANSWER_TIMEOUT, self.ask(path)).await {
                Ok(status) => status?,
                Err(_) => anyhow::bail!("{} does not answer within {} s", self.listen, ANSWER_TIMEOUT.as_secs()),
            };
            if status == StatusCode::OK {
                output::line("ok");
                return Ok(ExitCode::SUCCESS);
            }
            answer = format!("http://{}{path} answers {status}", self.listen);
            if status != StatusCode::NOT_FOUND {
                break;
            }
        }
        anyhow::bail!("{answer}\n  fix: the host's log says what it waits for")
    }

    async fn ask(&self, path: &str) -> anyhow::Result<StatusCode> {
        let address = &self.listen;
        let stream = TcpStream::connect(address).await.map_err(|error| {
            anyhow::anyhow!(
                "nothing serves at {address}: {error}\n  fix: start `souk up`, or name its address with --listen"
            )
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::get(path).header(header::HOST, address).body(Empty::<bytes::Bytes>::new())?;
        Ok(sender.send_request(request).await?.status())
    }
}
