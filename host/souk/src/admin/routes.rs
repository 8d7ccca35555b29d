//! Every route of the API: its method, its path, and the right that it needs.

use super::problem::Problem;
use super::right::Right;
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Console,
    Live,
    Ready,
    Metrics,
    SignIn,
    SignOut,
    Code,
    RenewTokens,
    Hosts,
    Map,
    Application,
    Components,
    Functions,
    Call,
    Request,
    ListMessages,
    ShowMessage,
    RetryMessage,
    DropMessage,
    RetryDead,
    DropDead,
    Readiness,
    ListTraces,
    ShowTrace,
    Examine,
    Limits,
    Log,
    Versions,
    Deploy,
    RollBack,
    Promote,
    Profile,
    Reload,
}

/// A route.
#[derive(Debug)]
pub(crate) struct Route {
    pub method: Method,
    /// A segment `{id}` matches any one segment.
    pub path: &'static str,
    pub needs: Right,
    pub action: Action,
}

const fn get(path: &'static str, needs: Right, action: Action) -> Route {
    Route { method: Method::GET, path, needs, action }
}

const fn post(path: &'static str, needs: Right, action: Action) -> Route {
    Route { method: Method::POST, path, needs, action }
}

const fn delete(path: &'static str, needs: Right, action: Action) -> Route {
    Route { method: Method::DELETE, path, needs, action }
}

/// All routes; `docs/administration-api.md` describes each.
pub(crate) static ROUTES: &[Route] = &[
    get("/", Right::Nothing, Action::Console),
    get("/console/{id}", Right::Nothing, Action::Console),
    get("/livez", Right::Nothing, Action::Live),
    get("/readyz", Right::Nothing, Action::Ready),
    get("/metrics", Right::Nothing, Action::Metrics),
    post("/v1/session", Right::Nothing, Action::SignIn),
    delete("/v1/session", Right::Nothing, Action::SignOut),
    post("/v1/codes", Right::Owner, Action::Code),
    post("/v1/tokens/renew", Right::Owner, Action::RenewTokens),
    get("/v1/application", Right::Read, Action::Application),
    get("/v1/components", Right::Read, Action::Components),
    get("/v1/hosts", Right::Read, Action::Hosts),
    get("/v1/map", Right::Read, Action::Map),
    get("/v1/functions", Right::Read, Action::Functions),
    post("/v1/call", Right::Full, Action::Call),
    post("/v1/request", Right::Full, Action::Request),
    get("/v1/messages", Right::Read, Action::ListMessages),
    get("/v1/messages/{id}", Right::Read, Action::ShowMessage),
    post("/v1/messages/{id}/retry", Right::Full, Action::RetryMessage),
    delete("/v1/messages/{id}", Right::Full, Action::DropMessage),
    post("/v1/dead-letters/retry", Right::Full, Action::RetryDead),
    delete("/v1/dead-letters", Right::Full, Action::DropDead),
    get("/v1/readiness", Right::Read, Action::Readiness),
    get("/v1/traces", Right::Read, Action::ListTraces),
    get("/v1/traces/{id}", Right::Read, Action::ShowTrace),
    get("/v1/doctor", Right::Read, Action::Examine),
    get("/v1/limits", Right::Read, Action::Limits),
    get("/v1/log", Right::Full, Action::Log),
    get("/v1/versions", Right::Read, Action::Versions),
    post("/v1/components/{id}/deploy", Right::Full, Action::Deploy),
    post("/v1/components/{id}/rollback", Right::Full, Action::RollBack),
    post("/v1/components/{id}/promote", Right::Full, Action::Promote),
    post("/v1/components/{id}/profile", Right::Full, Action::Profile),
    post("/v1/reload", Right::Full, Action::Reload),
];

