//! The route that profiles a component.

use super::limits::MAX_MESSAGE_BYTES;
use super::problem::Problem;
use super::routes::parameter;
use crate::app::App;
use http::StatusCode;
use souk_runtime::{MAX_PROFILE_TIME, Profile};
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of profiles.
    pub(crate) const FIXED_LIMITS = "administration";

    /// How long a component is profiled by default.
    const PROFILE_TIME: Duration = Duration::from_secs(10);
}

/// Profiles `component` for as long as `query` says.
pub(super) async fn profile(app: &App, component: &str, query: Option<&str>) -> Result<Vec<u8>, Problem> {
    let time = match parameter(query, "for") {
        None => PROFILE_TIME,
        Some(text) => {
            humantime::parse_duration(&text).ok().filter(|time| *time <= MAX_PROFILE_TIME).ok_or_else(|| {
                Problem::bad(format_args!(
                    "`for` must be a time of at most {} s\n  fix: `for=10s`",
                    MAX_PROFILE_TIME.as_secs()
                ))
            })?
        }
    };
    let Some(pool) = app.pool(component) else {
        let known: Vec<String> = app.pools().iter().map(|pool| pool.component().to_string()).collect();
        return Err(Problem::not_found(format_args!(
            "no component `{component}` runs on this host\n  fix: name one of {}",
            known.join(", ")
        )));
    };
    let broken = |error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format_args!("{error}"));
    let Some(Profile { json, samples }) = pool.profile(time).await.map_err(broken)? else {
        let message = format!("component `{component}` is being profiled\n  fix: wait for the other profile to end");
        return Err(Problem::new(StatusCode::CONFLICT, message));
    };
    if samples == 0 {
        let message = format!(
            "component `{component}` did not compute in this time\n  fix: call it meanwhile; a sample is taken every five \
             milliseconds, so profile for longer for short calls"
        );
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, message));
    }
    match json.len() <= MAX_MESSAGE_BYTES {
        true => Ok(json),
        false => Err(Problem::bad("the profile is too large to be sent\n  fix: profile for a shorter time")),
    }
}
