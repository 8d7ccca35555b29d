//! The files of migrations: their names, their order and their text.

use super::error::MigrationError;
use std::collections::BTreeMap;
use std::path::Path;

/// The kind of database that a folder of migrations is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    /// The folder's name.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Kind::Sqlite => "sqlite",
            Kind::Postgres => "postgres",
        }
    }
}

/// One migration, as read from its file.
#[derive(Debug, Clone)]
pub(super) struct Migration {
    /// The number in the file's name; migrations run in the order of their numbers.
    pub version: i32,
    /// The name after the number in the file's name.
    pub name: String,
    /// The file's name, `NNNN_name.sql`.
    pub file: String,
    /// The file's text.
    pub sql: String,
}

/// The file name of the migration with this version and name.
pub(super) fn file_name(version: i32, name: &str) -> String {
    format!("{version:04}_{name}.sql")
}

/// The migrations in `dir/sqlite` or `dir/postgres`, in order; none when there is no such folder, because a component's
/// migrations may be for another kind of database.
///
/// # Errors
/// When `dir` cannot be read, a file's name is not `NNNN_name.sql`, two files have the same number, or one has a
/// `retired` number: a database in which the retired migration ran would count it as done.
pub(super) fn read(component: &str, dir: &Path, retired: &[i32], kind: Kind) -> Result<Vec<Migration>, MigrationError> {
    const READABLE: &str = "make it readable for the host's user";
    let error = |path: &Path, reason: String, fix| MigrationError::File {
        component: component.to_owned(),
        path: path.to_owned(),
        reason,
        fix,
    };
    let unreadable = |e| error(dir, format!("the folder cannot be read: {e}"), READABLE);
    let mut kinds = 0;
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if !path.is_dir() || !matches!(path.file_name().and_then(|n| n.to_str()), Some("sqlite" | "postgres")) {
            let fix = "put the files into the folder of their database, or move this one out";
            return Err(error(&path, "is not a folder `sqlite` or `postgres`".to_owned(), fix));
        }
        kinds += 1;
    }
    if kinds == 0 {
        let fix = "put the files into its folder `sqlite` or `postgres`";
        return Err(error(dir, "the folder is empty".to_owned(), fix));
    }
    let folder = dir.join(kind.folder());
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(error(&folder, format!("the folder cannot be read: {e}"), READABLE)),
    };
    let mut all: BTreeMap<i32, Migration> = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(|e| error(&folder, format!("the folder cannot be read: {e}"), READABLE))?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((version, name)) = parse_name(&file) else {
            let reason =
                "the name must be NNNN_name.sql: four digits, an underscore, then letters, digits or underscores";
            return Err(error(&path, reason.to_owned(), "rename the file, or move it out of the folder"));
        };
        if retired.contains(&version) {
            let reason = "its number is among the component's `retired`, so it never runs";
            return Err(error(&path, reason.to_owned(), "remove the file, or give it the next free number"));
        }
        let sql = std::fs::read_to_string(&path).map_err(|e| {
            error(&path, format!("the file cannot be read: {e}"), "make it a text file that the host's user can read")
        })?;
        if let Some(other) = all.get(&version) {
            let reason = format!("{} has the same number", other.file);
            return Err(error(&path, reason, "give one of them the next free one"));
        }
        let name = name.to_owned();
        all.insert(version, Migration { version, name, file, sql });
    }
    Ok(all.into_values().collect())
}

/// Checks that each number in `additive` is the number of a file, for either kind of database, so that a typing error
/// is noticed.
///
/// # Errors
/// Names the first number that has no file.
pub(super) fn check_additive(component: &str, dir: &Path, additive: &[i32]) -> Result<(), MigrationError> {
    let mut there = Vec::new();
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let entries = std::fs::read_dir(dir.join(kind.folder())).into_iter().flatten().flatten();
        there.extend(entries.filter_map(|entry| Some(parse_name(entry.file_name().to_str()?)?.0)));
    }
    match additive.iter().find(|number| !there.contains(number)) {
        None => Ok(()),
        Some(number) => Err(MigrationError::File {
            component: component.to_owned(),
            path: dir.to_owned(),
            reason: format!("has no file with the number {number:04}, which is in the component's `additive`"),
            fix: "write the number of a migration, or remove it from `additive`",
        }),
    }
}

/// The number and the name in `NNNN_name.sql`.
fn parse_name(file: &str) -> Option<(i32, &str)> {
    let (number, name) = file.strip_suffix(".sql")?.split_once('_')?;
    let is_number = number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit());
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (is_number && is_name).then_some(())?;
    Some((number.parse().ok()?, name))
}
