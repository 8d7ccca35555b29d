//! The state folder's record of places: `places.json` has the place of each store and database at the last start,
//! whether it had rows, and the copies that have not finished.
//!
//! A file is checked for rows directly. A server that is no longer configured cannot be checked, so the record decides.
//! A PostgreSQL database is assumed to have rows once migrations have run in it, unless the previous place is a file with
//! rows whose tables are empty there.

use super::wrong_place::{PlaceError, WrongPlace};
use serde::{Deserialize, Serialize};
use souk_bindings::key_value::{Store, Stores};
use souk_bindings::migrations;
use souk_bindings::moving::{has_rows, must_be_empty};
use souk_manifest::state::StateFolder;
use souk_manifest::subject::Subjects;
use souk_manifest::{Application, Component, DatabaseUrl, KeyValuePlace, ManifestErrors, PostgresAddress};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

souk_manifest::fixed_limits! {
    /// The fixed limits of the record of places.
    pub(super) const FIXED_LIMITS = "places";

    /// How often an empty store on a server is checked for keys.
    const WATCH_INTERVAL: Duration = Duration::from_secs(5);
}

/// The content of `places.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Places {
    /// By the keys `key-value/LABEL`, `database/COMPONENT` and, without migrations, `sqlite/LABEL`.
    #[serde(default)]
    places: BTreeMap<String, Place>,
    /// The copies that have begun but not finished: what is copied, where to, and where from.
    #[serde(default)]
    copies: BTreeMap<String, BTreeMap<String, String>>,
    /// What a copy has brought as a whole, and to which places, until a host starts with it. One place may have several:
    /// two components' databases in one of PostgreSQL.
    #[serde(default)]
    finished: BTreeMap<String, BTreeSet<String>>,
}

/// A place, without a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// A description for people.
    place: String,
    /// The file, if the place is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// Whether it had rows at the last check.
    rows: bool,
    /// Whether that is unknown, because it did not answer.
    #[serde(skip)]
    silent: bool,
}

impl Place {
    fn file(path: &Path) -> Place {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Place { place: path.display().to_string(), file: Some(path), rows: false, silent: false }
    }

    fn server(place: String) -> Place {
        Place { place, file: None, rows: false, silent: false }
    }

    /// Its description.
    pub(crate) fn shown(&self) -> &str {
        &self.place
    }

    fn had_rows(&self) -> bool {
        self.file.as_deref().map_or(self.rows, has_rows)
    }

    /// Whether both are the same file, by whatever path.
    fn is_same_file(&self, other: &Place) -> bool {
        let real = |place: &Place| place.file.as_deref().and_then(|path| path.canonicalize().ok());
        real(self).is_some_and(|path| Some(path) == real(other))
    }

    /// Whether both files have the same name in a folder of the same name: the same file of two state folders.
    fn is_named_as(&self, other: &Place) -> bool {
        let end = |place: &Place| {
            let path = place.file.as_deref()?;
            Some((path.file_name()?.to_owned(), path.parent()?.file_name()?.to_owned()))
        };
        end(self).is_some_and(|end_of| Some(end_of) == end(other))
    }

    /// How `souk store copy` names it: a server's URL may have a password, which the record does not contain.
    fn argument(&self) -> String {
        match &self.file {
            Some(path) => format!("file:{}", path.display()),
            None => "PLACE".to_owned(),
        }
    }
}

/// The place of a key-value store.
pub(crate) fn store_place(place: Option<&KeyValuePlace>, application: &str, label: &str, folder: &Path) -> Place {
    match place {
        None => Place::file(&folder.join(format!("{label}.db"))),
        Some(KeyValuePlace::File(path)) => Place::file(path),
        Some(KeyValuePlace::Nats { bucket }) => {
            let bucket = bucket.clone().unwrap_or_else(|| Subjects::of(application).bucket(label));
            Place::server(format!("NATS, bucket {bucket}"))
        }
        Some(KeyValuePlace::Redis(url)) => Place::server(url.to_string()),
        Some(KeyValuePlace::Mongo { url, collection }) => Place::server(format!("{url}, collection {collection}")),
    }
}