impl Action {
    /// Whether it changes something: such a request is logged, and is refused while the host drains.
    pub(crate) fn changes(self) -> bool {
        match self {
            Action::Call
            | Action::Request
            | Action::RetryMessage
            | Action::DropMessage
            | Action::RetryDead
            | Action::DropDead
            | Action::Deploy
            | Action::RollBack
            | Action::Promote
            | Action::Profile
            | Action::Reload
            | Action::RenewTokens => true,
            Action::Console
            | Action::Live
            | Action::Ready
            | Action::Metrics
            | Action::SignIn
            | Action::SignOut
            | Action::Code
            | Action::Hosts
            | Action::Map
            | Action::Application
            | Action::Components
            | Action::Functions
            | Action::ListMessages
            | Action::ShowMessage
            | Action::Readiness
            | Action::ListTraces
            | Action::ShowTrace
            | Action::Examine
            | Action::Limits
            | Action::Versions
            | Action::Log => false,
        }
    }
}

impl Route {
    /// The parameters that its query may have.
    fn parameters(&self) -> &'static [&'static str] {
        match self.action {
            Action::ListMessages => &["dead", "limit"],
            Action::ListTraces => &["component", "route", "errors", "slower", "limit"],
            Action::Log => &["after", "lines"],
            Action::Versions => &["component"],
            Action::Deploy => &["check", "canary", "for", "max-errors", "max-slowdown"],
            Action::RollBack => &["version"],
            Action::Profile => &["for"],
            _ => &[],
        }
    }

    /// Refuses a parameter that the route does not know: a `check=true` that is misspelt would deploy. Probes and browsers
    /// may add some of their own to what needs no right.
    pub(crate) fn check_query(&self, query: Option<&str>) -> Result<(), Problem> {
        let names = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let names: Vec<&str> = names.map(|pair| pair.split('=').next().unwrap_or_default()).collect();
        let known = self.parameters();
        // Of `check=false&check=true`, one value would be ignored.
        if let Some(twice) = known.iter().find(|name| names.iter().filter(|given| given == name).count() > 1) {
            return Err(Problem::bad(format_args!("`{twice}` is given twice\n  fix: give it once")));
        }
        match names.into_iter().find(|name| self.needs > Right::Nothing && !known.contains(name)) {
            None => Ok(()),
            Some(_) if known.is_empty() => {
                Err(Problem::bad("the path takes no parameters\n  fix: leave out what follows `?`"))
            }
            Some(name) => {
                let name = souk_bindings::printable(name);
                Err(Problem::bad(format_args!(
                    "no parameter is called `{name}`\n  fix: the path takes {}",
                    known.join(", ")
                )))
            }
        }
    }
}

/// The route of a request, and the value of its `{id}`.
///
/// # Errors
/// 404 when no route has the path, 405 when none of them has the method.
pub(crate) fn find(method: &Method, path: &str) -> Result<(&'static Route, String), Problem> {
    // A route for GET also answers HEAD; hyper leaves the body out.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut allowed = Vec::new();
    for route in ROUTES {
        let Some(id) = matches(route.path, path) else { continue };
        if route.method == *method {
            return Ok((route, id));
        }
        allowed.push(route.method.as_str());
    }
    if allowed.is_empty() {
        return Err(Problem::not_found("the API has no such path; docs/administration-api.md has all of them"));
    }
    let message = format!("the path takes {}", allowed.join(" and "));
    Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, message))
}

/// The value of `{id}` when `path` matches `pattern`; empty when the pattern has none.
fn matches(pattern: &str, path: &str) -> Option<String> {
    let (mut patterns, mut segments) = (pattern.split('/'), path.split('/'));
    let mut id = String::new();
    loop {
        match (patterns.next(), segments.next()) {
            (None, None) => return Some(id),
            (Some("{id}"), Some(segment)) if !segment.is_empty() => {
                id = percent_decode_str(segment).decode_utf8().ok()?.into_owned();
            }
            (Some(pattern), Some(segment)) if pattern == segment => {}
            _ => return None,
        }
    }
}

/// The value of `key` in a query; empty where it has none.
pub(crate) fn parameter(query: Option<&str>, key: &str) -> Option<String> {
    let pairs = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let value = pairs.filter(|(name, _)| *name == key).map(|(_, value)| value).next()?;
    // What is not UTF-8 is no valid value, but it is one.
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// Whether `key` is `true` in a query; without it, it is not.
///
/// # Errors
/// When it is neither `true` nor `false`.
pub(crate) fn flag(query: Option<&str>, key: &str) -> Result<bool, Problem> {
    match parameter(query, key).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Problem::bad(format_args!("`{key}` is neither `true` nor `false`\n  fix: `{key}=true`"))),
    }
}

