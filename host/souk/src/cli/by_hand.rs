//! Starts the application for a command that calls its functions while no host runs.
//!
//! A component that is not built, or is broken, must not stop the call of another one: only the called component is
//! loaded, with what it leads to. A command that needs every component loads those that it can.

use super::{output, progress};
use crate::app::{App, StartError};
use souk_manifest::Application;
use souk_manifest::state::StateFolder;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Starts what a call of `component` needs, and notes which components are left out.
///
/// # Errors
/// When one of them does not start.
pub(super) async fn start_for(
    application: Application,
    state: &StateFolder,
    component: &str,
) -> Result<Arc<App>, StartError> {
    let needed = application.needed_for_call(component);
    if let Some(note) = skipped(&application, component, &needed) {
        output::note(&note);
    }
    App::start_for_calls(application, state, &needed, progress::compiled()).await
}

/// Starts all components; if one of them has a mistake, none, and then each is loaded when it is called.
///
/// # Errors
/// When anything but a component stops the start.
pub(super) async fn start_all(application: Application, state: &StateFolder) -> Result<Arc<App>, StartError> {
    let all: BTreeSet<String> = application.components.keys().cloned().collect();
    let started = App::start_for_calls(application.clone(), state, &all, progress::compiled()).await;
    match started {
        // What compiles is in the code cache now.
        Err(StartError::Mistakes(_)) => {
            App::start_for_calls(application, state, &BTreeSet::new(), progress::compiled()).await
        }
        started => started,
    }
}

/// The note about components of this host that are not `needed` for a call of `component`.
fn skipped(application: &Application, component: &str, needed: &BTreeSet<String>) -> Option<String> {
    if needed.is_empty() {
        // There is no such component here; the call's error says so.
        return None;
    }
    let here = application.here().map(|component| component.name.as_str());
    let skipped: Vec<&str> = here.filter(|name| !needed.contains(*name)).collect();
    (!skipped.is_empty()).then(|| {
        format!("no host runs: `{component}` is started with what it leads to, without {}", skipped.join(", "))
    })
}
