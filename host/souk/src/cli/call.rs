//! `souk call`: calls one function by hand.

use super::reach::{Reached, reach};
use super::{AppArgs, by_hand, default_url, fill_in, output};
use crate::admin::call::{self, CallReply, CallRequest, Listed};
use crate::fetch;
use crate::telemetry::{self, Format};
use clap::Args;
use souk_manifest::state;
use std::process::ExitCode;

/// The arguments of `souk call`.
#[derive(Debug, Args)]
#[command(after_help = "Example: souk call links acme:links/store#resolve '{\"code\":\"a1\"}'")]
pub(super) struct Call {
    #[command(flatten)]
    app: AppArgs,
    /// Print every component's functions with their signatures
    #[arg(long, conflicts_with_all = ["component", "function", "arguments"])]
    list: bool,
    /// The component that exports the function
    #[arg(required_unless_present = "list")]
    component: Option<String>,
    /// The function; the interface's version is optional
    #[arg(value_name = "INTERFACE#FUNCTION", required_unless_present = "list")]
    function: Option<String>,
    /// The parameters, as an object by name or an array by position; `-` reads them from standard input, which other
    /// users of the machine cannot see
    #[arg(value_name = "JSON", default_value = "{}")]
    arguments: String,
}

impl Call {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let request = self.request()?;
        // A running host has its own variables; the caller may lack them.
        let manifest = self.app.read();
        let state_dir = self.app.state_dir(manifest.as_ref().ok().and_then(|m| m.state_dir()));
        let manifest = match manifest {
            Err(errors) if !state::exists(&state_dir) => return Err(errors),
            manifest => manifest,
        };
        let state = match reach(&state_dir).await? {
            Reached::Host(mut host) => {
                return match request {
                    None => Ok(print_list(&host.list().await?)),
                    Some(request) => Ok(print_reply(host.call(&request).await?)),
                };
            }
            Reached::State(state) => state,
        };
        let mut application = fill_in(manifest?, default_url(), state.secrets())?;
        fetch::locate(&mut application, state.path());
        let _log = telemetry::start("warn,guest=info,souk::app=error", Format::Text)?;
        match request {
            None => {
                let app = by_hand::start_all(application, &state).await?;
                Ok(print_list(&call::list(&app, true).await))
            }
            Some(request) => {
                let app = by_hand::start_for(application, &state, &request.component).await?;
                Ok(print_reply(call::call(&app, request).await?))
            }
        }
    }

    fn request(&self) -> anyhow::Result<Option<CallRequest>> {
        let (Some(component), Some(function)) = (self.component.clone(), self.function.clone()) else {
            return Ok(None);
        };
        let arguments = match self.arguments.as_str() {
            "-" => std::io::read_to_string(std::io::stdin()).map_err(|e| {
                anyhow::anyhow!("standard input cannot be read: {e}\n  fix: write JSON to it, as UTF-8")
            })?,
            arguments => arguments.to_owned(),
        };
        let arguments = serde_json::from_str(&arguments).map_err(|e| {
            anyhow::anyhow!("the arguments are not JSON: {e}\n  fix: write them as '{{\"name\": value}}', in quotes")
        })?;
        Ok(Some(CallRequest { component, function, arguments }))
    }
}

fn print_list(functions: &[Listed]) -> ExitCode {
    let mut heading = String::new();
    for function in functions {
        let mut this = format!("{} {}", function.component, function.interface).trim_end().to_owned();
        match &function.wasi {
            Some(wasi) => this.push_str(&format!(" (WASI {wasi})")),
            None if function.remote => this.push_str(" (on another host)"),
            None => {}
        }
        if this != heading {
            output::line(&this);
            heading = this;
        }
        output::line(&format!("  {}", function.signature.replace('\n', "\n  ")));
    }
    ExitCode::SUCCESS
}

fn print_reply(reply: CallReply) -> ExitCode {
    match reply {
        CallReply::Ok(value) => {
            output::line(&output::json(value.get()));
            ExitCode::SUCCESS
        }
        CallReply::Err(error) => {
            output::note(&output::json(&format!("{{\"err\":{error}}}")));
            ExitCode::FAILURE
        }
    }
}
