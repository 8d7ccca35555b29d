//! Whether this host can serve its routes: the answers of `/readyz` and `/.well-known/souk/ready`.
//!
//! A host is ready when every component that one of its routes needs, directly or through links, has what it needs: its
//! database, its stores, the queue of its durable links, free disk space, and a host for components that run elsewhere
//! ([`needs`]). A component with `readiness = "ignore"` counts as having everything. A draining host is not ready.
//!
//! No request waits for a check: each need has a task that checks it every [`checks::CHECK_INTERVAL`] and records the
//! result, and a request for the state reads the records. One failed check makes the host unready, and one successful
//! check ends that.
//!
//! It does not check whether a component answers sensibly: a component that traps does what its code says, on this host as
//! on any other.

pub(crate) mod checks;
mod needs;

use crate::app::App;
use parking_lot::{Mutex, MutexGuard, RwLock};
use serde::Serialize;
use souk_manifest::limits::FixedLimit;
use souk_manifest::state::StateFolder;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    checks::FIXED_LIMITS.to_vec()
}

/// The last result for a need.
#[derive(Clone)]
enum Answer {
    /// It has not been checked yet.
    Unknown(SystemTime),
    /// It is available.
    Good,
    /// It has been missing since then; the reason is only for those who may see it.
    Bad { since: SystemTime, why: String },
}

/// A need, with its components and last result.
struct CheckedNeed {
    what: String,
    components: Vec<String>,
    answer: Answer,
}

/// The records of all needs.
struct Notes {
    all: Mutex<Vec<CheckedNeed>>,
    /// Whether all results are good.
    good: AtomicBool,
    /// Notified of every result.
    noted: Notify,
}

impl Notes {
    fn all(&self) -> MutexGuard<'_, Vec<CheckedNeed>> {
        self.all.lock()
    }

    /// Records the result for the need `number`, and logs a change.
    fn note(&self, number: usize, answer: Result<(), String>) {
        let mut all = self.all();
        let Some(noted) = all.get_mut(number) else { return };
        let (what, components) = (&noted.what, noted.components.join("`, `"));
        match (answer, &mut noted.answer) {
            (Ok(()), Answer::Good) => return,
            (Ok(()), Answer::Unknown(_)) => noted.answer = Answer::Good,
            (Ok(()), Answer::Bad { .. }) => {
                tracing::info!("`{components}` can serve again: {what} is available");
                noted.answer = Answer::Good;
            }
            (Err(why), Answer::Bad { why: before, .. }) => {
                *before = why;
                return;
            }
            (Err(why), _) => {
                tracing::warn!("`{components}` cannot serve, and this host is not ready: {what} is missing: {why}");
                noted.answer = Answer::Bad { since: souk_manifest::clock::now(), why };
            }
        }
        self.good.store(all.iter().all(|noted| matches!(noted.answer, Answer::Good)), Ordering::Release);
        self.noted.notify_one();
    }

    /// Waits until everything has been checked once.
    async fn checked(&self) {
        while self.all().iter().any(|noted| matches!(noted.answer, Answer::Unknown(_))) {
            self.noted.notified().await;
        }
    }
}

/// The needs of a composition of the application, and the tasks that check them.
struct Checks {
    notes: Arc<Notes>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Checks {
    /// Starts to check the needs of `app`. The results in `before` hold until a need is checked again.
    fn start(app: &Arc<App>, state: &StateFolder, before: Option<&Notes>) -> Self {
        let now = souk_manifest::clock::now();
        let needs = needs::of(app, state);
        let known =
            |what: &str| before?.all().iter().find(|noted| noted.what == what).map(|noted| noted.answer.clone());
        let noted = needs.iter().map(|need| CheckedNeed {
            what: need.what.clone(),
            components: need.components.clone(),
            answer: known(&need.what).unwrap_or(Answer::Unknown(now)),
        });
        let all: Vec<CheckedNeed> = noted.collect();
        let good = AtomicBool::new(all.iter().all(|noted| matches!(noted.answer, Answer::Good)));
        let notes = Arc::new(Notes { all: Mutex::new(all), good, noted: Notify::new() });
        let tasks = needs.into_iter().enumerate().map(|(number, need)| {
            let (app, notes) = (app.clone(), notes.clone());
            let check = checks::run(app, need.kind, move |answer| notes.note(number, answer));
            AbortOnDropHandle::new(tokio::spawn(check))
        });
        Checks { _tasks: tasks.collect(), notes }
    }
}

/// The host's readiness.
pub struct Readiness {
    checks: RwLock<Arc<Checks>>,
    draining: CancellationToken,
}

/// The report on readiness.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether the host can serve all of its routes.
    pub ready: bool,
    /// Whether the host is about to stop.
    pub draining: bool,
    /// What its components lack.
    pub lacks: Vec<UnmetNeed>,
}

