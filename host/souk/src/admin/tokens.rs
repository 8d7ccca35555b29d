//! The two tokens of the administration listener: one may only read, the other may do everything.
//!
//! Each is created once and kept in a file of the state folder that only the owner can read. Comparisons take constant
//! time, and no log shows a token.

use super::right::Right;
use parking_lot::RwLock;
use souk_manifest::secrets::{SecretError, Secrets};
use subtle::ConstantTimeEq as _;

/// The names of the files.
const READ: &str = "token-read";
const FULL: &str = "token-full";

/// The values of both tokens.
#[derive(Clone)]
struct Values {
    read: String,
    full: String,
}

impl Values {
    fn of(secrets: &Secrets, secret: fn(&Secrets, &str) -> Result<String, SecretError>) -> Result<Self, SecretError> {
        Ok(Values { read: secret(secrets, READ)?, full: secret(secrets, FULL)? })
    }
}

/// The tokens.
pub(crate) struct Tokens {
    secrets: Secrets,
    values: RwLock<Values>,
}

impl Tokens {
    /// Loads the tokens from the state folder, and creates missing ones.
    ///
    /// # Errors
    /// When a file cannot be read or created.
    pub(crate) fn load(secrets: Secrets) -> Result<Self, SecretError> {
        let values = Values::of(&secrets, Secrets::get)?;
        Ok(Tokens { secrets, values: RwLock::new(values) })
    }

    /// Both tokens, the reading one first.
    pub(crate) fn values(&self) -> (String, String) {
        let Values { read, full } = self.values.read().clone();
        (read, full)
    }

    /// Replaces both tokens; the old ones are void at once.
    ///
    /// # Errors
    /// When a file cannot be written: then both tokens are unchanged, or only one is new.
    pub(crate) fn renew(&self) -> Result<(String, String), SecretError> {
        let renewed = Values::of(&self.secrets, Secrets::renew);
        // The files decide, also after a failure.
        let values = match &renewed {
            Ok(values) => values.clone(),
            Err(_) => Values::of(&self.secrets, Secrets::get)?,
        };
        *self.values.write() = values;
        renewed.map(|Values { read, full }| (read, full))
    }

    /// What the holder of `token` may do; `None` when it is neither token.
    pub(crate) fn right(&self, token: &str) -> Option<Right> {
        let values = self.values.read();
        // Compare with both in any case, so that the time reveals nothing.
        let full = values.full.as_bytes().ct_eq(token.as_bytes());
        let read = values.read.as_bytes().ct_eq(token.as_bytes());
        match (bool::from(full), bool::from(read)) {
            (true, _) => Some(Right::Full),
            (false, true) => Some(Right::Read),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_token_takes_the_right_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::load(Secrets::kept(folder.path().to_owned())).unwrap();
        let (read, full) = tokens.values();
        assert_eq!((tokens.right(&read), tokens.right(&full)), (Some(Right::Read), Some(Right::Full)));
        for wrong in ["", "x", &full[1..], &format!("{full}0")] {
            assert_eq!(tokens.right(wrong), None, "{wrong}");
        }
        let again = Tokens::load(Secrets::kept(folder.path().to_owned())).unwrap();
        assert_eq!(again.values(), (read.clone(), full.clone()));
        let (new_read, new_full) = tokens.renew().unwrap();
        assert_eq!((tokens.right(&read), tokens.right(&full)), (None, None));
        assert_eq!((tokens.right(&new_read), tokens.right(&new_full)), (Some(Right::Read), Some(Right::Full)));
    }
}
