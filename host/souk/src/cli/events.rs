//! `souk events`: the messages of durable links, in the running host or, when none runs here, in the state folder or on
//! NATS.

use super::messages::Messages;
use super::reach::{Reached, reach};
use super::{AppArgs, event_table, output, wait};
use crate::admin::RunningHost;
use clap::{Args, Subcommand};
use souk_links::durable::operator::{Event, FoundEvents, MAX_LISTED, Request, Selection};
use souk_manifest::state;
use std::fmt::Write as _;
use std::process::ExitCode;

/// The arguments of `souk events`.
#[derive(Debug, Args)]
#[command(after_help = "A message is pending, delivering, dead (set aside after too many attempts, or rejected), or \
                        stranded\n(its function does not exist, or takes arguments of another type: `show` has the reason); one that is\n\
                        delivered is gone.")]
pub(super) struct Events {
    #[command(flatten)]
    app: AppArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the messages, oldest first
    List {
        /// Only dead letters
        #[arg(long)]
        dead: bool,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Wait until no message is pending: each is delivered or a dead letter
    Wait(wait::Wait),
    /// Print one message with its arguments
    Show {
        /// The id of the message, or a unique beginning of it
        id: String,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Deliver a message now; a dead letter starts again with no attempts
    Retry {
        #[command(flatten)]
        which: Chosen,
    },
    /// Delete a message that is not being delivered
    Drop {
        #[command(flatten)]
        which: Chosen,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Chosen {
    /// The id of the message, or a unique beginning of it
    id: Option<String>,
    /// All dead letters
    #[arg(long)]
    all: bool,
}

impl Chosen {
    fn which(self) -> Selection {
        // clap requires one of the two.
        self.id.map_or(Selection::Dead, Selection::One)
    }
}

impl Events {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // Only the state folder matters here, which the runtime configuration may set.
        let manifest = self.app.read();
        let state_dir = self.app.state_dir(manifest.as_ref().ok().and_then(|m| m.state_dir()));
        let components = manifest.as_ref().map(|m| m.components().cloned().collect()).unwrap_or_default();
        if let Some((application, config)) = manifest.as_ref().ok().and_then(|m| m.nats()) {
            let messages = match RunningHost::connect(&state::control_socket(&state_dir)).await {
                Some(host) => Messages::Host(host),
                None => Messages::on_nats(application, config, components).await?,
            };
            return self.action.run(messages).await;
        }
        // If no host has run there are no messages, but a wrong folder must not look the same: so report it.
        if !state::exists(&state_dir) {
            manifest?;
            if !state_dir.is_dir() {
                anyhow::bail!(
                    "there is no state folder {}\n  fix: name the manifest with -f, or the folder with --state-dir",
                    state_dir.display()
                );
            }
        }
        let messages = match reach(&state_dir).await? {
            Reached::Host(host) => Messages::Host(host),
            Reached::State(state) => Messages::open(state).await?,
        };
        self.action.run(messages).await
    }
}

impl Action {
    async fn run(self, mut messages: Messages) -> anyhow::Result<ExitCode> {
        match self {
            Action::List { dead, json } => {
                let found = messages.ask(Request::List { dead, most: MAX_LISTED }).await?;
                if json {
                    output::line(&output::json(&serde_json::to_string(&found.events)?));
                } else {
                    // Ids are cut, but stay unique among all messages.
                    let all = Request::List { dead: false, most: MAX_LISTED };
                    let all = if dead { messages.ask(all).await? } else { FoundEvents::default() };
                    let (width, now) = (event_table::width(), souk_manifest::clock::now());
                    output::text(&event_table::table(&found.events, &all.events, width, now));
                }
                note_more(&found);
            }
            Action::Show { id, json } => {
                for event in messages.ask(Request::Show(id)).await?.events {
                    if json {
                        output::line(&output::json(&serde_json::to_string(&event)?));
                    } else {
                        output::text(&details(&event));
                    }
                }
            }
            Action::Wait(wait) => return wait.run(&mut messages).await,
            Action::Retry { which } => print_done(&messages.ask(Request::Retry(which.which())).await?, "due now"),
            Action::Drop { which } => print_done(&messages.ask(Request::Drop(which.which())).await?, "dropped"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints what was done to each message.
fn print_done(found: &FoundEvents, done: &str) {
    for event in &found.events {
        output::line(&format!("{done}: {}", line(event)));
    }
    if found.total == 0 {
        output::note("there are no dead letters");
    }
    note_more(found);
}

fn note_more(found: &FoundEvents) {
    let named = u64::try_from(found.events.len()).unwrap_or(u64::MAX);
    if found.total > named {
        output::note(&format!("these are the oldest {named} of {}", found.total));
    }
}

/// One message as a line.
fn line(event: &Event) -> String {
    let Event { id, state, attempts, component, interface, function, .. } = event;
    let reason = event.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{id} {component} {interface}#{function} ({state}, {attempts} attempts){reason}")
}

fn details(event: &Event) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    field("id", &event.id);
    field("state", &event.state);
    field("attempts", &event.attempts.to_string());
    field("stored", &event.stored_at);
    field("due", event.due_at.as_deref().unwrap_or("-"));
    field("caller", &event.caller);
    field("component", &event.component);
    field("function", &format!("{}#{}", event.interface, event.function));
    field("trace", &event.trace);
    field("reason", event.reason.as_deref().unwrap_or("-"));
    let arguments = event.arguments.as_ref().map(|arguments| output::json(arguments.get()));
    field("arguments", arguments.as_deref().unwrap_or("-"));
    text
}
