//! The state of a folder's migrations, compared with the history in the database. It is the same for every kind of
//! database.

use super::error::MigrationError;
use super::files::{self, Migration};
use std::collections::BTreeMap;

/// The state of one migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigrationState {
    /// It ran at this time (RFC 3339).
    Applied(String),
    /// It has not run yet, and will run.
    Pending,
    /// It ran, and its file was changed afterwards.
    Changed,
    /// It ran at this time (RFC 3339), and its file was removed on purpose.
    Retired(String),
    /// It ran at this time (RFC 3339) and its file is not here, but the newer release that added it declared that older
    /// releases can work with it.
    Newer(String),
    /// It ran, and its file is gone.
    Missing,
    /// It did not run, but a later one did.
    Late,
}

/// One line of a component's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The number in the file's name.
    pub version: i32,
    /// The file's name.
    pub file: String,
    /// Its state.
    pub standing: MigrationState,
}

/// A row of the history.
pub(super) struct HistoryRow {
    pub(super) name: String,
    pub(super) at: String,
    pub(super) checksum: String,
    /// Whether the release that added it declared it `additive`.
    pub(super) additive: bool,
}

/// The state of each of `migrations`, whose files have these checksums, and of each in `ran`, by its version; in the
/// order of versions. The numbers in `retired` need no file.
pub(super) fn compare(
    migrations: &[Migration],
    checksums: impl Iterator<Item = String>,
    mut ran: BTreeMap<i32, HistoryRow>,
    retired: &[i32],
) -> Vec<Status> {
    let (last, newest) = (ran.keys().next_back().copied(), migrations.last().map(|migration| migration.version));
    let mut all: Vec<Status> = migrations
        .iter()
        .zip(checksums)
        .map(|(migration, checksum)| Status {
            version: migration.version,
            file: migration.file.clone(),
            standing: match ran.remove(&migration.version) {
                Some(ran) if ran.checksum == checksum && ran.name == migration.name => MigrationState::Applied(ran.at),
                Some(_) => MigrationState::Changed,
                None if last.is_some_and(|last| migration.version < last) => MigrationState::Late,
                None => MigrationState::Pending,
            },
        })
        .collect();
    all.extend(ran.into_iter().map(|(version, ran)| Status {
        version,
        file: files::file_name(version, &ran.name),
        standing: match ran.at {
            at if retired.contains(&version) => MigrationState::Retired(at),
            at if ran.additive && newest.is_none_or(|newest| version > newest) => MigrationState::Newer(at),
            _ => MigrationState::Missing,
        },
    }));
    all.sort_by_key(|s| s.version);
    all
}

/// The migrations to run, if all of them are in order.
///
/// # Errors
/// When a migration that ran was changed or removed, or one was added before it.
pub(super) fn pending<'a>(
    component: &str,
    database: &str,
    migrations: &'a [Migration],
    status: &[Status],
) -> Result<Vec<&'a Migration>, MigrationError> {
    for one in status {
        let Some((reason, fix)) = one.standing.problem() else { continue };
        return Err(MigrationError::History {
            component: component.to_owned(),
            database: database.to_owned(),
            file: one.file.clone(),
            reason,
            fix,
        });
    }
    let is_pending = |version| status.iter().any(|s| s.version == version && s.standing == MigrationState::Pending);
    Ok(migrations.iter().filter(|migration| is_pending(migration.version)).collect())
}

/// Warns of migrations of a newer release that this release can work with.
pub(super) fn warn_of_newer(component: &str, database: &str, status: &[Status]) {
    let newer: Vec<&str> = status
        .iter()
        .filter(|one| matches!(one.standing, MigrationState::Newer(_)))
        .map(|one| one.file.as_str())
        .collect();
    if !newer.is_empty() {
        tracing::warn!(
            component,
            database,
            "a newer release has run {} here, and declared that this release can work with it",
            newer.join(", ")
        );
    }
}

/// Whether no migration has ever run.
pub(super) fn is_new(status: &[Status]) -> bool {
    status.iter().all(|one| one.standing == MigrationState::Pending)
}

impl MigrationState {
    /// What is wrong with it, if anything, and what would fix it.
    fn problem(&self) -> Option<(&'static str, &'static str)> {
        match self {
            MigrationState::Applied(_)
            | MigrationState::Retired(_)
            | MigrationState::Newer(_)
            | MigrationState::Pending => None,
            MigrationState::Changed => Some((
                "was changed after it ran",
                "put the file back as it was, and make the change in a new migration",
            )),
            MigrationState::Missing => Some((
                "has run, but its file is gone",
                "put the file back, or add its number to the component's `retired`; if a newer release added it and \
                 this one can work with it, add it to `additive` there and start that release once",
            )),
            MigrationState::Late => Some((
                "has not run, but a later one has",
                "give it a number after the last, so that all hosts run them in one order",
            )),
        }
    }
}
