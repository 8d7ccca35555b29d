//! Slows down clients that guess passwords: `store:auth/guesses`.
//!
//! An attempt is counted as failed before it is made, and taken back if it did not fail, so that a thousand attempts at
//! once cannot bypass the limits. Sources that have logged in to an account within 30 days have counters of their own,
//! in one record for each account: what strangers do never slows them down. All others count twice, for their source
//! and for the account.
//!
//! The number of strangers' counters is bounded: there are [`SLOTS`] for sources and as many for accounts. A keyed hash
//! chooses the slot, so nobody can choose with whom they share one. Those who share a slot wait together: if a new
//! source replaced the counter of another one, a guesser could fill all slots to erase its own count.

pub(crate) mod rule;
mod source;

use crate::account::Key;
use crate::bindings::accounts::Error;
use crate::bindings::guesses::{Counted, Outcome, Refusal};
use crate::now;
use crate::store::{Store, fault};
use crate::token::Signer;
use rule::{Counter, KNOWN, Rule, SOURCE, STRANGERS};
use serde::{Deserialize, Serialize};

/// How many counters there are for sources, and how many for accounts.
const SLOTS: u16 = 1 << 14;
/// How many sources are known to an account: the ones that logged in most recently.
pub(crate) const MAX_KNOWN: usize = 8;
/// How long a source is known after a login, in seconds.
const KNOWN_SECONDS: u64 = 30 * 24 * 60 * 60;

/// A source that has logged in to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Source {
    /// The first bytes of the keyed hash of its address: the address itself is not stored.
    source: String,
    /// When it logged in last, in seconds since 1970.
    login: u64,
    #[serde(flatten)]
    counter: Counter,
}

/// The counters of one attempt.
struct Counters<'a> {
    store: &'a Store,
    /// Where the account keeps its known sources; `None` if no account has this e-mail.
    account: Option<KnownSources>,
    source_slot: String,
    account_slot: String,
}

/// The sources that are known to an account. They are stored under its id, because its e-mail may change.
struct KnownSources {
    /// The key of the record.
    key: String,
    /// The name of this source in it.
    name: String,
}

/// Admits an attempt, and counts it as failed.
pub(crate) fn admit(account: Option<&str>, source: &str) -> Result<Counted, Refusal> {
    let (signer, store) = (Signer::load().map_err(to_refusal)?, Store::open().map_err(to_refusal)?);
    let counters = Counters::of(&signer, &store, account.unwrap_or_default(), source)?;
    let now = now();
    if counters.try_known(now)? {
        return Ok(Counted::Known);
    }
    let (source_rule, strangers) = (&SOURCE, &STRANGERS);
    if account.is_none() {
        if counters.count(&counters.source_slot, source_rule, now)? {
            eprintln!("source {source}: too many failed attempts; further attempts have to wait");
        }
        return Ok(Counted::Source);
    }
    // Both are checked before either counts: an attempt that one of them refuses must not count for the other.
    let wait = counters.wait(&counters.source_slot, source_rule, now)?.max(counters.wait(
        &counters.account_slot,
        strangers,
        now,
    )?);
    if wait > 0 {
        return Err(too_many(wait));
    }
    if counters.count(&counters.source_slot, source_rule, now)? {
        eprintln!("source {source}: too many failed attempts; further attempts have to wait");
    }
    if counters.count(&counters.account_slot, strangers, now)? {
        eprintln!(
            "{}: too many wrong passwords; attempts from unknown sources have to wait",
            log_name(&store, account)
        );
    }
    Ok(Counted::Stranger)
}

/// Records the outcome of an attempt.
pub(crate) fn record_outcome(account: &str, source: &str, counted: Counted, outcome: Outcome) -> Result<(), Refusal> {
    if outcome == Outcome::Wrong {
        return Ok(());
    }
    let (signer, store) = (Signer::load().map_err(to_refusal)?, Store::open().map_err(to_refusal)?);
    let counters = Counters::of(&signer, &store, account, source)?;
    if counted != Counted::Known {
        counters.take_back(&counters.source_slot)?;
    }
    if counted == Counted::Stranger {
        counters.take_back(&counters.account_slot)?;
    }
    let now = now();
    match (counted, outcome) {
        (Counted::Known, Outcome::Right) => {
            counters.change_known(|sources, name| with_login(without_attempt(sources, name), name, now))
        }
        (Counted::Known, _) => counters.change_known(without_attempt),
        (_, Outcome::Right) => counters.change_known(|sources, name| with_login(sources, name, now)),
        _ => Ok(()),
    }
}

