//! Validation of what users register: a length limit for every stored field, and the rules of class-validator's
//! `isStrongPassword`.
//!
//! This component checks only what it relies on in an e-mail address, because the address is a key and appears in
//! tokens. The gateway, which takes addresses from people, checks the rest: two full checks would disagree in rare
//! cases.

use crate::account::Key;
use crate::bindings::accounts::Error;
use crate::text;

/// The longest name in bytes. With this bound a token stays under 4 KiB (`token::MAX_TOKEN_BYTES`).
pub(crate) const MAX_NAME_BYTES: usize = 1000;
/// The longest password in bytes.
pub(crate) const MAX_PASSWORD_BYTES: usize = 1024;

/// What `isStrongPassword` counts as a symbol.
const SYMBOLS: &str = "-#!$@£%^&*()_+|~=`{}[]:\";'<>?,./\\ ";

/// Checks a name. Control characters are refused: logs and terminals interpret them, and in a token's JSON each one
/// takes six bytes (`\u001b`).
pub(crate) fn name(name: &str) -> Result<(), Error> {
    if name.len() > MAX_NAME_BYTES {
        return Err(too_long("name", 0, MAX_NAME_BYTES));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::Invalid("name must not contain control characters".into()));
    }
    Ok(())
}

/// Checks an e-mail address and returns its key.
pub(crate) fn email(email: &str) -> Result<Key, Error> {
    Key::of(email).filter(|_| is_address(email)).ok_or_else(|| Error::Invalid("email must be an email".into()))
}

/// Checks the e-mail address of a new account. It must be in its plain form ([`text::plain`]), so that nobody can
/// mistake it for another address.
pub(crate) fn new_email(email: &str) -> Result<Key, Error> {
    let key = self::email(email)?;
    match text::plain(email) {
        plain if plain == email => Ok(key),
        plain if is_address(&plain) => Err(Error::Invalid(format!("email must be written as {plain}"))),
        _ => Err(Error::Invalid("email must be an email".into())),
    }
}

/// Checks the password of a new account.
pub(crate) fn password(password: &str) -> Result<(), Error> {
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(too_long("password", 8, MAX_PASSWORD_BYTES));
    }
    // JavaScript counts UTF-16 units.
    let is_strong = password.encode_utf16().count() >= 8
        && password.contains(|c: char| c.is_ascii_lowercase())
        && password.contains(|c: char| c.is_ascii_uppercase())
        && password.contains(|c: char| c.is_ascii_digit())
        && password.contains(|c| SYMBOLS.contains(c));
    if is_strong { Ok(()) } else { Err(Error::Invalid("password is not strong enough".into())) }
}

/// Checks a user id that comes from outside, and returns it in lower case, as it is stored.
pub(crate) fn id(id: &str) -> Result<String, Error> {
    if id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(id.to_ascii_lowercase())
    } else {
        Err(Error::Invalid("id must be 24 hexadecimal digits".into()))
    }
}

/// The message of class-validator's `IsByteLength`.
fn too_long(field: &str, min: usize, max: usize) -> Error {
    Error::Invalid(format!("{field}'s byte length must fall into ({min}, {max}) range"))
}

