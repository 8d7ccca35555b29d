//! The challenge with which a registry refuses a request: basic authentication, or a token from the server that it
//! names.

use http::header::HeaderValue;
use http::{HeaderMap, Uri, header};
use serde::Deserialize;

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password, with each request.
    Basic,
    /// A token from this server.
    Bearer {
        /// The URL to get one from, with all parameters.
        url: Uri,
    },
}

impl Challenge {
    /// The challenge in a refusal's headers, for these actions on a repository; `None` if the client understands no
    /// challenge there.
    pub(super) fn of(headers: &HeaderMap, repository: &str, actions: &str) -> Option<Self> {
        headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .find_map(|value| parse(value.to_str().ok()?, repository, actions))
    }
}

fn parse(text: &str, repository: &str, actions: &str) -> Option<Challenge> {
    let (scheme, parameters) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let realm = parameter(parameters, "realm")?;
    let mut query = vec![format!("scope={}", encoded(&format!("repository:{repository}:{actions}")))];
    query.extend(parameter(parameters, "service").map(|service| format!("service={}", encoded(&service))));
    let joint = if realm.contains('?') { '&' } else { '?' };
    let url = format!("{realm}{joint}{}", query.join("&")).parse().ok()?;
    Some(Challenge::Bearer { url })
}

/// The value of `wanted` in a list `name="value", name=value`.
fn parameter(mut text: &str, wanted: &str) -> Option<String> {
    loop {
        let (name, rest) = text.split_once('=')?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_once(',').map_or((rest, ""), |(value, rest)| (value, rest)),
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value.trim().to_owned());
        }
        text = rest.trim_start_matches([',', ' ']);
    }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The answer of a token server.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// The `authorization` header with the token of an answer.
pub(super) fn bearer(answer: &[u8]) -> Option<HeaderValue> {
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token)?;
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_where_to_get_a_token() {
        let asked = |text: &str| parse(text, "shop/store", "pull");
        let bearer = |url: &str| Some(Challenge::Bearer { url: url.parse().unwrap() });
        let scope = "scope=repository%3Ashop%2Fstore%3Apull";
        assert_eq!(
            asked("Bearer realm=\"https://a.test/token\",service=\"r, test\""),
            bearer(&format!("https://a.test/token?{scope}&service=r%2C%20test"))
        );
        assert_eq!(
            asked("bearer service=s, realm=\"https://a.test/t?x=1\""),
            bearer(&format!("https://a.test/t?x=1&{scope}&service=s"))
        );
        assert_eq!(asked("Basic realm=\"r\""), Some(Challenge::Basic));
        for text in ["Bearer", "Bearer realm=\"https://a.test", "Digest realm=\"r\"", ""] {
            assert_eq!(asked(text), None, "{text}");
        }
    }
}