/// Forgets which sources have logged in to the account with this id.
pub(crate) fn forget(store: &Store, id: &str) -> Result<(), Error> {
    store.delete(&known_key(id))
}

/// Removes, under these keys, the sources of accounts to which none of them is known any more; of how many. One that logs in
/// at this moment may be forgotten: until its next login it is a stranger.
pub(crate) fn forget_old(store: &Store, keys: &[String], now: u64) -> Result<usize, Error> {
    let mut forgotten = 0;
    for (key, sources) in store.by_keys::<Vec<Source>>(keys)? {
        if !sources.iter().any(|source| has_logged_in(source, now)) {
            store.delete(&key)?;
            forgotten += 1;
        }
    }
    Ok(forgotten)
}

fn known_key(id: &str) -> String {
    format!("known/{id}")
}

impl<'a> Counters<'a> {
    /// The counters for the account with this e-mail, which is empty for an attempt that names none.
    fn of(signer: &Signer, store: &'a Store, email: &str, source: &str) -> Result<Self, Refusal> {
        let source = source::network(source);
        let key = Key::of(email).filter(|_| !email.is_empty());
        let account = match &key {
            Some(key) => store.by_email(key).map_err(to_refusal)?,
            None => None,
        };
        let slot = |kind: &str, text: &str| {
            let [first, second, ..] = signer.digest(kind, text);
            format!("guess/{kind}/{}", u16::from_be_bytes([first, second]) % SLOTS)
        };
        let known = |id: &str| {
            let [a, b, c, d, e, f, g, h, ..] = signer.digest("source-of-account", &format!("{id}\0{source}"));
            KnownSources { key: known_key(id), name: hex::encode([a, b, c, d, e, f, g, h]) }
        };
        Ok(Counters {
            store,
            account: account.map(|account| known(&account.id)),
            source_slot: slot("source", &source),
            // In lower case: the case of an e-mail does not matter.
            account_slot: slot("account", &email.to_lowercase()),
        })
    }

    /// Counts an attempt of a known source; `false` when the source is not known.
    fn try_known(&self, now: u64) -> Result<bool, Refusal> {
        let Some(KnownSources { key, name }) = &self.account else { return Ok(false) };
        let sources: Vec<Source> = self.store.read(key).map_err(to_refusal)?.unwrap_or_default();
        if !sources.iter().any(|known| is_known(known, name, now)) {
            return Ok(false);
        }
        let counted = self.store.swap(key, |sources: Option<Vec<Source>>| {
            let mut sources = sources.unwrap_or_default();
            match sources.iter_mut().find(|known| is_known(known, name, now)) {
                None => return Ok((None, Ok(false))),
                Some(known) => match known.counter.wait(&KNOWN, now) {
                    0 => known.counter = known.counter.tried(&KNOWN, now),
                    wait => return Ok((None, Err(too_many(wait)))),
                },
            }
            Ok((Some(sources), Ok(true)))
        });
        counted.map_err(to_refusal)?
    }

    /// Changes the sources that are known to the account; `change` also gets the name of this one.
    fn change_known(&self, change: impl Fn(Vec<Source>, &str) -> Vec<Source>) -> Result<(), Refusal> {
        let Some(KnownSources { key, name }) = &self.account else { return Ok(()) };
        let changed = self.store.swap(key, |sources| {
            let sources = change(sources.unwrap_or_default(), name);
            Ok(((!sources.is_empty()).then_some(sources), ()))
        });
        changed.map_err(to_refusal)
    }

    fn wait(&self, slot: &str, rule: &Rule, now: u64) -> Result<u64, Refusal> {
        let counter: Counter = self.store.read(slot).map_err(to_refusal)?.unwrap_or_default();
        Ok(counter.wait(rule, now))
    }

    /// Counts an attempt; `true` when this one used up the free attempts, so that the next one has to wait.
    fn count(&self, slot: &str, rule: &Rule, now: u64) -> Result<bool, Refusal> {
        let counted = self.store.swap(slot, |counter: Option<Counter>| {
            let counter = counter.unwrap_or_default();
            match counter.wait(rule, now) {
                0 => {
                    let tried = counter.tried(rule, now);
                    Ok((Some(tried), Ok(tried.wrong == rule.free)))
                }
                wait => Ok((None, Err(too_many(wait)))),
            }
        });
        counted.map_err(to_refusal)?
    }

