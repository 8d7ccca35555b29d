//! Who sends a request, and what they may do.
//!
//! On the control socket everything is allowed: the system admits only the owner of the state folder. On TCP a request
//! needs a token, or the cookie that a browser got for a code. Three checks keep out other sites' pages, which a
//! browser on this machine also runs:
//!
//! - `Host` must be the address that the client connected to, or a name in `admin_hosts`. This refuses a foreign name
//!   that was made to resolve to this host (DNS rebinding).
//! - `Origin`, if present, must be the same host. There is no CORS: no header ever allows another origin.
//! - With a cookie, a request that changes something must have an `Origin`, and `Sec-Fetch-Site` must not report
//!   another site.

use super::Admin;
use super::problem::Problem;
use super::right::Right;
use super::sessions::SESSION_DIGITS;
use crate::http::{ADMIN_COOKIE as COOKIE, each_cookie};
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where a connection came from.
#[derive(Debug, Clone)]
pub(crate) enum Connection {
    /// The control socket, with the user id of its other end, where the system reports it.
    Socket(Option<u32>),
    /// The listener.
    Tcp {
        /// The client.
        peer: SocketAddr,
        /// The address that it connected to.
        local: SocketAddr,
        /// Whether the connection uses TLS.
        secure: bool,
    },
}

/// The sender of a request.
#[derive(Debug)]
pub(crate) struct Client {
    /// What they may do.
    pub right: Right,
    /// The name for the log; it never contains a secret.
    name: String,
    /// The session of the request, which its cookie holds.
    pub session: Option<String>,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

souk_manifest::fixed_limits! {
    /// The fixed limits of the console's cookie.
    pub(crate) const FIXED_LIMITS = "administration";

    /// The most hosts at one address at which a browser is signed in; a sign-in at one more signs out at the first.
    const MAX_HELD_SESSIONS: usize = 16, "hosts";
}

/// What stands between two sessions in the cookie.
const SEPARATOR: &str = ".";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Finds out who sent a request with this head.
///
/// # Errors
/// When another site's page sent the request.
pub(crate) fn identify(head: &Parts, connection: &Connection, admin: &Admin) -> Result<Client, Problem> {
    let (peer, local, secure) = match connection {
        Connection::Socket(uid) => {
            let user = uid.map(|uid| format!(", user {uid}")).unwrap_or_default();
            return Ok(Client { right: Right::Owner, name: format!("control socket{user}"), session: None });
        }
        Connection::Tcp { peer, local, secure } => (peer, *local, *secure),
    };
    let host = check_host(head, local, secure, &admin.app.application().admin_hosts)?;
    let same_origin = check_origin(&head.headers, &host, secure)?;
    if let Some(token) = bearer(&head.headers) {
        return Ok(match admin.tokens.right(token) {
            Some(right @ Right::Read) => Client { right, name: format!("token `read` from {peer}"), session: None },
            Some(right) => Client { right, name: format!("token `full` from {peer}"), session: None },
            None => nobody(peer),
        });
    }
    let own = held_sessions(&head.headers).find_map(|held| Some((held, admin.sessions.find(held)?)));
    let Some((session, (number, right))) = own else { return Ok(nobody(peer)) };
    let changes = head.method != Method::GET && head.method != Method::HEAD;
    let site = head.headers.get(SEC_FETCH_SITE).map(|site| site.as_bytes());
    if (changes && !same_origin) || site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        let message = "the request comes from another site's page\n  fix: use a token, `Authorization: Bearer TOKEN`";
        return Err(Problem::new(StatusCode::FORBIDDEN, message));
    }
    Ok(Client { right, name: format!("session {number} from {peer}"), session: Some(session.to_owned()) })
}

fn nobody(peer: &SocketAddr) -> Client {
    Client { right: Right::Nothing, name: format!("a client without a token at {peer}"), session: None }
}

