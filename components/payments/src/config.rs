//! The configuration from the application's variables: Stripe's address, our API key, and where Stripe redirects
//! customers.
//!
//! Each instance reads them once, because they do not change while it lives. A value that cannot work gives
//! [`Error::Internal`] and a log line with the variable's name, never with its value: even a malformed key must not
//! appear in a log.

use crate::bindings::checkout::Error;
use http::{HeaderValue, Uri};
use souk_variables as variables;
use std::cell::OnceCell;
use std::rc::Rc;

/// Stripe's own address, the default of `stripe_api_url`. Stripe accepts no request without a key, so without a key
/// this address stands for the sandbox. The manifest grants `{{ stripe_api_url }}` and the sandbox: with another
/// address set, Stripe itself cannot be reached.
const STRIPE: &str = "https://api.stripe.com";
/// The component that replaces Stripe when no key is set.
const SANDBOX: &str = "http://stripe-sandbox.spin.internal";
/// The key for the sandbox, which requires one, as Stripe does, and accepts any.
const SANDBOX_KEY: &str = "sk_sandbox";

/// All of it, checked.
pub(crate) struct Config {
    /// Where and how requests go.
    pub api: Api,
    /// Where the customer goes after paying.
    pub success_url: String,
    /// Where the customer goes otherwise.
    pub cancel_url: String,
}

/// The query of our own success page: Stripe replaces the placeholder by the id of its checkout session.
const SESSION_ID_QUERY: &str = "?session_id={CHECKOUT_SESSION_ID}";
/// Our own page.
const OWN_SUCCESS: &str = "/payments/success?session_id={CHECKOUT_SESSION_ID}";

/// An API of Stripe's, real or not.
pub(crate) struct Api {
    /// `scheme://host[:port]`, without a slash at the end.
    pub base: String,
    /// The `Authorization` header; marked sensitive, so that `Debug` does not show it.
    pub authorization: HeaderValue,
}

/// The values of the variables.
#[derive(Default)]
struct Variables {
    stripe_secret: String,
    stripe_api_url: String,
    stripe_success_url: String,
    stripe_cancel_url: String,
    public_url: String,
}

impl Config {
    /// The configuration, read and checked at the first call.
    ///
    /// # Errors
    /// `internal` when one is missing or cannot work.
    pub(crate) fn load() -> Result<Rc<Self>, Error> {
        thread_local! {
            static CONFIG: OnceCell<Rc<Config>> = const { OnceCell::new() };
        }
        if let Some(config) = CONFIG.with(|cell| cell.get().cloned()) {
            return Ok(config);
        }
        let config = Rc::new(Self::new(Variables {
            stripe_secret: read("stripe_secret")?,
            stripe_api_url: read("stripe_api_url")?,
            stripe_success_url: read("stripe_success_url")?,
            stripe_cancel_url: read("stripe_cancel_url")?,
            public_url: read("public_url")?,
        })?);
        CONFIG.with(|cell| cell.set(config.clone())).ok();
        Ok(config)
    }

    /// The success URL for clients: our own page without the query that is only for Stripe; any other URL unchanged.
    pub(crate) fn public_success_url(&self, success_url: String) -> String {
        match success_url.strip_suffix(SESSION_ID_QUERY) {
            Some(own) if success_url == self.success_url && own.ends_with("/payments/success") => own.to_owned(),
            _ => success_url,
        }
    }

    fn new(variables: Variables) -> Result<Self, Error> {
        let secret = variables.stripe_secret.trim();
        let api_url = web_address("stripe_api_url", &variables.stripe_api_url)?;
        let (base, key) = match (secret, api_url.as_str()) {
            ("", STRIPE) => (SANDBOX.to_owned(), SANDBOX_KEY),
            ("", _) => (api_url, SANDBOX_KEY),
            (key, _) => (api_url, key),
        };
        let mut authorization = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| wrong("stripe_secret", "it contains characters that Stripe's keys do not contain"))?;
        authorization.set_sensitive(true);
        let page = |name, url: &str, path| match url.trim() {
            "" => Ok(web_address("public_url", &variables.public_url)? + path),
            url => web_address(name, url),
        };
        Ok(Config {
            api: Api { base, authorization },
            success_url: page("stripe_success_url", &variables.stripe_success_url, OWN_SUCCESS)?,
            cancel_url: page("stripe_cancel_url", &variables.stripe_cancel_url, "/payments/cancel")?,
        })
    }
}