/// Whether there is text on both sides of the last `@`, no control character, and no whitespace outside a quoted local
/// part.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let is_quoted = local.len() > 1 && local.starts_with('"') && local.ends_with('"');
    !local.is_empty()
        && !domain.is_empty()
        && !text.contains(char::is_control)
        && !domain.contains(char::is_whitespace)
        && (is_quoted || !local.contains(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::MAX_EMAIL_BYTES;

    fn message<T>(result: Result<T, Error>) -> String {
        match result {
            Err(Error::Invalid(text)) => text,
            _ => panic!("nothing was refused"),
        }
    }

    #[test]
    fn an_email_has_something_on_both_sides_of_its_last_at() {
        let longest = format!("a@{}", "b".repeat(MAX_EMAIL_BYTES - 2));
        for good in [
            "ann@example.com",
            "ANN@example.com",
            "user.name+tag@sub.example.co.uk",
            "zoë@bücher.example",
            "a@☃.net",
            "a@ex😀.com",
            "ann@localhost",
            "\"ann b\"@example.com",
            "\"a@b\"@example.com",
            &longest,
        ] {
            assert!(email(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_cannot_be_a_key_or_stand_in_a_log_is_no_email() {
        let long = format!("a@{}", "b".repeat(MAX_EMAIL_BYTES - 1));
        let long_in_lower_case = format!("{}@b.io", "İ".repeat(100));
        for bad in [
            "",
            "x",
            "@",
            "ann@",
            "@example.com",
            "a b@example.com",
            "\"@ b\"@example.com\" @b",
            " ann@example.com",
            "ann@example.com ",
            "ann@exam ple.com",
            "ann@exam\u{3000}ple.com",
            "a\u{2003}b@example.com",
            "Ann <ann@example.com>",
            "ann@example.com\n",
            "\"a\tb\"@example.com",
            "\"a\0\"@example.com",
            "a@exam\u{9b}ple.com",
            &long,
            &long_in_lower_case,
        ] {
            assert_eq!(message(email(bad)), "email must be an email", "{bad}");
        }
    }

    #[test]
    fn a_new_email_is_written_in_its_plain_form() {
        assert!(new_email("Zoë@bücher.example").is_ok());
        assert_eq!(message(new_email("ａnn@example.com")), "email must be written as ann@example.com");
        assert_eq!(message(new_email("a\u{202e}nn@example.com")), "email must be written as ann@example.com");
        assert_eq!(message(new_email("\u{200b}@example.com")), "email must be an email");
        assert!(email("ａnn@example.com").is_ok(), "an existing account keeps such an address");
    }

    #[test]
    fn a_password_has_eight_characters_of_four_kinds() {
        for good in ["Abc123!x", "Abcdefg1 ", "aA1£aaaa", "Aa1!😀😀", "Abcdef1\\", "Abcdef1@"] {
            assert!(password(good).is_ok(), "{good}");
        }
        for weak in ["", "Aa1!", "ABCDEFG1!", "abcdefg1!", "Abcdefgh!", "Abcdefg1", "Abcdefg1é", "Abc123!", "Äbc123!x"]
        {
            assert_eq!(message(password(weak)), "password is not strong enough", "{weak}");
        }
    }

    #[test]
    fn an_id_has_24_hexadecimal_digits() {
        for good in ["6b039b2932acae47658f4de1", "6B039B2932ACAE47658F4DE1"] {
            assert_eq!(id(good).unwrap(), "6b039b2932acae47658f4de1");
        }
        for bad in [
            "",
            "6b039b2932acae47658f4de",
            "6b039b2932acae47658f4de1a",
            "6b039b2932acae47658f4deg",
            "+b039b2932acae47658f4de1",
            "6b039b2932acae47658f4dé",
        ] {
            assert_eq!(message(id(bad)), "id must be 24 hexadecimal digits", "{bad}");
        }
    }

    #[test]
    fn what_is_stored_is_bounded() {
        assert!(name("").is_ok() && name("Zoë 🙂").is_ok());
        assert!(name(&"n".repeat(MAX_NAME_BYTES)).is_ok());
        assert_eq!(message(name(&"n".repeat(MAX_NAME_BYTES + 1))), "name's byte length must fall into (0, 1000) range");
        assert_eq!(message(name("a\u{1b}[2Jb")), "name must not contain control characters");
        let password_of = |length: usize| format!("Abc123!{}", "x".repeat(length - 7));
        assert!(password(&password_of(MAX_PASSWORD_BYTES)).is_ok());
        assert_eq!(
            message(password(&password_of(MAX_PASSWORD_BYTES + 1))),
            "password's byte length must fall into (8, 1024) range"
        );
    }
}
