//! What this host leaves to others (`--only`): checked before anything is compiled.

use super::start::StartError;
use crate::manifest::Application;

/// Checks that what components of this host need of other hosts can be reached.
///
/// # Errors
/// Without NATS, when a component here depends on one that is not, or has a link that is to be remote.
pub(super) fn check(application: &Application) -> Result<(), StartError> {
    if application.nats.is_some() {
        return Ok(());
    }
    let unfit = |line: usize, component: &str, message: String, fix: String| StartError::Unfit {
        manifest: application.manifest.display().to_string(),
        line,
        component: component.to_owned(),
        message,
        fix,
    };
    for component in application.here() {
        for dependency in &component.dependencies {
            let target = &dependency.component;
            if !application.runs_here(target) {
                let message = format!("depends on `{target}`, which `--only` leaves to another host");
                let fix = format!("name the NATS that the hosts share, `--nats nats://HOST:4222`, or add `{target}`");
                return Err(unfit(dependency.line, &component.name, message, fix));
            }
        }
        if let Some(remote) = component.remote.first() {
            let message = format!("has `{}` in `remote`, and there is no NATS", remote.name);
            let fix = "name one, `--nats nats://HOST:4222`, or take it out of `remote`".to_owned();
            return Err(unfit(remote.line, &component.name, message, fix));
        }
    }
    Ok(())
}