fn read(name: &str) -> Result<String, Error> {
    variables::get(name).map_err(|error| {
        // The provider's own message may contain the value, so only the kind of error is logged.
        let kind = match error {
            variables::Error::Undefined(_) => "it is not defined, or not granted to this component",
            variables::Error::InvalidName(_) => "the name is not a valid variable name",
            variables::Error::Provider(_) | variables::Error::Other(_) => "it cannot be read",
        };
        wrong(name, kind)
    })
}

/// Checks that `url` is an absolute http(s) URL, and returns it without trailing slashes. Braces are replaced only for
/// the check: Stripe fills in `{CHECKOUT_SESSION_ID}` later.
fn web_address(name: &str, url: &str) -> Result<String, Error> {
    let url = url.trim();
    let plain = url.replace(['{', '}'], "_");
    let known = plain.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if known { Ok(url.trim_end_matches('/').to_owned()) } else { Err(wrong(name, "it is not an http(s) URL")) }
}

fn wrong(name: &str, why: &str) -> Error {
    eprintln!("the variable `{name}` cannot be used: {why}");
    Error::Internal("payments are not configured".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        Variables { stripe_api_url: STRIPE.into(), public_url: "http://localhost:3000".into(), ..Variables::default() }
    }

    fn refused(variables: Variables) -> bool {
        matches!(Config::new(variables), Err(Error::Internal(message)) if message == "payments are not configured")
    }

    #[test]
    fn without_a_key_the_sandbox_serves_and_customers_come_back_here() {
        let config = Config::new(variables()).unwrap();
        assert_eq!(config.api.base, "http://stripe-sandbox.spin.internal");
        assert_eq!(config.api.authorization, "Bearer sk_sandbox");
        assert_eq!(config.success_url, "http://localhost:3000/payments/success?session_id={CHECKOUT_SESSION_ID}");
        assert_eq!(config.public_success_url(config.success_url.clone()), "http://localhost:3000/payments/success");
        assert_eq!(config.cancel_url, "http://localhost:3000/payments/cancel");
    }

    #[test]
    fn with_a_key_stripe_serves_and_the_key_is_shown_nowhere() {
        let config = Config::new(Variables { stripe_secret: " sk_live_swordfish\n".into(), ..variables() }).unwrap();
        assert_eq!(config.api.base, "https://api.stripe.com");
        assert_eq!(config.api.authorization, "Bearer sk_live_swordfish");
        assert!(!format!("{:?}", config.api.authorization).contains("swordfish"));
    }

    #[test]
    fn configured_urls_are_used_without_their_trailing_slash() {
        let config = Config::new(Variables {
            stripe_api_url: "http://127.0.0.1:9/".into(),
            stripe_success_url: "https://shop.example/done?s={CHECKOUT_SESSION_ID}".into(),
            stripe_cancel_url: "https://shop.example/basket".into(),
            public_url: "https://api.shop.example/".into(),
            ..Variables::default()
        })
        .unwrap();
        assert_eq!(config.api.base, "http://127.0.0.1:9");
        assert_eq!(config.api.authorization, "Bearer sk_sandbox");
        assert_eq!(config.success_url, "https://shop.example/done?s={CHECKOUT_SESSION_ID}");
        assert_eq!(config.cancel_url, "https://shop.example/basket");
    }

    #[test]
    fn values_that_cannot_work_are_refused() {
        assert!(refused(Variables { stripe_secret: "sk_\u{7}".into(), ..variables() }));
        assert!(refused(Variables { stripe_api_url: "api.stripe.com".into(), ..variables() }));
        assert!(refused(Variables { stripe_success_url: "javascript:alert(1)".into(), ..variables() }));
        assert!(refused(Variables { stripe_cancel_url: "/payments/cancel".into(), ..variables() }));
        assert!(refused(Variables { stripe_api_url: String::new(), ..variables() }));
        assert!(refused(Variables { public_url: String::new(), ..variables() }));
    }
}