/// The place of the database that `component`'s migrations run in, and its default place.
fn database_place(component: &Component, application: &Application, sqlite: &Path) -> Option<(Place, Place)> {
    component.migrations.as_ref()?;
    let label = migrations::sqlite_label(component).ok();
    let by_itself = sqlite.join(format!("{}.db", label.unwrap_or(&component.name)));
    let now = match &component.database {
        Some(DatabaseUrl::Postgres(address)) => Place::server(address.to_string()),
        _ => Place::file(application.sqlite_paths.get(label?).unwrap_or(&by_itself)),
    };
    Some((now, Place::file(&by_itself)))
}

/// The labels of the SQLite databases in which no migrations run, each with its place and its default place.
fn other_databases(application: &Application, sqlite: &Path) -> BTreeMap<String, (Place, Place)> {
    let migrated: BTreeSet<&str> = application
        .here()
        .filter(|component| component.migrations.is_some())
        .filter_map(|component| migrations::sqlite_label(component).ok())
        .collect();
    let labels = application.here().flat_map(|component| &component.sqlite_databases);
    let others = labels.filter(|label| !migrated.contains(label.as_str()));
    let places = others.map(|label| {
        let by_itself = sqlite.join(format!("{label}.db"));
        let now = Place::file(application.sqlite_paths.get(label).unwrap_or(&by_itself));
        (label.clone(), (now, Place::file(&by_itself)))
    });
    places.collect()
}

/// Compares the places of this host's data with the recorded ones, and records them. The returned task watches stores
/// that are empty. Blocks on the disk: nothing else may run.
///
/// # Errors
/// When a place is empty and the previous one was not, or a copy is incomplete: all such places together.
pub(crate) async fn check(
    application: &Application,
    stores: &Stores,
    state: &StateFolder,
) -> Result<Option<AbortOnDropHandle<()>>, PlaceError> {
    let mut places = Places::read(state)?;
    let (mut empty, mut mistakes) = (Vec::new(), Vec::new());
    for label in labels(application) {
        let configured = application.key_value_places.get(label);
        let mut now = store_place(configured, &application.name, label, &state.key_value());
        let by_itself = store_place(None, &application.name, label, &state.key_value());
        let key = format!("key-value/{label}");
        let what = format!("the key-value store `{label}`");
        let store = stores.get(label).map(|store| Arc::new(store.unmeasured()));
        let listed = match &store {
            Some(store) => store.keys(None).await.ok().map(|page| !page.keys.is_empty()),
            None => None,
        };
        places.note_listed(&key, &mut now, listed);
        if !now.rows && now.file.is_none() {
            empty.extend(store.map(|store| (key.clone(), store)));
        }
        if let Err(wrong) = places.compare(&key, now, by_itself, &what, label) {
            let has_it = |component: &&Component| component.key_value_stores.iter().any(|one| one == label);
            let component = application.here().find(has_it);
            mistakes.push(wrong.mistake(application, component));
        }
    }
    for component in application.here() {
        let Some((mut now, by_itself)) = database_place(component, application, &state.sqlite()) else { continue };
        let key = format!("database/{}", component.name);
        now.rows = match (&component.database, &component.migrations) {
            // Only for a changed place, which saves a query to the server.
            (Some(DatabaseUrl::Postgres(address)), Some(dir)) if !places.is_same(&key, &now) => {
                match migrations::postgres::is_new(address, &component.name, dir, &component.retired).await {
                    Ok(true) => false,
                    Ok(false) => !is_unfilled(places.places.get(&key).unwrap_or(&by_itself), address).await,
                    Err(error) => {
                        mistakes.push(error.mistake(application));
                        // The other databases may be at the same server, and each would wait as long.
                        break;
                    }
                }
            }
            (Some(DatabaseUrl::Postgres(_)), _) => true,
            _ => now.file.as_deref().is_some_and(has_rows),
        };
        let what = format!("the database of `{}`", component.name);
        if let Err(wrong) = places.compare(&key, now, by_itself, &what, &component.name) {
            mistakes.push(wrong.mistake(application, Some(component)));
        }
        if let (Some(DatabaseUrl::Postgres(_)), Some(place)) = (&component.database, places.places.get_mut(&key)) {
            // Migrations run next.
            place.rows = true;
        }
    }
    for (label, (mut now, by_itself)) in other_databases(application, &state.sqlite()) {
        now.rows = now.file.as_deref().is_some_and(has_rows);
        // Also what `souk store copy` calls it.
        let key = format!("sqlite/{label}");
        if let Err(wrong) = places.compare(&key, now, by_itself, &format!("the database `{label}`"), &key) {
            let component = application.here().find(|component| component.sqlite_databases.contains(&label));
            mistakes.push(wrong.mistake(application, component));
        }
    }
    ManifestErrors::check(mistakes)?;
    places.write(state)?;
    Ok((!empty.is_empty()).then(|| AbortOnDropHandle::new(tokio::spawn(watch(empty, state.clone())))))
}