    fn take_back(&self, slot: &str) -> Result<(), Refusal> {
        let taken_back = self.store.swap(slot, |counter: Option<Counter>| Ok((counter.map(Counter::taken_back), ())));
        taken_back.map_err(to_refusal)
    }
}

fn is_known(source: &Source, name: &str, now: u64) -> bool {
    source.source == name && has_logged_in(source, now)
}

/// Whether its login counts still.
fn has_logged_in(source: &Source, now: u64) -> bool {
    now.saturating_sub(source.login) < KNOWN_SECONDS
}

/// The known sources after an attempt of one of them did not fail.
fn without_attempt(mut sources: Vec<Source>, name: &str) -> Vec<Source> {
    if let Some(known) = sources.iter_mut().find(|known| known.source == name) {
        known.counter = known.counter.taken_back();
    }
    sources
}

/// The known sources after a new one has logged in. If it became known meanwhile, its count stays.
fn with_login(mut sources: Vec<Source>, name: &str, now: u64) -> Vec<Source> {
    sources.retain(|known| has_logged_in(known, now));
    match sources.iter_mut().find(|known| known.source == name) {
        Some(known) => known.login = now,
        None => sources.push(Source { source: name.to_owned(), login: now, counter: Counter::default() }),
    }
    sources.sort_by_key(|known| std::cmp::Reverse(known.login));
    sources.truncate(MAX_KNOWN);
    sources
}

/// The name of an account in the log.
fn log_name(store: &Store, account: Option<&str>) -> String {
    let found = account.and_then(Key::of).map(|key| store.by_email(&key));
    match found {
        Some(Ok(Some(account))) => format!("user {}", account.id),
        _ => "an account that does not exist".to_owned(),
    }
}

fn too_many(wait: u64) -> Refusal {
    Refusal::TooMany(u32::try_from(wait).unwrap_or(u32::MAX))
}

fn to_refusal(error: Error) -> Refusal {
    match error {
        Error::Unavailable(text) => Refusal::Unavailable(text),
        Error::Internal(text) => Refusal::Internal(text),
        Error::Invalid(_) | Error::EmailTaken | Error::Unauthorized => {
            match fault("a counter caused an error of an account") {
                Error::Internal(text) => Refusal::Internal(text),
                _ => Refusal::Internal(String::new()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, login: u64) -> Source {
        Source { source: name.into(), login, counter: Counter { wrong: 3, at: 5 } }
    }

    #[test]
    fn the_sources_that_logged_in_last_are_known() {
        let mut sources = Vec::new();
        for at in 0..20 {
            sources = with_login(sources, &format!("s{at}"), 1000 + at);
        }
        let names: Vec<_> = sources.iter().map(|known| known.source.as_str()).collect();
        assert_eq!(names, ["s19", "s18", "s17", "s16", "s15", "s14", "s13", "s12"]);
        let later = with_login(sources, "new", 1020 + KNOWN_SECONDS);
        assert_eq!(later.len(), 1, "a source that has not logged in for 30 days is forgotten");
    }

    #[test]
    fn a_login_renews_a_source_and_takes_back_only_its_own_attempt() {
        let sources = with_login(without_attempt(vec![source("a", 10), source("b", 10)], "a"), "a", 99);
        assert_eq!((sources[0].login, sources[0].counter.wrong), (99, 2));
        assert_eq!(sources[1], source("b", 10));
        let sources = without_attempt(sources, "a");
        assert_eq!((sources[0].login, sources[0].counter.wrong), (99, 1));
        assert_eq!(
            with_login(vec![source("a", 10)], "a", 20)[0].counter.wrong,
            3,
            "a login that was counted elsewhere takes back no attempt"
        );
    }

    #[test]
    fn a_source_is_known_for_thirty_days() {
        assert!(is_known(&source("a", 1000), "a", 1000 + KNOWN_SECONDS - 1));
        assert!(!is_known(&source("a", 1000), "a", 1000 + KNOWN_SECONDS));
        assert!(!is_known(&source("a", 1000), "b", 1000));
    }
}