/// Something that a component lacks.
#[derive(Debug, Serialize)]
pub struct UnmetNeed {
    component: String,
    lacks: String,
    /// Since when (RFC 3339).
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl fmt::Display for UnmetNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` lacks {} since {}", self.component, self.lacks, self.since)?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
    }
}

impl Readiness {
    /// Starts to check the needs of `app`, which drains when `draining` is cancelled.
    pub fn start(app: &Arc<App>, state: &StateFolder, draining: CancellationToken) -> Arc<Self> {
        let checks = RwLock::new(Arc::new(Checks::start(app, state, None)));
        Arc::new(Readiness { checks, draining })
    }

    /// Checks what `app` needs since a reload. A new need does not make the host unready before it has been checked.
    pub async fn renew(&self, app: &Arc<App>) {
        let before = self.checks();
        let checks = Arc::new(Checks::start(app, app.state(), Some(&before.notes)));
        // A need without an answer until then counts as missing.
        let _ = tokio::time::timeout(checks::CHECK_TIMEOUT, checks.notes.checked()).await;
        *self.checks.write() = checks;
    }

    fn checks(&self) -> Arc<Checks> {
        self.checks.read().clone()
    }

    /// Whether the host can serve all of its routes.
    pub fn is_ready(&self) -> bool {
        self.checks.read().notes.good.load(Ordering::Acquire) && !self.is_draining()
    }

    /// Whether it is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// What its components lack; with the reasons only for those who may see them.
    pub fn report(&self, with_reasons: bool) -> Report {
        let checks = self.checks();
        let all = checks.notes.all();
        let mut lacks = Vec::new();
        for noted in all.iter() {
            let (since, why) = match &noted.answer {
                Answer::Good => continue,
                Answer::Unknown(since) => (since, "it has not been checked yet"),
                Answer::Bad { since, why } => (since, why.as_str()),
            };
            lacks.extend(noted.components.iter().map(|component| UnmetNeed {
                component: component.clone(),
                lacks: noted.what.clone(),
                since: humantime::format_rfc3339_millis(*since).to_string(),
                why: with_reasons.then(|| why.to_owned()),
            }));
        }
        Report { ready: lacks.is_empty() && !self.is_draining(), draining: self.is_draining(), lacks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readiness(needs: usize) -> Readiness {
        let noted = |number| CheckedNeed {
            what: format!("need {number}"),
            components: vec!["a".to_owned(), "b".to_owned()],
            answer: Answer::Unknown(souk_manifest::clock::now()),
        };
        let all = Mutex::new((0..needs).map(noted).collect());
        let notes = Arc::new(Notes { all, good: AtomicBool::new(needs == 0), noted: Notify::new() });
        let checks = RwLock::new(Arc::new(Checks { notes, _tasks: Vec::new() }));
        Readiness { checks, draining: CancellationToken::new() }
    }

    #[test]
    fn a_host_is_ready_once_everything_was_asked_for_and_is_there() {
        assert!(readiness(0).is_ready());
        let host = readiness(2);
        assert!(!host.is_ready() && host.report(false).lacks.len() == 4);
        host.checks().notes.note(0, Ok(()));
        assert!(!host.is_ready());
        host.checks().notes.note(1, Ok(()));
        assert!(host.is_ready() && host.report(false).ready);
        host.checks().notes.note(1, Err("gone".to_owned()));
        let report = host.report(true);
        assert!(!host.is_ready() && !report.ready && report.lacks.len() == 2);
        let lack = report.lacks.first().unwrap();
        assert_eq!((lack.component.as_str(), lack.lacks.as_str(), lack.why.as_deref()), ("a", "need 1", Some("gone")));
        assert!(host.report(false).lacks.iter().all(|lack| lack.why.is_none()), "a reason is for those who may see it");
        let since = lack.since.clone();
        host.checks().notes.note(1, Err("still".to_owned()));
        let report = host.report(true);
        let lack = report.lacks.first().unwrap();
        assert_eq!((&lack.since, lack.why.as_deref()), (&since, Some("still")));
        host.checks().notes.note(1, Ok(()));
        assert!(host.is_ready());
        host.draining.cancel();
        let report = host.report(true);
        assert!(!host.is_ready() && !report.ready && report.draining && report.lacks.is_empty());
    }
}
