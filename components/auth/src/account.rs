//! An account as it is stored, and the key of its e-mail.
//!
//! The key is the e-mail in lower case, so an e-mail cannot have two accounts. Fields that release 0.1.0 did not have
//! are left out while they have their default.

use crate::bindings::accounts::{Error, Role, User};
use crate::bindings::administration::{self, LegacyAccount};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The longest e-mail address in bytes: RFC 3696, erratum 1690.
pub(crate) const MAX_EMAIL_BYTES: usize = 254;

/// An account, stored as JSON. It has no `Debug`: the hash of a password belongs in no log.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    /// 24 hexadecimal digits, as MongoDB's ObjectId.
    pub id: String,
    /// As the user wrote it.
    pub email: String,
    /// The user's name; may be empty.
    pub name: String,
    #[serde(with = "StoredRole")]
    pub role: Role,
    /// Whether the user is disabled.
    pub disabled: bool,
    /// The hash of the password: argon2id as a PHC string, or bcrypt (`$2a$`, `$2b$`, `$2y$`) of an imported account.
    pub password: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// How often all tokens were revoked; a token carries the generation that it belongs to.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u64,
    /// The open reset token: it lets the user set a new password once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<Reset>,
    /// When the user last changed the e-mail, in seconds since 1970; absent if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_since: Option<u64>,
    /// When its deletion began, in seconds since 1970. Afterwards only the id and the history are left, so that nobody
    /// gets the id again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
    /// Its history.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// One change in the history of an account, as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub at: String,
    pub by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trace: String,
    pub what: What,
    pub from: String,
    pub to: String,
}

/// What changed.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    Role,
    Disabled,
    Deleted,
}

/// A reset token, as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reset {
    /// The hash of the token's secret, in hexadecimal.
    pub hash: String,
    /// When it expires, in seconds since 1970.
    pub until: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How a role is written in the store.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Role", rename_all = "lowercase")]
enum StoredRole {
    Customer,
    Admin,
}

impl Account {
    /// A new account, created at `now`.
    pub(crate) fn new(name: String, email: String, password: String, now: u64) -> Result<Self, Error> {
        Ok(Account {
            id: new_id(now)?,
            email,
            name,
            role: Role::Customer,
            disabled: false,
            password,
            created_at: rfc3339(now)?,
            generation: 0,
            reset: None,
            email_since: None,
            deleted: None,
            changes: Vec::new(),
        })
    }

    /// Whether the user may log in.
    pub(crate) fn is_open(&self) -> bool {
        !self.disabled && self.deleted.is_none()
    }

    /// Whether the password is as another system had it: the first login here stores an argon2id hash, and so does each
    /// change.
    pub(crate) fn has_imported_password(&self) -> bool {
        self.password.starts_with("$2")
    }

    /// The account with all of its tokens revoked, reset tokens too.
    pub(crate) fn without_tokens(self) -> Self {
        Account { generation: self.generation + 1, reset: None, ..self }
    }

    /// What remains of a deleted account.
    pub(crate) fn erased(self) -> Self {
        Account {
            email: String::new(),
            name: String::new(),
            password: String::new(),
            role: Role::Customer,
            disabled: true,
            ..self.without_tokens()
        }
    }

    /// An account that is imported from another system at `now`, with its `id` from there if it had one.
    pub(crate) fn imported(legacy: LegacyAccount, id: Option<String>, now: u64) -> Result<Self, Error> {
        let account = Account::new(legacy.name, legacy.email, legacy.password_hash, now)?;
        Ok(Account { id: id.unwrap_or(account.id), role: legacy.role, ..account })
    }

    /// The fields that other components may see.
    pub(crate) fn for_others(self) -> User {
        User { id: self.id, email: self.email, name: self.name, role: self.role }
    }

    /// The fields that an operator sees.
    pub(crate) fn for_operator(self) -> administration::Account {
        let (disabled, created_at) = (self.disabled, self.created_at.clone());
        administration::Account { user: self.for_others(), disabled, created_at }
    }
}

/// The key of an account: an e-mail in lower case, at most [`MAX_EMAIL_BYTES`] long, which every key-value store takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(String);

impl Key {
    /// The key for an e-mail; `None` for a text that is too long for an e-mail.
    pub(crate) fn of(email: &str) -> Option<Self> {
        // Lower case can be longer than the original text, so check the length again.
        Some(email)
            .filter(|text| text.len() <= MAX_EMAIL_BYTES)
            .map(str::to_lowercase)
            .filter(|k| k.len() <= MAX_EMAIL_BYTES)
            .map(Key)
    }

