//! What a running host reports about itself for `souk doctor`: what stops it from serving, and what an operator should
//! look at before something does.
//!
//! It only reads what runs already: it compiles, starts and writes nothing.

use super::Admin;
use crate::app::App;
use bytes::Bytes;
use chrono::DateTime;
use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};
use souk_links::cluster;
use souk_manifest::DatabaseUrl;
use souk_manifest::limits::ByteSize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits that decide what is a warning.
    pub(crate) const FIXED_LIMITS = "doctor";

    /// A clock that differs more from a database's is a warning: times in rows and in the log then disagree.
    const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);
    /// How long a database may take to report its time.
    const CLOCK_TIMEOUT: Duration = Duration::from_secs(3);
    /// A message that has waited longer for its delivery is a warning.
    const MAX_MESSAGE_AGE: Duration = Duration::from_secs(600);
    /// Less free space on the disk than this is a warning.
    const LOW_DISK_BYTES: u64 = 1 << 30, bytes;
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// All is well.
    Ok,
    /// An operator should look at it.
    Warning,
    /// Something cannot be served.
    Wrong,
}

/// One result of the examination.
#[derive(Debug, Serialize, Deserialize)]
pub struct Finding {
    /// What was examined.
    pub name: String,
    /// How it is.
    pub level: Level,
    /// A sentence, with the fix where something is wrong.
    pub text: String,
}

impl Finding {
    fn new(name: impl Into<String>, level: Level, text: impl Into<String>) -> Self {
        Finding { name: name.into(), level, text: text.into() }
    }
}

/// Examines everything.
pub(super) async fn examine(admin: &Admin) -> Vec<Finding> {
    let mut findings = vec![host(admin)];
    findings.extend(readiness(admin));
    findings.extend(versions(&admin.app));
    findings.extend(messages(admin));
    let state = admin.app.state_path().to_path_buf();
    let disk = tokio::task::spawn_blocking(move || disk(&state)).await;
    findings.extend(disk.ok());
    findings.extend(clocks(&admin.app).await);
    findings.extend(nats_clock(&admin.app).await);
    findings
}

fn host(admin: &Admin) -> Finding {
    let (version, uptime) = (env!("CARGO_PKG_VERSION"), Duration::from_secs(admin.started.elapsed().as_secs()));
    let text = format!("souk {version} serves {} since {}", admin.url, humantime::format_duration(uptime));
    Finding::new("host", Level::Ok, text)
}

fn readiness(admin: &Admin) -> Vec<Finding> {
    let report = admin.readiness.report(true);
    if report.draining {
        return vec![Finding::new("readiness", Level::Warning, "the host is stopping")];
    }
    if report.ready {
        return vec![Finding::new("readiness", Level::Ok, "every route can be served")];
    }
    let lack = |lack: &crate::readiness::Lack| {
        let fix = "bring it back; the host sees it within a second";
        Finding::new("readiness", Level::Wrong, format!("{lack}\n  fix: {fix}"))
    };
    report.lacks.iter().map(lack).collect()
}

/// Versions that differ from the manifest or are on trial.
fn versions(app: &App) -> Vec<Finding> {
    let found = app.versions(None).into_iter().filter_map(|version| {
        let name = format!("version of {}", version.component);
        match version.state.as_str() {
            "canary" => {
                let text = format!("version {} is being tried out", version.record.number);
                Some(Finding::new(name, Level::Ok, text))
            }
            "active" if version.record.number > 1 => {
                let text = format!("version {} serves (`souk versions` lists all)", version.record.number);
                Some(Finding::new(name, Level::Ok, text))
            }
            _ => None,
        }
    });
    found.collect()
}

fn messages(admin: &Admin) -> Vec<Finding> {
    if admin.app.queue().is_none() {
        return Vec::new();
    }
    let Some(stats) = admin.metrics.messages() else {
        let text = "the number of waiting messages is not known\n  fix: see readiness; `souk events list` says why";
        return vec![Finding::new("messages", Level::Warning, text)];
    };
    let mut findings = Vec::new();
    if stats.dead > 0 {
        let text = format!("{} dead letters\n  fix: `souk events list --dead`, then retry or drop them", stats.dead);
        findings.push(Finding::new("messages", Level::Warning, text));
    }
    if stats.stranded > 0 {
        let text = format!(
            "{} have no function to be delivered to\n  fix: deploy the component that has it, or drop them",
            stats.stranded
        );
        findings.push(Finding::new("messages", Level::Warning, text));
    }
    let now = souk_manifest::clock::since_epoch();
    let oldest = stats.oldest.and_then(|oldest| u64::try_from(oldest).ok()).map(Duration::from_millis);
    let age = oldest.map(|oldest| now.saturating_sub(oldest)).unwrap_or_default();
    if age > MAX_MESSAGE_AGE {
        let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
        let text = format!(
            "the oldest has waited for {age}\n  fix: `souk events list` shows the answers of its \
                            target"
        );
        findings.push(Finding::new("messages", Level::Warning, text));
    }
    if findings.is_empty() {
        findings.push(Finding::new("messages", Level::Ok, format!("{} wait, none is dead", stats.waiting)));
    }
    findings
}

