//! Browser sessions: a browser exchanges a code, which works once, for a session, which it keeps in a cookie.
//!
//! The code follows the `#` of the printed address. A browser sends that part to no server and keeps it out of
//! `Referer`; the page reads the code there and POSTs it. The host keeps only digests of codes and cookies: what leaks
//! from its memory or log lets nobody in, and the time of a comparison reveals nothing.

use super::right::Right;
use parking_lot::{Mutex, MutexGuard};
use sha2::{Digest as _, Sha256};
use souk_manifest::secrets::{self, SecretError};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of sessions.
    pub(crate) const FIXED_LIMITS = "administration";

    /// How long the code in the console's address works; it works once.
    const CODE_TTL: Duration = Duration::from_secs(60);
    /// How long a browser that has exchanged its code stays signed in.
    pub(super) const SESSION_TTL: Duration = Duration::from_secs(12 * 3600);
    /// The most unused codes; a new one replaces the oldest.
    const MAX_CODES: usize = 16, "codes";
    /// The most browsers that are signed in; a new one signs out the oldest.
    const MAX_SESSIONS: usize = 64, "sessions";
}

/// The length of a session as the cookie has it: a random secret in hexadecimal digits.
pub(super) const SESSION_DIGITS: usize = 64;

type Digest = [u8; 32];

fn digest(secret: &str) -> Digest {
    Sha256::digest(secret.as_bytes()).into()
}

/// A session.
#[derive(Debug, Clone, Copy)]
struct Session {
    number: u64,
    right: Right,
    since: Instant,
}

/// All open codes and sessions.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<Open>);

#[derive(Default)]
struct Open {
    last: u64,
    codes: HashMap<Digest, Instant>,
    sessions: HashMap<Digest, Session>,
}

impl Open {
    fn forget_old(&mut self) {
        self.codes.retain(|_, since| since.elapsed() < CODE_TTL);
        self.sessions.retain(|_, session| session.since.elapsed() < SESSION_TTL);
    }
}

impl Sessions {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock()
    }

    /// A new code.
    ///
    /// # Errors
    /// When the system provides no random bytes.
    pub(crate) fn code(&self) -> Result<String, SecretError> {
        let code = secrets::random()?;
        let mut open = self.open();
        open.forget_old();
        if open.codes.len() >= MAX_CODES {
            let oldest = open.codes.iter().min_by_key(|(_, since)| **since).map(|(code, _)| *code);
            oldest.map(|oldest| open.codes.remove(&oldest));
        }
        open.codes.insert(digest(&code), Instant::now());
        Ok(code)
    }

    /// Exchanges `code` for the value of a cookie and uses the code up; `None` when the code is unknown or too old.
    ///
    /// # Errors
    /// When the system provides no random bytes.
    pub(crate) fn exchange(&self, code: &str) -> Result<Option<String>, SecretError> {
        let cookie = secrets::random()?;
        let mut open = self.open();
        open.forget_old();
        if open.codes.remove(&digest(code)).is_none() {
            return Ok(None);
        }
        if open.sessions.len() >= MAX_SESSIONS {
            let oldest = open.sessions.iter().min_by_key(|(_, session)| session.since).map(|(cookie, _)| *cookie);
            oldest.map(|oldest| open.sessions.remove(&oldest));
        }
        open.last += 1;
        let session = Session { number: open.last, right: Right::Full, since: Instant::now() };
        open.sessions.insert(digest(&cookie), session);
        Ok(Some(cookie))
    }

    /// The number and the right of the session with this cookie.
    pub(crate) fn find(&self, cookie: &str) -> Option<(u64, Right)> {
        let open = self.open();
        let session = open.sessions.get(&digest(cookie)).filter(|session| session.since.elapsed() < SESSION_TTL)?;
        Some((session.number, session.right))
    }

    /// Ends the session with this cookie.
    pub(crate) fn end(&self, cookie: &str) {
        self.open().sessions.remove(&digest(cookie));
    }

    /// Ends all sessions and voids all codes.
    pub(crate) fn end_all(&self) {
        let mut open = self.open();
        open.codes.clear();
        open.sessions.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_works_once() {
        let sessions = Sessions::default();
        let code = sessions.code().unwrap();
        assert_eq!(sessions.exchange("another").unwrap(), None);
        let cookie = sessions.exchange(&code).unwrap().unwrap();
        assert_eq!(sessions.exchange(&code).unwrap(), None);
        assert_eq!(sessions.find(&cookie), Some((1, Right::Full)));
        assert_eq!(sessions.find(&code), None);
        assert_eq!(cookie.len(), SESSION_DIGITS);
        sessions.end(&cookie);
        assert_eq!(sessions.find(&cookie), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_code_ends_after_a_minute_and_a_session_after_twelve_hours() {
        let sessions = Sessions::default();
        let late = sessions.code().unwrap();
        tokio::time::advance(CODE_TTL).await;
        assert_eq!(sessions.exchange(&late).unwrap(), None);
        let code = sessions.code().unwrap();
        tokio::time::advance(CODE_TTL - Duration::from_secs(1)).await;
        let cookie = sessions.exchange(&code).unwrap().unwrap();
        tokio::time::advance(SESSION_TTL - Duration::from_secs(1)).await;
        assert_eq!(sessions.find(&cookie), Some((1, Right::Full)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(sessions.find(&cookie), None);
    }

    #[test]
    fn the_oldest_goes_where_there_are_too_many_and_all_go_at_once() {
        let sessions = Sessions::default();
        let first = sessions.exchange(&sessions.code().unwrap()).unwrap().unwrap();
        let others: Vec<_> =
            (0..MAX_SESSIONS).map(|_| sessions.exchange(&sessions.code().unwrap()).unwrap().unwrap()).collect();
        assert_eq!(sessions.find(&first), None);
        assert!(others.iter().all(|cookie| sessions.find(cookie).is_some()));
        let codes: Vec<_> = (0..=MAX_CODES).map(|_| sessions.code().unwrap()).collect();
        assert_eq!(sessions.exchange(&codes[0]).unwrap(), None);
        sessions.end_all();
        assert!(others.iter().all(|cookie| sessions.find(cookie).is_none()));
        assert_eq!(sessions.exchange(&codes[1]).unwrap(), None);
    }
}
