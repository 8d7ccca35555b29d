//! Users of the NestJS system that this store replaces, from its MongoDB: `souk:imports/rows`.
//!
//! The users keep their password hashes and their ids, which are MongoDB's. Here the case of an e-mail does not matter,
//! and there it did: users whose e-mails differ only in case are all refused, and each refusal names the row of another.
//!
//! A user who comes again with another password gets it, unless the user has logged in here since: then the hash here is
//! of another kind, and does not say on which side the password has changed. An account that came with a hash of that
//! kind keeps the password that it has.

use crate::Auth;
use crate::account::{Account, Key};
use crate::bindings::accounts::{Error, Role};
use crate::bindings::administration::LegacyAccount;
use crate::bindings::rows::{Guest, Kind, Source, System, Verdict};
use crate::store::{Added, Store};
use crate::{now, password, rules};
use serde::Deserialize;
use serde_json::Value;

/// The collection's documents.
#[derive(Deserialize)]
struct User {
    #[serde(rename = "_id")]
    id: Value,
    email: String,
    #[serde(default)]
    name: String,
    password: String,
}

impl Guest for Auth {
    fn kinds() -> Vec<Kind> {
        vec![Kind {
            name: "users".into(),
            about: "the users of the NestJS system's auth-ms, with their password hashes".into(),
            sources: vec![Source { system: System::Mongodb, read: "User".into() }],
            in_order: false,
            distinct: Some("email,_id".into()),
        }]
    }

    fn take(kind: String, rows: Vec<String>, dry_run: bool) -> Result<Vec<Verdict>, String> {
        if kind != "users" {
            return Err(format!("there are no `{kind}` here"));
        }
        let now = now();
        let mut verdicts: Vec<Option<Verdict>> = Vec::with_capacity(rows.len());
        let mut accounts = Vec::new();
        for row in &rows {
            match account(row, now) {
                Ok(account) => {
                    accounts.push(account);
                    verdicts.push(None);
                }
                Err(Error::Invalid(why)) => verdicts.push(Some(Verdict::Refused(why))),
                Err(error) => return Err(text(error)),
            }
        }
        let mut added =
            Store::open().and_then(|store| store.add_many(&accounts, now, dry_run)).map_err(text)?.into_iter();
        let verdicts = verdicts.into_iter().map(|known| match known {
            Some(verdict) => verdict,
            None => match added.next() {
                Some(Added::New) => Verdict::Taken,
                Some(Added::Existing) | None => Verdict::There,
                Some(Added::NewPassword) => Verdict::Changed("it has the password that it has there now".into()),
                Some(Added::EmailTaken) => {
                    Verdict::Refused("another account has this e-mail, perhaps in another case".into())
                }
                Some(Added::IdTaken) => {
                    Verdict::Refused("the account with this id has another e-mail here, or was deleted".into())
                }
            },
        });
        Ok(verdicts.collect())
    }
}

/// The account of a document, and the key of its e-mail.
fn account(row: &str, now: u64) -> Result<(Key, Account), Error> {
    let invalid = |what: &str| Error::Invalid(what.to_owned());
    // The parser's message may repeat the password hash.
    let user: User = serde_json::from_str(row)
        .map_err(|_| invalid("it is not a JSON object with `_id`, `email` and `password`, the last two as text"))?;
    let id = user.id.get("$oid").unwrap_or(&user.id).as_str().ok_or_else(|| invalid("its `_id` is not an ObjectId"))?;
    let id = rules::id(id)?;
    rules::name(&user.name)?;
    let key = rules::email(&user.email)?;
    if !is_bcrypt(&user.password) {
        password::validate(&user.password)?;
    }
    let legacy = LegacyAccount {
        email: user.email,
        name: user.name,
        role: Role::Customer,
        password_hash: user.password,
        id: None,
    };
    Ok((key, Account::imported(legacy, Some(id), now)?))
}

/// Whether a text is a bcrypt hash of a cost that is accepted: then nobody has to ask the component that checks
/// passwords.
fn is_bcrypt(hash: &str) -> bool {
    let Some((version, rest)) = hash.split_at_checked(4) else { return false };
    let Some((cost, rest)) = rest.split_once('$') else { return false };
    ["$2a$", "$2b$", "$2y$"].contains(&version)
        && cost.len() == 2
        && cost.parse::<u32>().is_ok_and(|cost| (4..=14).contains(&cost))
        && rest.len() == 53
        && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/')
}

fn text(error: Error) -> String {
    match error {
        Error::Invalid(text) | Error::Unavailable(text) | Error::Internal(text) => text,
        Error::EmailTaken => "an e-mail is taken".into(),
        Error::Unauthorized => "the account is gone".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

    #[test]
    fn a_document_as_mongoexport_and_the_driver_write_it_is_an_account() {
        let row = format!(
            r#"{{"_id":{{"$oid":"6b039ba0047006a81039975f"}},"email":"Ann@Example.com","name":"Ann","password":"{HASH}","__v":0}}"#
        );
        let (key, account) = account(&row, 7).unwrap();
        assert_eq!((key.as_str(), account.email.as_str()), ("ann@example.com", "Ann@Example.com"));
        assert_eq!((account.id.as_str(), account.name.as_str()), ("6b039ba0047006a81039975f", "Ann"));
    }

    #[test]
    fn a_refusal_does_not_repeat_the_hash() {
        for row in [
            "{".to_owned(),
            format!(r#"{{"_id":{{"$oid":"6b039ba0047006a81039975f"}},"password":"{HASH}"}}"#),
            format!(r#"{{"_id":7,"email":"a@b.io","password":"{HASH}"}}"#),
            format!(r#"{{"_id":"short","email":"a@b.io","password":"{HASH}"}}"#),
            format!(r#"{{"_id":"6b039ba0047006a81039975f","email":"nobody","password":"{HASH}"}}"#),
        ] {
            let Err(Error::Invalid(why)) = account(&row, 7) else { panic!("{row}") };
            assert!(!why.contains("N9qo8uLO"), "{why}");
        }
    }
}
