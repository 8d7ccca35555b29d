//! The parts of the application that this host leaves to other hosts (`--only`), checked before anything is compiled.

use souk_manifest::{Application, DatabaseUrl, Diagnostic, KeyValuePlace};

/// Logs which components of this host keep state only on it: an instance on another host would have separate state.
pub(super) fn inform(application: &Application) {
    if application.nats.is_none() {
        return;
    }
    for component in application.here() {
        let files =
            component.sqlite_databases.iter().filter(|_| !matches!(component.database, Some(DatabaseUrl::Postgres(_))));
        let is_file =
            |label: &&String| matches!(application.key_value_places.get(*label), None | Some(KeyValuePlace::File(_)));
        let stores = component.key_value_stores.iter().filter(is_file);
        let labels: Vec<&str> = files.chain(stores).map(String::as_str).collect();
        if !labels.is_empty() {
            tracing::info!(
                component = %component.name,
                "it keeps {} in this host's state folder: run it only on this host, or keep them where all hosts reach \
                 them",
                labels.join(", ")
            );
        }
    }
}

/// Checks that this host can reach what its components need from other hosts, which needs NATS. Without NATS it returns
/// the components here that depend on a component elsewhere or declare a `remote` link, and the routes to components
/// elsewhere.
#[must_use]
pub(super) fn check(application: &Application) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    if application.nats.is_some() {
        return mistakes;
    }
    for component in application.here() {
        for dependency in &component.dependencies {
            let target = &dependency.component;
            if !application.runs_here(target) {
                let message = format!("depends on `{target}`, which `--only` leaves to another host");
                let fix = format!("name the NATS that the hosts share, `--nats nats://HOST:4222`, or add `{target}`");
                mistakes.push(application.mistake_at(dependency.line, &component.name, message, fix));
            }
        }
        for remote in &component.remote {
            let message = format!("has `{}` in `remote`, but no NATS is configured", remote.name);
            let fix = "name one, `--nats nats://HOST:4222`, or remove it from `remote`";
            mistakes.push(application.mistake_at(remote.line, &component.name, message, fix));
        }
    }
    // No host would serve these routes.
    for route in application.routes.iter().filter(|route| !application.runs_here(&route.component)) {
        let message = "answers a route, but `--only` leaves it to another host";
        let fix =
            format!("name the NATS that the hosts share, `--nats nats://HOST:4222`, or add `{}`", route.component);
        mistakes.push(application.mistake_at(route.line, &route.component, message, fix));
    }
    mistakes
}