/// Whether a database in which migrations have run has no row in the tables of the file `before`, which has some: `souk
/// migrate` or a copy that was refused made the tables, and nothing has been copied.
async fn is_unfilled(before: &Place, address: &PostgresAddress) -> bool {
    match &before.file {
        Some(file) if has_rows(file) => must_be_empty(file, address).await.is_ok(),
        _ => false,
    }
}

/// Checks empty stores until they have keys, and records that.
async fn watch(mut empty: Vec<(String, Arc<Store>)>, state: StateFolder) {
    while !empty.is_empty() {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let mut still = Vec::new();
        for (key, store) in empty {
            if !store.keys(None).await.is_ok_and(|page| !page.keys.is_empty()) {
                still.push((key, store));
                continue;
            }
            let note = Places::read(&state).and_then(|mut places| {
                places.places.entry(key).and_modify(|place| place.rows = true);
                places.write(&state)
            });
            if let Err(error) = note {
                tracing::warn!("{error}");
            }
        }
        empty = still;
    }
}

/// Records the configured places, whatever was recorded before.
///
/// # Errors
/// When the state folder cannot be written.
pub(crate) fn accept(application: &Application, state: &StateFolder) -> Result<(), PlaceError> {
    let mut places = Places::read(state)?;
    for label in labels(application) {
        let configured = application.key_value_places.get(label);
        let now = store_place(configured, &application.name, label, &state.key_value());
        places.places.insert(format!("key-value/{label}"), now);
    }
    for component in application.here() {
        if let Some((now, _)) = database_place(component, application, &state.sqlite()) {
            places.places.insert(format!("database/{}", component.name), now);
        }
    }
    for (label, (now, _)) in other_databases(application, &state.sqlite()) {
        places.places.insert(format!("sqlite/{label}"), now);
    }
    places.write(state)
}

/// Refuses settings that name other places than those in which the host has its data, according to the record of its
/// last start. `folder` is the state folder, which that host may hold, or which may not exist yet. Blocks on the disk.
///
/// # Errors
/// When a place differs, or the record cannot be read.
pub(crate) fn must_match(application: &Application, folder: &Path) -> Result<(), PlaceError> {
    // As the host's own paths are.
    let Ok(folder) = folder.canonicalize() else { return Ok(()) };
    let places = Places::read_in(&folder)?;
    let key_value = folder.join("key_value");
    for label in labels(application) {
        let place = |configured| store_place(configured, &application.name, label, &key_value);
        let (now, by_itself) = (place(application.key_value_places.get(label)), place(None));
        places.must_be(&format!("key-value/{label}"), &now, &by_itself, || format!("the key-value store `{label}`"))?;
    }
    for component in application.here() {
        let name = &component.name;
        if let Some((now, by_itself)) = database_place(component, application, &folder.join("sqlite")) {
            places.must_be(&format!("database/{name}"), &now, &by_itself, || format!("the database of `{name}`"))?;
        }
    }
    for (label, (now, by_itself)) in other_databases(application, &folder.join("sqlite")) {
        places.must_be(&format!("sqlite/{label}"), &now, &by_itself, || format!("the database `{label}`"))?;
    }
    Ok(())
}

