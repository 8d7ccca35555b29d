//! Deployments in the API: reads what a request asks for, and gives a refusal its status.

use super::problem::Problem;
use super::routes::{flag, parameter};
use crate::app::App;
use crate::app::deploy::{DeployError, Deployed, Order, Terms, VersionFacts};
use http::StatusCode;
use souk_bindings::call::DRAWS;
use std::sync::Arc;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of deployments.
    pub(crate) const FIXED_LIMITS = "deployments";

    /// The default time of a trial.
    const TRIAL_TIME: Duration = Duration::from_secs(60);
}

/// The default for how many of a trial's calls may fail, as a share.
const ERRORS: f64 = 0.01;
/// The default for how many times as long a trial's calls may take.
const SLOWDOWN: f64 = 2.0;

impl From<DeployError> for Problem {
    fn from(error: DeployError) -> Self {
        let status = match &error {
            DeployError::NotHere(_) => StatusCode::NOT_FOUND,
            DeployError::Refused(_) => StatusCode::CONFLICT,
            DeployError::Wrong { .. } | DeployError::Manifest { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            DeployError::NotKept { .. } => StatusCode::INSUFFICIENT_STORAGE,
        };
        Problem::new(status, error)
    }
}

/// Deploys the file of the request, or without one the file that the manifest names.
pub(super) async fn deploy(
    app: &Arc<App>,
    component: String,
    query: Option<&str>,
    file: Vec<u8>,
    by: String,
) -> Result<Deployed, Problem> {
    let trial = terms(query)?;
    let check = flag(query, "check")?;
    let bytes = (!file.is_empty()).then_some(file);
    Ok(app.deploy(Order { component, bytes, trial, by, check }).await?)
}

/// Goes back to the version that the query names, or to the one before.
pub(super) async fn roll_back(
    app: &Arc<App>,
    component: &str,
    query: Option<&str>,
    by: &str,
) -> Result<Deployed, Problem> {
    let number = match parameter(query, "version") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| Problem::bad("`version` is not the number of a version"))?),
    };
    Ok(app.roll_back(component, number, by).await?)
}

/// Promotes the version that is on trial.
pub(super) async fn promote(app: &Arc<App>, component: &str, by: &str) -> Result<Deployed, Problem> {
    Ok(app.promote(component, by).await?)
}

/// The versions of the component that the query names, or of all.
pub(super) fn versions(app: &App, query: Option<&str>) -> Result<Vec<VersionFacts>, Problem> {
    let (component, application) = (parameter(query, "component"), app.application());
    if let Some(name) = &component
        && !application.components.contains_key(name)
    {
        let known: Vec<&str> = application.components.keys().map(String::as_str).collect();
        let message = format!("there is no component `{name}`\n  fix: name one of {}", known.join(", "));
        return Err(Problem::not_found(message));
    }
    Ok(app.versions(component.as_deref()))
}

/// The terms of a trial; `None` without a trial, which includes a share of 100%.
fn terms(query: Option<&str>) -> Result<Option<Terms>, Problem> {
    let Some(canary) = parameter(query, "canary") else {
        return match ["for", "max-errors", "max-slowdown"].iter().find(|key| parameter(query, key).is_some()) {
            // It would serve all calls at once, and nothing would be limited.
            Some(key) => Err(Problem::bad(format_args!("`{key}` needs `canary`\n  fix: add `canary=5%25`"))),
            None => Ok(None),
        };
    };
    let share = percent("canary", &canary)?;
    let draws = (share * f64::from(DRAWS)).round();
    if !(1.0..=f64::from(DRAWS)).contains(&draws) {
        return Err(Problem::bad("`canary` must be a share of all calls, from 0.01% to 100%"));
    }
    if draws >= f64::from(DRAWS) {
        return Ok(None);
    }
    let time = match parameter(query, "for") {
        None => TRIAL_TIME,
        Some(text) => humantime::parse_duration(&text)
            .map_err(|_| Problem::bad(format_args!("`for` must be a time such as `60s` or `5m`, not {text:?}")))?,
    };
    let max_errors = parameter(query, "max-errors").map_or(Ok(ERRORS), |text| percent("max-errors", &text))?;
    let max_slowdown = match parameter(query, "max-slowdown") {
        None => SLOWDOWN,
        Some(text) => text
            .parse()
            .ok()
            .filter(|slowdown: &f64| slowdown.is_finite() && *slowdown >= 1.0)
            .ok_or_else(|| Problem::bad(format_args!("`max-slowdown` must be a number from 1, not {text:?}")))?,
    };
    Ok(Some(Terms { share: draws as u16, time, max_errors, max_slowdown }))
}

/// A percentage such as `5%`.
fn percent(key: &str, text: &str) -> Result<f64, Problem> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
    let share = number.filter(|percent| (0.0..=100.0).contains(percent)).map(|percent| percent / 100.0);
    share.ok_or_else(|| Problem::bad(format_args!("`{key}` must be a share such as `5%`, not {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_with_their_units_and_all_calls_are_no_trial() {
        assert_eq!(terms(None), Ok(None));
        assert_eq!(terms(Some("canary=100%25")), Ok(None));
        let terms_of = |query| terms(Some(query)).unwrap().unwrap();
        assert_eq!(
            terms_of("canary=5%25"),
            Terms { share: 500, time: Duration::from_secs(60), max_errors: 0.01, max_slowdown: 2.0 }
        );
        assert_eq!(
            terms_of("canary=0.01&for=5m&max-errors=2.5%25&max-slowdown=1.5"),
            Terms { share: 1, time: Duration::from_secs(300), max_errors: 0.025, max_slowdown: 1.5 }
        );
        for query in [
            "canary=0",
            "canary=101%25",
            "canary=x",
            "canary=5&for=soon",
            "canary=5&max-errors=-1",
            "canary=5&max-slowdown=0.5",
            "canary=nan",
            "for=60s",
            "check=true&max-errors=1%25",
            "max-slowdown=2",
        ] {
            assert_eq!(terms(Some(query)).unwrap_err().status(), StatusCode::BAD_REQUEST, "{query}");
        }
    }
}