/// The free space on the disk of the state folder.
fn disk(state: &Path) -> Finding {
    let disk = match statvfs(state) {
        Ok(disk) => disk,
        Err(error) => return Finding::new("disk", Level::Warning, format!("its free space cannot be read: {error}")),
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let text = format!("{} free on the disk of the state folder", ByteSize::b(free));
    match free < LOW_DISK_BYTES {
        true => Finding::new("disk", Level::Warning, format!("{text}\n  fix: make room before it is full")),
        false => Finding::new("disk", Level::Ok, text),
    }
}

/// Compares the clocks of the databases with this host's.
async fn clocks(app: &App) -> Vec<Finding> {
    let mut servers = BTreeMap::new();
    for component in app.application().here().filter(|component| app.pool(&component.name).is_some()) {
        if let Some(DatabaseUrl::Postgres(address)) = &component.database {
            let server = format!("{}:{}", address.host(), address.port());
            servers.entry(server).or_insert_with(|| (app.postgres_of(component), address.clone()));
        }
    }
    let mut findings = Vec::new();
    for (server, (granted, address)) in servers {
        let name = format!("clock of {server}");
        let before = souk_manifest::clock::since_epoch();
        // Readiness reports a database that cannot be reached.
        let Ok(Ok(there)) = tokio::time::timeout(CLOCK_TIMEOUT, granted.clock(&address)).await else { continue };
        let after = souk_manifest::clock::since_epoch();
        findings.push(compared(name, there, before, after));
    }
    findings
}

/// Compares the clock of NATS with this host's: NATS sets the times of messages, and the hosts decide when they are
/// due.
async fn nats_clock(app: &App) -> Option<Finding> {
    let nats = app.remote()?.nats();
    let stream = format!("KV_{}", nats.subjects().stream(cluster::BUCKET));
    let before = souk_manifest::clock::since_epoch();
    let asked = nats.client().request(format!("$JS.API.STREAM.INFO.{stream}"), Bytes::new());
    // Readiness reports a NATS that cannot be reached.
    let answer = tokio::time::timeout(CLOCK_TIMEOUT, asked).await.ok()?.ok()?;
    let after = souk_manifest::clock::since_epoch();
    Some(match time_of(&answer.payload) {
        Some(there) => compared(NATS_CLOCK.to_owned(), there, before, after),
        None => Finding::new(NATS_CLOCK, Level::Ok, "unknown: nats-server before 2.10 does not tell its time"),
    })
}

/// The name of the finding about NATS' clock.
const NATS_CLOCK: &str = "clock of NATS";

/// When JetStream gave this answer, as the time since 1970.
fn time_of(answer: &[u8]) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Answer {
        ts: String,
    }
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let time = DateTime::parse_from_rfc3339(&answer.ts).ok()?;
    let seconds = u64::try_from(time.timestamp()).ok()?;
    Some(Duration::new(seconds, time.timestamp_subsec_nanos()))
}

/// Compares a clock that showed `there` with this host's own, which was read just before and just after.
fn compared(name: String, there: Duration, before: Duration, after: Duration) -> Finding {
    let apart = before.saturating_sub(there).max(there.saturating_sub(after));
    match apart > MAX_CLOCK_DIFFERENCE {
        true => {
            let text = format!("it differs from this host's by {apart:.1?}\n  fix: set both by NTP");
            Finding::new(name, Level::Warning, text)
        }
        false => Finding::new(name, Level::Ok, "as this host's"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_apart_by_more_than_two_seconds_is_a_warning() {
        let at = Duration::from_secs;
        for (there, level) in
            [(10, Level::Ok), (8, Level::Ok), (7, Level::Warning), (13, Level::Ok), (14, Level::Warning)]
        {
            let found = compared("clock of x".to_owned(), at(there), at(10), at(11));
            assert_eq!((found.level, found.text.contains("fix: ")), (level, level == Level::Warning), "{there}");
        }
    }

    #[test]
    fn jetstream_says_when_it_has_answered() {
        let answer =
            br#"{"type":"io.nats.jetstream.api.v1.stream_info_response","ts":"1970-01-01T00:00:02.000000005Z"}"#;
        assert_eq!(time_of(answer), Some(Duration::new(2, 5)));
        assert_eq!(time_of(br#"{"type":"io.nats.jetstream.api.v1.stream_info_response"}"#), None);
    }
}
