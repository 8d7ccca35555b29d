//! `souk call`: one function, by hand.

use super::{Place, default_url, fill_in, output};
use crate::app::App;
use crate::control::{self, CallReply, CallRequest, Listed, RunningHost};
use crate::state::{self, StateError, StateFolder};
use crate::telemetry;
use clap::Args;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long another holder of the state is waited for: longer than a host takes to compile its components.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// The arguments of `souk call`.
#[derive(Debug, Args)]
#[command(after_help = "Example: souk call products store:products/catalog#get '{\"id\":1}'")]
pub struct Call {
    #[command(flatten)]
    place: Place,
    /// Print every component's functions with their signatures
    #[arg(long, conflicts_with_all = ["component", "function", "arguments"])]
    list: bool,
    /// The component that exports the function
    #[arg(required_unless_present = "list")]
    component: Option<String>,
    /// The function; the interface's version may be left out
    #[arg(value_name = "INTERFACE#FUNCTION", required_unless_present = "list")]
    function: Option<String>,
    /// The parameters, as an object by name or an array by position
    #[arg(value_name = "JSON", default_value = "{}")]
    arguments: String,
}

impl Call {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let request = self.request()?;
        // A running host has its variables; whoever calls it need not have them too.
        let manifest = self.place.read(&[]);
        let state_dir = self.place.state_dir(manifest.as_ref().ok().and_then(|m| m.state_dir()));
        let state = match reach(&state_dir).await? {
            Reached::Host(mut host) => {
                return match request {
                    None => Ok(print_list(&host.list().await?)),
                    Some(request) => print_reply(host.call(&request).await?),
                };
            }
            Reached::State(state) => state,
        };
        let application = fill_in(manifest?, default_url(), state.secrets())?;
        let _log = telemetry::start("warn,guest=info,souk::app=error")?;
        let app = App::start(application, &state, |_| {}).await?;
        match request {
            None => Ok(print_list(&control::list(&app))),
            Some(request) => print_reply(control::call(&app, request).await),
        }
    }

    fn request(&self) -> anyhow::Result<Option<CallRequest>> {
        let (Some(component), Some(function)) = (self.component.clone(), self.function.clone()) else {
            return Ok(None);
        };
        let arguments = serde_json::from_str(&self.arguments).map_err(|e| {
            anyhow::anyhow!("the arguments are not JSON: {e}\n  fix: write them as '{{\"name\": value}}', in quotes")
        })?;
        Ok(Some(CallRequest { component, function, arguments }))
    }
}

/// Who answers the call.
enum Reached {
    /// A host that runs.
    Host(RunningHost),
    /// This process, which holds the state now.
    State(StateFolder),
}

/// Finds a running host, or takes hold of the state. Another `souk call` holds it for a moment, and a host that starts
/// has it before it answers: both are waited for, up to [`PATIENCE`].
async fn reach(state_dir: &Path) -> Result<Reached, StateError> {
    let start = Instant::now();
    loop {
        if let Some(host) = RunningHost::connect(&state::control_socket(state_dir)).await {
            return Ok(Reached::Host(host));
        }
        match StateFolder::open(state_dir) {
            Err(StateError::InUse { .. }) if start.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
            opened => return opened.map(Reached::State),
        }
    }
}

fn print_list(functions: &[Listed]) -> ExitCode {
    let mut heading = String::new();
    for function in functions {
        let this = format!("{} {}", function.component, function.interface);
        if this != heading {
            output::line(&this);
            heading = this;
        }
        output::line(&format!("  {}", function.signature.replace('\n', "\n  ")));
    }
    ExitCode::SUCCESS
}

fn print_reply(reply: CallReply) -> anyhow::Result<ExitCode> {
    match reply {
        CallReply::Ok(value) => {
            output::line(value.get());
            Ok(ExitCode::SUCCESS)
        }
        CallReply::Err(error) => {
            output::note(&format!("{{\"err\":{error}}}"));
            Ok(ExitCode::FAILURE)
        }
        CallReply::Failed(message) => anyhow::bail!(message),
    }
}
