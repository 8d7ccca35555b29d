//! `souk admin`: the tokens of the administration listener.

use super::reach::{Reached, reach};
use super::{AppArgs, output};
use crate::admin::Tokens;
use clap::{Args, Subcommand};
use souk_manifest::secrets::{SecretError, Secrets};
use souk_manifest::state;
use std::process::ExitCode;

/// The arguments of `souk admin`.
#[derive(Debug, Args)]
pub(super) struct AdminCommand {
    #[command(flatten)]
    app: AppArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print both tokens: `read` may only read, `full` may do everything
    Token {
        /// Create new ones first; the old ones and all sessions are void at once
        #[arg(long)]
        renew: bool,
    },
    /// Print an address at which a browser signs in; it works once and for a minute
    Code,
}

impl AdminCommand {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // Only the state folder matters here, which the runtime configuration may set.
        let manifest = self.app.read();
        let state_dir = self.app.state_dir(manifest.as_ref().ok().and_then(|m| m.state_dir()));
        if !state::exists(&state_dir) {
            manifest?;
        }
        let (read, full) = match (self.action, reach(&state_dir).await?) {
            (Action::Token { renew: true }, Reached::Host(mut host)) => {
                let tokens = host.renew_tokens().await?;
                (tokens.read, tokens.full)
            }
            (Action::Token { renew: false }, Reached::Host(_)) => tokens(state::admin_of(&state_dir))?.values(),
            (Action::Token { renew }, Reached::State(state)) => {
                let tokens = tokens(state.admin())?;
                if renew { tokens.renew().map_err(explained)? } else { tokens.values() }
            }
            (Action::Code, Reached::Host(mut host)) => {
                let Some(url) = host.sign_in().await? else {
                    anyhow::bail!("the host serves no browser\n  fix: start it with --admin 127.0.0.1:3001");
                };
                output::line(&url);
                return Ok(ExitCode::SUCCESS);
            }
            (Action::Code, Reached::State(_)) => {
                anyhow::bail!("no host runs\n  fix: start it: `souk up --admin 127.0.0.1:3001`")
            }
        };
        output::line(&format!("read {read}"));
        output::line(&format!("full {full}"));
        Ok(ExitCode::SUCCESS)
    }
}

fn tokens(secrets: Secrets) -> anyhow::Result<Tokens> {
    Tokens::load(secrets).map_err(explained)
}

fn explained(error: SecretError) -> anyhow::Error {
    anyhow::anyhow!("{error}\n  fix: {}", error.fix())
}
