//! JSON Web Tokens: who is logged in, signed with HS256.
//!
//! A token lives two hours and can be renewed until 30 days after the login. Every renewal carries on the time of the
//! login (`auth_time`, as in OpenID Connect); for a token without it, as the NestJS system made them, `iat` counts. A
//! token holds no role: a role is read from the account. It carries the generation of the account's tokens, so that all
//! tokens of an account can be revoked at once; a token without it belongs to generation 0. `aud` and `iss` are neither
//! set nor checked, as in the NestJS system: only this component has the secret.
//!
//! Refused: another algorithm; a header with critical extensions (`crit`: RFC 7515, section 4.1.11; none is known
//! here); no `exp` or an expired one; `nbf`, `auth_time` or `iat` more than [`MAX_CLOCK_SKEW_SECONDS`] in the future; a
//! login 30 or more days ago; and, before decoding, anything longer than [`MAX_TOKEN_BYTES`].
//!
//! A signed token that is dated in the future must come from another host of this application. The log then says that
//! the clocks of the hosts differ.

mod hs256;
mod known;

use crate::account::Account;
use crate::bindings::accounts::Error;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use known::{Known, ReadClaims};
use serde::Serialize;
use sha2::Sha256;
use souk_variables as variables;
use std::cell::OnceCell;
use std::rc::Rc;

/// How long a token lives, in seconds.
const LIFETIME_SECONDS: u64 = 2 * 60 * 60;
/// How long a login can be renewed, in seconds.
const MAX_AGE_SECONDS: u64 = 30 * 24 * 60 * 60;
/// How far the clock of the host that made a token may be ahead of this one's, in seconds.
const MAX_CLOCK_SKEW_SECONDS: u64 = 60;
/// How long a token is accepted after it has expired, in seconds.
const LEEWAY_SECONDS: u64 = 5;
/// The longest token that is accepted, in bytes. The longest that [`Signer::issue`] makes fits.
pub(crate) const MAX_TOKEN_BYTES: usize = 4096;
/// RFC 7518, section 3.2: a key for HS256 has at least the size of its hash.
const MIN_SECRET_BYTES: usize = 32;
/// The variable that holds the secret.
const SECRET: &str = "jwt_secret";

thread_local! {
    /// The keys, made from the variable once in the life of an instance.
    static SIGNER: OnceCell<Rc<Signer>> = const { OnceCell::new() };
}

/// Makes and reads tokens.
pub(crate) struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    secret: Vec<u8>,
    known: Known,
}

/// What a token that was read proves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The user's id.
    pub id: String,
    /// The user's e-mail when the token was made.
    pub email: String,
    /// When the user logged in, in seconds since 1970.
    pub auth_time: u64,
    /// The generation of the user's tokens that the token belongs to.
    pub generation: u64,
}

/// Why a token proves nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not a token of this application, or it has expired.
    Invalid,
    /// It is signed by this application, but dated in the future.
    NotYetValid {
        /// The user's id.
        id: String,
        /// How far its date is in the future.
        seconds: u64,
    },
}

#[derive(Serialize)]
struct Claims<'a> {
    id: &'a str,
    email: &'a str,
    name: &'a str,
    iat: u64,
    exp: u64,
    auth_time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
}

impl Signer {
    /// The signer with the application's secret.
    pub(crate) fn load() -> Result<Rc<Self>, Error> {
        if let Some(signer) = SIGNER.with(|cell| cell.get().cloned()) {
            return Ok(signer);
        }
        let secret = variables::get(SECRET).map_err(|error| {
            eprintln!("variable `{SECRET}`: {error}");
            no_secret()
        })?;
        if secret.is_empty() {
            eprintln!("variable `{SECRET}` is empty: set it to {MIN_SECRET_BYTES} random bytes or more");
            return Err(no_secret());
        }
        if secret.len() < MIN_SECRET_BYTES {
            eprintln!(
                "variable `{SECRET}` is shorter than {MIN_SECRET_BYTES} bytes: anyone who has a token can find it by \
                 brute force; fix: set it to {MIN_SECRET_BYTES} random bytes or more"
            );
        }
        let signer = Rc::new(Signer::new(&secret));
        Ok(SIGNER.with(|cell| cell.get_or_init(|| signer).clone()))
    }

    fn new(secret: &str) -> Self {
        hs256::install();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_aud = false;
        Signer {
            encoding: EncodingKey::from_secret(secret.as_bytes()),
            decoding: DecodingKey::from_secret(secret.as_bytes()),
            validation,
            secret: secret.into(),
            known: Known::default(),
        }
    }

    /// The HMAC of `text` under the secret; `purpose` keeps different uses apart. Not for long-lived data: it changes
    /// when the secret is replaced.
    pub(crate) fn digest(&self, purpose: &str, text: &str) -> [u8; 32] {
        // HMAC accepts a key of any length, so this never fails.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.secret) else { return [0; 32] };
        for part in ["souk ", purpose, "\0", text] {
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    /// A token for someone who logged in at `auth_time`.
    pub(crate) fn issue(&self, account: &Account, auth_time: u64, now: u64) -> Result<String, Error> {
        let claims = Claims {
            id: &account.id,
            email: &account.email,
            name: &account.name,
            iat: now,
            exp: (now + LIFETIME_SECONDS).min(auth_time + MAX_AGE_SECONDS),
            auth_time,
            generation: Some(account.generation).filter(|generation| *generation > 0),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map_err(|error| {
            eprintln!("a token could not be signed: {error}");
            Error::Internal("the account service cannot sign a token".into())
        })
    }

    /// What a token proves at `now`.
    ///
    /// # Errors
    /// When it proves nothing.
    pub(crate) fn read(&self, token: &str, now: u64) -> Result<Proof, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::Invalid);
        }
        let claimed = match self.known.claims(token) {
            Some(claimed) => claimed,
            None => self.decode(token)?,
        };
        // As the library does for a token that it has not seen before.
        if claimed.exp.round() < now.saturating_sub(LEEWAY_SECONDS) as f64 {
            return Err(Refusal::Invalid);
        }
        let auth_time = claimed.auth_time.or(claimed.iat).ok_or(Refusal::Invalid)?;
        // `as` saturates: a float above `u64::MAX` becomes `u64::MAX`.
        let begins = auth_time.max(claimed.iat.unwrap_or(0)).max(claimed.nbf.map_or(0, |nbf| nbf.ceil() as u64));
        let seconds = begins.saturating_sub(now);
        if seconds > MAX_CLOCK_SKEW_SECONDS {
            return Err(Refusal::NotYetValid { id: claimed.id, seconds });
        }
        if now.saturating_sub(auth_time) >= MAX_AGE_SECONDS {
            return Err(Refusal::Invalid);
        }
        Ok(Proof { id: claimed.id, email: claimed.email, auth_time, generation: claimed.generation })
    }

    /// The claims of a token whose signature is right and which has not expired.
    fn decode(&self, token: &str) -> Result<ReadClaims, Refusal> {
        let decoded = jsonwebtoken::decode(token, &self.decoding, &self.validation).map_err(|_| Refusal::Invalid)?;
        let (header, claims): (Header, ReadClaims) = (decoded.header, decoded.claims);
        if header.crit.is_some() {
            return Err(Refusal::Invalid);
        }
        self.known.keep(token, &claims);
        Ok(claims)
    }
}

fn no_secret() -> Error {
    Error::Internal("the account service has no secret to sign tokens with".into())
}

#[cfg(test)]
mod tests;
