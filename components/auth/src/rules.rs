//! What may be registered: the rules of class-validator's `isEmail` and `isStrongPassword`, with their messages, and a
//! bound for everything that is stored.
//!
//! The `email_address` crate knows the grammar (RFC 5322, 6531). It also takes what `isEmail` refuses, a host without a
//! real top-level domain above all; that is checked here.

use crate::account::Key;
use crate::bindings::accounts::Error;
use email_address::{EmailAddress, Options};

/// The longest e-mail address in bytes: RFC 3696, erratum 1690.
pub const MAX_EMAIL: usize = 254;
/// The longest name in bytes. With this bound a token stays under 4 KiB (`token::MAX_TOKEN`).
pub const MAX_NAME: usize = 1000;
/// The longest password in bytes.
pub const MAX_PASSWORD: usize = 1024;

/// What `isStrongPassword` counts as a symbol.
const SYMBOLS: &str = "-#!$@£%^&*()_+|~=`{}[]:\";'<>?,./\\ ";
/// A full address with a domain name, and nothing else.
const PLAIN: Options = Options { minimum_sub_domains: 2, allow_domain_literal: false, allow_display_text: false };

/// Checks a name. Control characters are refused: logs and terminals act on them, and a token needs six bytes for each.
pub fn name(name: &str) -> Result<(), Error> {
    if name.len() > MAX_NAME {
        return Err(too_long("name", 0, MAX_NAME));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::Invalid("name must not contain control characters".into()));
    }
    Ok(())
}

/// Checks an e-mail address and returns its key.
pub fn email(email: &str) -> Result<Key, Error> {
    Key::of(email)
        .filter(|_| !email.chars().any(char::is_control))
        .filter(|_| EmailAddress::parse_with_options(email, PLAIN).is_ok_and(|address| is_host(address.domain())))
        .ok_or_else(|| Error::Invalid("email must be an email".into()))
}

/// Checks the password of a new account.
pub fn password(password: &str) -> Result<(), Error> {
    if password.len() > MAX_PASSWORD {
        return Err(too_long("password", 8, MAX_PASSWORD));
    }
    // JavaScript counts UTF-16 units.
    let is_strong = password.encode_utf16().count() >= 8
        && password.contains(|c: char| c.is_ascii_lowercase())
        && password.contains(|c: char| c.is_ascii_uppercase())
        && password.contains(|c: char| c.is_ascii_digit())
        && password.contains(|c| SYMBOLS.contains(c));
    if is_strong { Ok(()) } else { Err(Error::Invalid("password is not strong enough".into())) }
}

/// Checks the number of a user from elsewhere and returns it as it is stored, in lower case.
pub fn id(id: &str) -> Result<String, Error> {
    if id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(id.to_ascii_lowercase())
    } else {
        Err(Error::Invalid("id must be 24 hexadecimal digits".into()))
    }
}

/// The message of class-validator's `IsByteLength`.
fn too_long(field: &str, least: usize, most: usize) -> Error {
    Error::Invalid(format!("{field}'s byte length must fall into ({least}, {most}) range"))
}

/// Whether a domain that is made of atoms is also the name of a host: letters, digits and inner hyphens, and at the end
/// a top-level domain of letters (or an `xn--` form).
fn is_host(domain: &str) -> bool {
    let top = domain.rsplit('.').next().unwrap_or_default();
    domain.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '.')
        && top.chars().count() >= 2
        && (top.chars().all(char::is_alphabetic) || top.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("xn--")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T>(result: Result<T, Error>) -> String {
        match result {
            Err(Error::Invalid(text)) => text,
            _ => panic!("nothing was refused"),
        }
    }

    #[test]
    fn an_email_is_what_is_email_takes() {
        for good in [
            "ann@example.com",
            "ANN@example.com",
            "a@b.io",
            "user.name+tag@sub.example.co.uk",
            "o'hara@example.museum",
            "1@2.de",
            "zoë@example.com",
            "ann@bücher.example",
            "ann@xn--bcher-kva.example",
            "ann@example.xn--p1ai",
            "ann@x-y.com",
            "\"ann b\"@example.com",
        ] {
            assert!(email(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_email_refuses_is_no_email() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long_label = format!("a@{}.com", "a".repeat(64));
        let long = format!("a@{}example.com", "abcdefg.".repeat(31));
        for bad in [
            "",
            "x",
            "@",
            "ann@",
            "@example.com",
            "ann@example",
            "ann@localhost",
            "ann@example.c",
            "ann@1.2.3.4",
            "ann@[1.2.3.4]",
            "ann@example.com1",
            "ann@-example.com",
            "ann@example-.com",
            "ann@exa_mple.com",
            "ann@exa!mple.com",
            "ann@example..com",
            "ann@example.com.",
            ".ann@example.com",
            "ann.@example.com",
            "a..n@example.com",
            "a b@example.com",
            " ann@example.com",
            "ann@example.com ",
            "ann@exam ple.com",
            "Ann <ann@example.com>",
            "ann@b@example.com",
            "ann@example.com\n",
            "\"a\tb\"@example.com",
            "\"a\0\"@example.com",
            "ann@example.com,bob@example.com",
            &long_local,
            &long_label,
            &long,
        ] {
            assert_eq!(message(email(bad)), "email must be an email", "{bad}");
        }
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
        assert!(name(&"n".repeat(MAX_NAME)).is_ok());
        assert_eq!(message(name(&"n".repeat(MAX_NAME + 1))), "name's byte length must fall into (0, 1000) range");
        assert_eq!(message(name("a\u{1b}[2Jb")), "name must not contain control characters");
        let password_of = |length: usize| format!("Abc123!{}", "x".repeat(length - 7));
        assert!(password(&password_of(MAX_PASSWORD)).is_ok());
        assert_eq!(
            message(password(&password_of(MAX_PASSWORD + 1))),
            "password's byte length must fall into (8, 1024) range"
        );
    }
}