/// The host that the request is for, which must be this one: the address `local`, or one of `names`.
fn check_host(head: &Parts, local: SocketAddr, secure: bool, names: &[String]) -> Result<Authority, Problem> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
        _ => None,
    };
    let Some(host) = host.filter(|host| !host.as_str().contains('@')) else {
        return Err(Problem::bad("the request has no `Host` header, or an invalid one"));
    };
    let same_target = head.uri.authority().is_none_or(|target| target.as_str().eq_ignore_ascii_case(host.as_str()));
    let name = host.host().to_ascii_lowercase();
    let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_address = match ip {
        Ok(ip) => ip.to_canonical() == local.ip().to_canonical(),
        // Browsers never resolve `localhost` by DNS.
        Err(_) => name == "localhost" && local.ip().to_canonical().is_loopback(),
    };
    // Browsers leave out the usual port of the scheme.
    let usual = if secure { 443 } else { 80 };
    let is_here = is_address && host.port_u16().unwrap_or(usual) == local.port();
    if same_target && (is_here || names.contains(&name)) {
        return Ok(host);
    }
    let message = format!(
        "the request's `Host` is not this listener's address\n  fix: ask for {local}, or add the name to `admin_hosts` in \
         runtime-config.toml and run `souk reload`"
    );
    Err(Problem::new(StatusCode::FORBIDDEN, message))
}

/// Whether the request has an `Origin`; if it has one, it must be `host`.
fn check_origin(headers: &HeaderMap, host: &Authority, secure: bool) -> Result<bool, Problem> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(false) };
    let origin = origin.to_str().unwrap_or_default();
    // A proxy that speaks TLS in front of this host passes its own name on.
    let schemes: &[&str] = if secure { &["https://"] } else { &["http://", "https://"] };
    let same = schemes.iter().filter_map(|scheme| origin.strip_prefix(scheme));
    if same.into_iter().any(|origin| origin.eq_ignore_ascii_case(host.as_str())) && origins.next().is_none() {
        return Ok(true);
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "the request's `Origin` is another site"))
}

/// The token of `Authorization: Bearer TOKEN`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The sessions in the cookie of a request: those of all hosts at this address, because a browser keeps one cookie of a
/// name for all ports.
pub(super) fn held_sessions(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let all = headers.get_all(http::header::COOKIE).iter().flat_map(each_cookie);
    let values =
        all.filter_map(|cookie| std::str::from_utf8(cookie.strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"=")?).ok());
    // Anybody at this address can set the cookie; other texts must not fill it.
    let is_one = |held: &&str| held.len() == SESSION_DIGITS && held.bytes().all(|byte| byte.is_ascii_hexdigit());
    values.flat_map(|value| value.split(SEPARATOR)).filter(is_one)
}

