//! `souk events wait`: waits until durable links have delivered everything that is due.

use super::messages::Messages;
use super::output;
use clap::Args;
use souk_links::durable::operator::{Event, MAX_LISTED, Request};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of `souk events wait`.
    pub(crate) const FIXED_LIMITS = "process";

    /// How often `souk events wait` checks whether everything was delivered.
    const EVENTS_POLL_INTERVAL: Duration = Duration::from_millis(20);
}

/// The arguments of `souk events wait`.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// How long to wait: `500ms`, `2m`
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Wait {
    pub(super) async fn run(self, messages: &mut Messages) -> anyhow::Result<ExitCode> {
        let start = Instant::now();
        loop {
            let found = messages.ask(Request::List { dead: false, most: MAX_LISTED }).await?;
            let (waiting, dead): (Vec<_>, Vec<_>) = found.events.iter().partition(|event| event.state != "dead");
            // A stranded message is ignored: no host of this application delivers it.
            let waiting = waiting.iter().filter(|event| event.state != "stranded" && !was_told_to_wait(event)).count();
            if waiting == 0 {
                match dead.len() {
                    0 => output::note("everything is delivered"),
                    dead => output::note(&format!("everything else is delivered; dead letters: {dead}")),
                }
                return Ok(ExitCode::SUCCESS);
            }
            anyhow::ensure!(
                start.elapsed() < self.timeout,
                "after {} messages are still waiting: {waiting}\n  fix: `souk events list` shows their reasons; wait \
                 longer with --timeout",
                humantime::format_duration(self.timeout)
            );
            tokio::time::sleep(EVENTS_POLL_INTERVAL).await;
        }
    }
}

/// Whether a message waits for its due time, and not because it failed.
fn was_told_to_wait(event: &Event) -> bool {
    let due = event.due_at.as_deref().and_then(|due| humantime::parse_rfc3339(due).ok());
    event.attempts == 0 && event.reason.is_none() && due.is_some_and(|due| due > souk_manifest::clock::now())
}