/// Whether the same copy was begun before and is incomplete.
///
/// # Errors
/// When a copy from another place to the same one is incomplete, or the record cannot be read.
pub(crate) fn is_begun(state: &StateFolder, name: &str, from: &str, to: &str) -> Result<bool, PlaceError> {
    match Places::read(state)?.copies.get(name).and_then(|copies| copies.get(to)) {
        Some(begun) if begun == from => Ok(true),
        Some(_) => Err(WrongPlace::half_copied(name, to).into()),
        None => Ok(false),
    }
}

/// Records that a copy begins; returns whether the same copy was begun before and is incomplete. The target must have
/// been empty before the first time: a copy that continues takes what is there for its own.
///
/// # Errors
/// When a copy from another place to the same one is incomplete, or the state folder cannot be written.
pub(crate) fn begin(state: &StateFolder, name: &str, from: &str, to: &str) -> Result<bool, PlaceError> {
    if is_begun(state, name, from, to)? {
        return Ok(true);
    }
    let mut places = Places::read(state)?;
    places.copies.entry(name.to_owned()).or_default().insert(to.to_owned(), from.to_owned());
    places.write(state).map(|()| false)
}

/// Records that a copy has finished or did not begin.
///
/// # Errors
/// When the state folder cannot be written.
pub(crate) fn end(state: &StateFolder, name: &str, to: &str) -> Result<(), PlaceError> {
    let mut places = Places::read(state)?;
    if let Some(copies) = places.copies.get_mut(name) {
        copies.remove(to);
    }
    places.copies.retain(|_, copies| !copies.is_empty());
    places.write(state)
}

/// Records that a copy has brought all data to a place, so that a start there leaves nothing behind.
///
/// # Errors
/// When the state folder cannot be written.
pub(crate) fn finish(state: &StateFolder, name: &str, to: &str) -> Result<(), PlaceError> {
    end(state, name, to)?;
    let mut places = Places::read(state)?;
    places.finished.entry(name.to_owned()).or_default().insert(to.to_owned());
    places.write(state)
}

/// The labels of the stores of this host's components, each once.
fn labels(application: &Application) -> BTreeSet<&str> {
    application.here().flat_map(|component| &component.key_value_stores).map(String::as_str).collect()
}

impl Places {
    fn path(folder: &Path) -> PathBuf {
        folder.join("places.json")
    }

    fn read(state: &StateFolder) -> Result<Places, PlaceError> {
        Places::read_in(state.path())
    }

    fn read_in(folder: &Path) -> Result<Places, PlaceError> {
        let path = Places::path(folder);
        match std::fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(|error| PlaceError::File { path, cause: io::Error::new(io::ErrorKind::InvalidData, error) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Places::default()),
            Err(cause) => Err(PlaceError::File { path, cause }),
        }
    }

    /// Writes a new file, which replaces the old one when it is complete.
    fn write(&self, state: &StateFolder) -> Result<(), PlaceError> {
        let path = Places::path(state.path());
        let failed = |cause| PlaceError::File { path: path.clone(), cause };
        let json = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        let new = tempfile::NamedTempFile::new_in(state.path()).map_err(failed)?;
        std::fs::write(new.path(), json).map_err(failed)?;
        new.as_file().sync_all().map_err(failed)?;
        new.persist(&path).map(drop).map_err(|error| failed(error.error))
    }