/// The number `key` in a query.
///
/// # Errors
/// When it is not a number.
pub(crate) fn number(query: Option<&str>, key: &str) -> Result<Option<u64>, Problem> {
    let wrong = |_| Problem::bad(format_args!("`{key}` is not a number\n  fix: `{key}=100`"));
    parameter(query, key).map(|text| text.parse().map_err(wrong)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_found_by_method_and_path() {
        let found = |method, path| find(&method, path).map(|(route, id)| (route.action, id)).map_err(|p| p.status());
        assert_eq!(found(Method::GET, "/v1/messages"), Ok((Action::ListMessages, String::new())));
        assert_eq!(found(Method::HEAD, "/livez"), Ok((Action::Live, String::new())));
        assert_eq!(found(Method::GET, "/v1/messages/a%2Fb"), Ok((Action::ShowMessage, "a/b".to_owned())));
        assert_eq!(found(Method::POST, "/v1/messages/a/retry"), Ok((Action::RetryMessage, "a".to_owned())));
        assert_eq!(found(Method::POST, "/v1/messages"), Err(StatusCode::METHOD_NOT_ALLOWED));
        for path in ["/console", "/v1/messages/", "/v1/messages/a/b", "/v1", "/v1/call/", "//v1/call"] {
            assert_eq!(found(Method::GET, path), Err(StatusCode::NOT_FOUND), "{path}");
        }
    }

    #[test]
    fn only_what_names_no_data_needs_no_right() {
        let open: Vec<&str> = ROUTES.iter().filter(|r| r.needs == Right::Nothing).map(|r| r.path).collect();
        assert_eq!(open, ["/", "/console/{id}", "/livez", "/readyz", "/metrics", "/v1/session", "/v1/session"]);
        let changing = ROUTES.iter().filter(|route| route.action.changes());
        assert!(changing.into_iter().all(|route| route.needs >= Right::Full && route.method != Method::GET));
    }

    #[test]
    fn every_route_is_in_the_documentation() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/administration-api.md"));
        let text = text.unwrap();
        for route in ROUTES {
            let named = format!("`{} {}`", route.method, route.path);
            assert!(text.contains(&named), "docs/administration-api.md lacks {named}");
        }
    }

    #[test]
    fn a_parameter_is_read_from_the_query() {
        assert_eq!(parameter(Some("a=1&b=%20x"), "b").as_deref(), Some(" x"));
        assert_eq!(parameter(Some("a=1"), "b"), None);
        assert_eq!(parameter(None, "b"), None);
    }

    #[test]
    fn a_misspelt_parameter_changes_nothing() {
        let check = |path: &str, query| find(&Method::POST, path).unwrap().0.check_query(Some(query));
        assert!(check("/v1/components/shop/deploy", "check=true&canary=5%25").is_ok());
        for (path, query) in [
            ("/v1/components/shop/deploy", "chek=true"),
            ("/v1/components/shop/deploy", "check=true&Canary=5%25"),
            ("/v1/components/shop/rollback", "versions=2"),
            ("/v1/dead-letters/retry", "component=shop"),
            ("/v1/components/shop/deploy", "check=false&check=true"),
            ("/v1/components/shop/rollback", "version=1&version=2"),
        ] {
            let problem = check(path, query).unwrap_err();
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST, "{path}?{query}");
        }
        assert!(find(&Method::GET, "/readyz").unwrap().0.check_query(Some("verbose")).is_ok());
        for wrong in ["check", "check=", "check=1", "check=True", "check=%ff"] {
            assert!(flag(Some(wrong), "check").is_err(), "{wrong}");
        }
        assert!(
            flag(Some("check=true"), "check").is_ok_and(|check| check) && flag(None, "check").is_ok_and(|check| !check)
        );
        assert!(number(Some("lines=99999999999999999999"), "lines").is_err());
    }
}