/// The value of a cookie with the latest of these sessions.
pub(super) fn cookie_with<'s>(sessions: impl Iterator<Item = &'s str>) -> String {
    let mut all: Vec<&str> = Vec::new();
    for session in sessions {
        if !all.contains(&session) {
            all.push(session);
        }
    }
    let first = all.len().saturating_sub(MAX_HELD_SESSIONS);
    all.get(first..).unwrap_or_default().join(SEPARATOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn head(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/v1/components");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_host_that_is_neither_the_address_nor_a_known_name_is_refused() {
        let (v4, v6) = ("127.0.0.1:3001".parse().unwrap(), "[::1]:3001".parse().unwrap());
        let other = "192.0.2.7:3001".parse().unwrap();
        let names = ["admin.example".to_owned()];
        for (local, host, good) in [
            (v4, "127.0.0.1:3001", true),
            (v4, "localhost:3001", true),
            (v4, "LOCALHOST:3001", true),
            (v4, "127.0.0.1", false),
            (v4, "127.0.0.1:3000", false),
            (v4, "127.0.0.2:3001", false),
            (v4, "evil.example:3001", false),
            (v4, "admin.example", true),
            (v4, "ADMIN.example:8443", true),
            (v4, "x.admin.example", false),
            (v4, "user@127.0.0.1:3001", false),
            (v4, "", false),
            (v6, "[::1]:3001", true),
            (v6, "localhost:3001", true),
            (other, "192.0.2.7:3001", true),
            (other, "localhost:3001", false),
        ] {
            for secure in [false, true] {
                let checked = check_host(&head(&[("host", host)]), local, secure, &names);
                assert_eq!(checked.is_ok(), good, "{host} at {local}");
            }
        }
        assert!(check_host(&head(&[]), v4, false, &names).is_err());
        assert!(check_host(&head(&[("host", "127.0.0.1:3001"), ("host", "a")]), v4, false, &names).is_err());
        let mut absolute = head(&[("host", "127.0.0.1:3001")]);
        absolute.uri = "http://evil.example/v1".parse().unwrap();
        assert!(check_host(&absolute, v4, false, &names).is_err());
    }

    #[test]
    fn a_host_without_a_port_is_the_usual_one_of_its_scheme() {
        for (port, secure, host, good) in [
            (443, true, "192.0.2.7", true),
            (443, true, "192.0.2.7:443", true),
            (443, true, "192.0.2.7:80", false),
            (443, false, "192.0.2.7", false),
            (80, false, "192.0.2.7", true),
            (80, true, "192.0.2.7", false),
        ] {
            let local = SocketAddr::from(([192, 0, 2, 7], port));
            let checked = check_host(&head(&[("host", host)]), local, secure, &[]);
            assert_eq!(checked.is_ok(), good, "{host} at {local}, {secure}");
        }
    }

    #[test]
    fn another_origin_is_refused() {
        let host = Authority::from_static("127.0.0.1:3001");
        for (origin, secure, expected) in [
            ("http://127.0.0.1:3001", false, true),
            ("https://127.0.0.1:3001", true, true),
            ("http://127.0.0.1:3001", true, false),
            ("http://127.0.0.1:3000", false, false),
            ("http://127.0.0.1", false, false),
            ("null", false, false),
            ("https://evil.example", false, false),
        ] {
            let found = check_origin(&head(&[("origin", origin)]).headers, &host, secure);
            assert_eq!(found.ok(), expected.then_some(true), "{origin}");
        }
        assert!(!check_origin(&HeaderMap::new(), &host, false).unwrap());
    }

    #[test]
    fn a_session_is_found_among_other_cookies() {
        let (one, two) = ("a1".repeat(32), "b2".repeat(32));
        let held = |cookie: &str| -> Vec<String> {
            held_sessions(&head(&[("cookie", cookie)]).headers).map(str::to_owned).collect()
        };
        assert_eq!(held(&format!("a=1; souk_admin={one}")), std::slice::from_ref(&one));
        let others = format!("souk_admin_of_another={two}; a=\u{e9}; souk_admin={one}");
        assert_eq!(held(&others), std::slice::from_ref(&one));
        assert_eq!(held(&format!("souk_admin={one}.x.{two}; souk_admin=")), [one, two]);
        assert!(held("souk_admin=x").is_empty());
    }

    #[test]
    fn a_cookie_holds_the_latest_sessions_of_the_hosts_at_an_address() {
        let all: Vec<String> = (0..=MAX_HELD_SESSIONS).map(|n| format!("{n:064x}")).collect();
        let names = || all.iter().map(String::as_str);
        let value = cookie_with(names());
        let cookie = format!("souk_admin={value}");
        let kept = head(&[("cookie", cookie.as_str())]);
        assert!(held_sessions(&kept.headers).eq(names().skip(1)), "{value}");
        assert_eq!(cookie_with(["a", "b", "a"].into_iter()), "a.b");
        assert_eq!(cookie_with(std::iter::empty()), "");
    }

    #[test]
    fn a_token_is_taken_from_the_bearer_scheme_alone() {
        for (value, expected) in
            [("Bearer abc", Some("abc")), ("bearer abc", Some("abc")), ("Basic abc", None), ("abc", None)]
        {
            assert_eq!(bearer(&head(&[("authorization", value)]).headers), expected, "{value}");
        }
    }
}