    /// The key as the store has it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A new id: 4 bytes of seconds, then 8 random ones, in hexadecimal.
fn new_id(now: u64) -> Result<String, Error> {
    let random = getrandom::u64().map_err(|error| {
        eprintln!("no random bytes available: {error}");
        Error::Internal("the account service cannot generate an id for the user".into())
    })?;
    // An ObjectId's seconds have 32 bits; they overflow in 2106.
    Ok(format!("{:08x}{random:016x}", now & u64::from(u32::MAX)))
}

/// A time as RFC 3339, UTC.
pub(crate) fn rfc3339(seconds: u64) -> Result<String, Error> {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok())
        .ok_or_else(|| {
            eprintln!("the clock says {seconds} seconds after 1970");
            Error::Internal("the account service has no usable clock".into())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Account {
        Account::new("Ann".into(), "Ann@example.com".into(), "$2b$hash".into(), 1_700_000_000).unwrap()
    }

    #[test]
    fn a_new_account_is_an_enabled_customer_with_an_object_id() {
        let ann = ann();
        assert_eq!((ann.role, ann.disabled, ann.created_at.as_str()), (Role::Customer, false, "2023-11-14T22:13:20Z"));
        assert_eq!((ann.id.len(), ann.id.get(..8)), (24, Some("6553f100")));
        assert!(ann.id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        assert_ne!(ann.id, super::new_id(1_700_000_000).unwrap());
    }

    #[test]
    fn an_imported_account_keeps_its_id_role_and_hash() {
        let legacy = |name: &str| LegacyAccount {
            email: "Old@example.com".into(),
            name: name.into(),
            role: Role::Admin,
            password_hash: "$2b$hash".into(),
            id: None,
        };
        let id = "6b039b2932acae47658f4de1";
        let old = Account::imported(legacy("Old"), Some(id.into()), 1_700_000_000).unwrap();
        assert_eq!((old.id.as_str(), old.email.as_str(), old.name.as_str()), (id, "Old@example.com", "Old"));
        assert_eq!((old.role, old.disabled, old.password.as_str()), (Role::Admin, false, "$2b$hash"));
        let new = Account::imported(legacy(""), None, 1_700_000_000).unwrap();
        assert_eq!((new.id.len(), new.id.get(..8)), (24, Some("6553f100")));
    }

    #[test]
    fn a_bcrypt_hash_is_that_of_an_import() {
        let argon2 = Account { password: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into(), ..ann() };
        assert!(ann().has_imported_password() && !argon2.has_imported_password());
    }

    #[test]
    fn a_record_is_stored_as_plain_json_and_comes_back() {
        let mut ann = ann();
        ann.id = "6b039b2932acae47658f4de1".into();
        ann.role = Role::Admin;
        let json = serde_json::to_string(&ann).unwrap();
        assert_eq!(
            json,
            r#"{"id":"6b039b2932acae47658f4de1","email":"Ann@example.com","name":"Ann","role":"admin","disabled":false,"password":"$2b$hash","createdAt":"2023-11-14T22:13:20Z"}"#
        );
        let back: Account = serde_json::from_str(&json).unwrap();
        assert_eq!((back.id, back.role, back.password), (ann.id, Role::Admin, ann.password));
    }

    #[test]
    fn e_mails_that_differ_only_in_case_have_one_key() {
        assert_eq!(Key::of("ANN@Example.COM"), Key::of("ann@example.com"));
        assert_eq!(Key::of("ÄNN@example.com"), Key::of("änn@example.com"));
        assert_ne!(Key::of("ann@example.com"), Key::of("anne@example.com"));
        assert_eq!(Key::of("ANN@x.io").unwrap().as_str(), "ann@x.io");
    }

    #[test]
    fn a_key_is_never_longer_than_an_e_mail() {
        assert!(Key::of(&"a".repeat(MAX_EMAIL_BYTES)).is_some());
        assert!(Key::of(&"a".repeat(MAX_EMAIL_BYTES + 1)).is_none());
        // U+0130 grows from two bytes to three.
        assert!(Key::of(&"İ".repeat(MAX_EMAIL_BYTES / 2)).is_none());
    }
}
