//! What the application's variables say: where Stripe is, who we are to it, and where it sends customers.
//!
//! An instance reads them once, as they stay what they are for as long as it lives.
//! It refuses values that cannot work with [`Error::Internal`] and a line in the log that names the variable, never
//! its value: a key with a stray newline must not appear anywhere.

use crate::bindings::checkout::Error;
use http::{HeaderValue, Uri};
use souk_variables as variables;
use std::cell::OnceCell;
use std::rc::Rc;

/// Stripe's own address, the default of `stripe_api_url`. It takes nobody without a key, so without one it means the
/// sandbox. That keeps the grant to one entry, `{{ stripe_api_url }}`: with another address set, Stripe is out of reach.
const STRIPE: &str = "https://api.stripe.com";
/// The component that stands in for it where there is no key.
const SANDBOX: &str = "http://stripe-sandbox.spin.internal";
/// What the sandbox gets for a key: it asks for one, as Stripe does, and takes any.
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

/// What is added to our own page's address: Stripe writes the id of the payment page there.
const SESSION_ID: &str = "?session_id={CHECKOUT_SESSION_ID}";
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
    /// What the variables say, read and checked at the first call.
    ///
    /// # Errors
    /// `internal` when one is missing or cannot work.
    pub(crate) fn load() -> Result<Rc<Self>, Error> {
        thread_local! {
            static READ: OnceCell<Rc<Config>> = const { OnceCell::new() };
        }
        if let Some(config) = READ.with(|read| read.get().cloned()) {
            return Ok(config);
        }
        let config = Rc::new(Self::new(Variables {
            stripe_secret: read("stripe_secret")?,
            stripe_api_url: read("stripe_api_url")?,
            stripe_success_url: read("stripe_success_url")?,
            stripe_cancel_url: read("stripe_cancel_url")?,
            public_url: read("public_url")?,
        })?);
        READ.with(|read| read.set(config.clone())).ok();
        Ok(config)
    }

    /// The address of success as clients are told it, without what is for the payment provider.
    pub(crate) fn shown(&self, success_url: String) -> String {
        match success_url.strip_suffix(SESSION_ID) {
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
            .map_err(|_| wrong("stripe_secret", "it has characters that no key of Stripe's has"))?;
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
        // What a provider of variables says may quote a value; the kind says enough.
        let kind = match error {
            variables::Error::Undefined(_) => "it is not defined, or not granted to this component",
            variables::Error::InvalidName(_) => "its name is not a variable's",
            variables::Error::Provider(_) | variables::Error::Other(_) => "it cannot be read",
        };
        wrong(name, kind)
    })
}

/// The URL without its last slash, when it is one that a browser or a client can open. Braces are encoded for the
/// check alone: Stripe fills `{CHECKOUT_SESSION_ID}` in.
fn web_address(name: &str, url: &str) -> Result<String, Error> {
    let url = url.trim();
    let plain = url.replace(['{', '}'], "_");
    let known = plain.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if known { Ok(url.trim_end_matches('/').to_owned()) } else { Err(wrong(name, "it is not a http(s) URL")) }
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
        assert_eq!(config.shown(config.success_url.clone()), "http://localhost:3000/payments/success");
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
    fn set_addresses_count_and_a_slash_at_the_end_does_not() {
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