    /// Refuses a place that an incomplete copy has filled. A start at another place is allowed: that is how to give up
    /// a copy.
    fn must_be_whole(&self, name: &str, now: &Place) -> Result<(), WrongPlace> {
        match self.copies.get(name).is_some_and(|copies| copies.contains_key(&now.place)) {
            true => Err(WrongPlace::half_copied(name, &now.place)),
            false => Ok(()),
        }
    }

    fn is_same(&self, key: &str, now: &Place) -> bool {
        self.places.get(key).is_some_and(|before| before.place == now.place)
    }

    /// Notes whether a store has keys. If it could not be listed, it has what it had at the last start, at the same
    /// place; another place counts as empty until it answers.
    fn note_listed(&self, key: &str, now: &mut Place, listed: Option<bool>) {
        now.silent = listed.is_none();
        now.rows = listed.unwrap_or_else(|| {
            self.places.get(key).is_some_and(|before| before.place == now.place && before.had_rows())
        });
    }

    /// Refuses a place other than the recorded one, if that has rows. A state folder that was moved or copied records
    /// its former path: its own files are still its own.
    fn must_be(
        &self,
        key: &str,
        now: &Place,
        by_itself: &Place,
        what: impl FnOnce() -> String,
    ) -> Result<(), WrongPlace> {
        let Some(before) = self.places.get(key) else { return Ok(()) };
        if before.place == now.place || before.is_same_file(now) || !before.had_rows() {
            return Ok(());
        }
        if now.place == by_itself.place && before.is_named_as(now) && now.had_rows() {
            return Ok(());
        }
        let message = format!("the host keeps {} in {}, and these settings say {}", what(), before.place, now.place);
        let fix = "run this with the host's own variables and --runtime-config-file; if the data has moved, start the \
                   host once first";
        Err(WrongPlace { message, fix: fix.to_owned() })
    }

    /// Records the current place, unless a copy has filled it in part, or it is empty and the previous one is not.
    fn compare(&mut self, key: &str, now: Place, by_itself: Place, what: &str, name: &str) -> Result<(), WrongPlace> {
        self.must_be_whole(name, &now)?;
        let before = self.places.get(key).unwrap_or(&by_itself);
        if before.place != now.place && !now.rows && before.had_rows() {
            let (shown, from) = (&before.place, before.argument());
            let (state, first) = match now.silent {
                true => ("does not answer", "start again when it answers; if the data is not there yet, "),
                false => ("is empty", ""),
            };
            return Err(WrongPlace {
                message: format!("{what} is now in {}, which {state}, and was in {shown}, which has data", now.place),
                fix: format!(
                    "{first}copy it: `souk store copy {name} --from {from} --to configured`; or start without the \
                     data: `souk up --start-empty`"
                ),
            });
        }
        if let Some(warning) = self.left_behind(key, &now, &by_itself.place, what, name) {
            tracing::warn!("{warning}");
        }
        self.finished.remove(name);
        self.places.insert(key.to_owned(), now);
        Ok(())
    }

    /// The warning that the previous place has data, too, and no copy has brought it here: what a host has stored there
    /// is not here, for example after a return to the place before.
    fn left_behind(&self, key: &str, now: &Place, by_itself: &str, what: &str, name: &str) -> Option<String> {
        let before = self.places.get(key).filter(|before| before.place != now.place && !before.is_same_file(now))?;
        let is_copied = self.finished.get(name).is_some_and(|places| places.contains(&now.place));
        // The state folder itself was moved or copied.
        let is_folder = now.place == by_itself && before.is_named_as(now);
        if is_copied || is_folder || !now.rows || !before.had_rows() {
            return None;
        }
        let (now, before) = (&now.place, &before.place);
        Some(format!(
            "{what} is now in {now}, and was in {before} at the last start: unless both are one place, what was stored \
             there since is missing here; fix: if that is not meant, stop the host and set the former place again"
        ))
    }
}

#[cfg(test)]
mod tests;
