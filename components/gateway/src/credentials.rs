//! Checks e-mail addresses and the strength of passwords, with the rules of validator.js and its default options.
//!
//! The rules are implemented here, because the crates differ from them in rare cases (quoted and international
//! addresses, lengths, the set of symbols), and would refuse addresses that were accepted before. Source: `isEmail`,
//! `isFQDN` and `isStrongPassword` of validator.js 13. Like those, this code counts addresses and local parts in bytes,
//! and domain labels and passwords in UTF-16 units.
//!
//! The rules are stricter in one respect: an address that auth cannot store is refused here too, so that all refusals
//! have one shape. That concerns addresses of more than 254 bytes, with a control character, or with unquoted
//! whitespace (validator.js accepts whitespace beyond ASCII).

/// The longest address, in bytes, both as written and in lower case.
const MAX_EMAIL_BYTES: usize = 254;
/// The longest local part (before the `@`), in bytes.
const MAX_LOCAL_BYTES: usize = 64;
/// The longest label of a domain, in UTF-16 units.
const MAX_LABEL_UNITS: usize = 63;

/// Whether `text` is an e-mail address.
pub(crate) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    // Lower case can be longer than the original text.
    text.len().max(text.to_lowercase().len()) <= MAX_EMAIL_BYTES
        && local.len() <= MAX_LOCAL_BYTES
        && is_domain(domain)
        && is_local_part(local)
}

/// Whether `text` has at least eight characters, including a lower-case letter, an upper-case letter, a digit and a
/// symbol.
pub(crate) fn is_strong_password(text: &str) -> bool {
    weakness(text).is_none()
}

/// What a weak password lacks.
pub(crate) fn weakness(text: &str) -> Option<String> {
    let lacks = [
        (length(text) < 8, "eight characters"),
        (!text.contains(|c: char| c.is_ascii_lowercase()), "a lower-case letter from a to z"),
        (!text.contains(|c: char| c.is_ascii_uppercase()), "an upper-case letter from A to Z"),
        (!text.contains(|c: char| c.is_ascii_digit()), "a digit"),
        (!text.contains(is_symbol), "a symbol such as - ! ? or a space"),
    ];
    let lacks: Vec<&str> = lacks.into_iter().filter_map(|(lacks, what)| lacks.then_some(what)).collect();
    (!lacks.is_empty()).then(|| format!("needs {}", lacks.join(", ")))
}

fn is_symbol(c: char) -> bool {
    r##"-#!$@£%^&*()_+|~=`{}[]:";'<>?,./\ "##.contains(c)
}

fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

fn is_local_part(local: &str) -> bool {
    if let Some(quoted) = local.strip_prefix('"') {
        return quoted.strip_suffix('"').is_some_and(is_quoted);
    }
    let allowed = |c: char| {
        c.is_ascii_alphanumeric()
            || "!#$%&'*+-/=?^_`{|}~".contains(c)
            || c >= '\u{a1}' && is_international(c) && !c.is_whitespace()
    };
    local.split('.').all(|part| !part.is_empty() && part.chars().all(allowed))
}

/// Whether `text` is allowed between the quotes of a local part: ASCII without control characters, and the
/// international characters that validator.js allows. A quote or a backslash needs a backslash before it.
fn is_quoted(text: &str) -> bool {
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        let fits = match c {
            '\\' => characters
                .next()
                .is_some_and(|c| c.is_ascii() && !c.is_ascii_control() || c >= '\u{a0}' && is_international(c)),
            '"' => false,
            c => c.is_ascii() && !c.is_ascii_control() || c >= '\u{a0}' && is_international(c) || c == '\u{feff}',
        };
        if !fits {
            return false;
        }
    }
    true
}

/// The characters beyond ASCII that validator.js allows; the callers set the lower bound.
fn is_international(c: char) -> bool {
    matches!(c, '\u{a0}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{ffef}')
}

fn is_domain(domain: &str) -> bool {
    let labels: Vec<&str> = domain.split('.').collect();
    match labels.as_slice() {
        [_, .., top] => {
            domain.len() <= MAX_EMAIL_BYTES && is_top_level(top) && labels.iter().all(|label| is_label(label))
        }
        _ => false,
    }
}

fn is_top_level(label: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c >= '\u{a1}' && c != '\u{a9}' && is_international(c);
    let punycode = label.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("xn"))
        && label.len() >= 4
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    (length(label) >= 2 && label.chars().all(letter) || punycode) && !label.contains(char::is_whitespace)
}

fn is_label(label: &str) -> bool {
    let full_width = |c: char| matches!(c, '\u{ff01}'..='\u{ff5e}');
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || c == '-' || c >= '\u{a1}' && !full_width(c) && !c.is_whitespace();
    !label.is_empty()
        && length(label) <= MAX_LABEL_UNITS
        && label.chars().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_validator_js_accepts() {
        let long_label = format!("a@{}.com", "b".repeat(63));
        let long_local = format!("{}@example.com", "a".repeat(64));
        for email in [
            "a@☃.net",
            "a@ex😀.com",
            "foo@bar.com",
            "x@x.au",
            "foo@bar.com.au",
            "foo+bar@bar.com",
            "hans.m端ller@test.com",
            "hans@m端ller.com",
            "test|123@m端ller.com",
            "test123+ext@gmail.com",
            "some.name.midd.leNa.me.and.locality+extension@GoogleMail.com",
            r#""foobar"@example.com"#,
            r#""  foo  m端ller "@example.com"#,
            r#""foo\@bar"@example.com"#,
            r#""a@b"@example.com"#,
            "ANN@EXAMPLE.COM",
            "a@xn--80ak6aa92e.xn--p1ai",
            &long_label,
            &long_local,
        ] {
            assert!(is_email(email), "{email}");
        }
    }

    #[test]
    fn addresses_that_validator_js_refuses() {
        let long_label = format!("a@{}.com", "b".repeat(64));
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long = format!("a@{}com", "b23456789.".repeat(26));
        let long_in_bytes = format!("a@{}com", "ä.".repeat(84));
        let long_in_lower_case = format!("a@{}com", "İ.".repeat(83));
        for email in [
            "",
            "x",
            "invalidemail@",
            "invalid.com",
            "@invalid.com",
            "foo@bar",
            "foo@bar.com.",
            "foo@_bar.com",
            "somename@ｇｍａｉｌ.com",
            "foo@bar.co.uk.",
            "z@co.c",
            "ｇｍａｉｌｇｍａｉｌ@co.c",
            "test1@invalid.co m",
            "foo bar@example.com",
            " foo@example.com",
            "foo@example.com ",
            ".foo@example.com",
            "foo..bar@example.com",
            "foo.@example.com",
            "foo@-bar.com",
            "foo@bar-.com",
            "foo@127.0.0.1",
            "foo@[127.0.0.1]",
            "foo@bar.c0m",
            "Ann <ann@example.com>",
            r#""foobar@example.com"#,
            r#""foo"bar"@example.com"#,
            r#""foo\"@example.com"#,
            "🙂@example.com",
            // validator.js accepts these; auth does not.
            "a\u{2003}b@example.com",
            "a@exam\u{3000}ple.com",
            "\"a\tb\"@example.com",
            "\"a\\\u{7f}b\"@example.com",
            &long_in_bytes,
            &long_in_lower_case,
            &long_label,
            &long_local,
            &long,
        ] {
            assert!(!is_email(email), "{email}");
        }
    }

    #[test]
    fn the_hint_says_what_a_weak_password_lacks() {
        assert_eq!(
            weakness("abcdefg1").unwrap(),
            "needs an upper-case letter from A to Z, a symbol such as - ! ? or a space"
        );
        assert_eq!(weakness("Aa1!").unwrap(), "needs eight characters");
        assert_eq!(weakness("Abc123!x"), None);
    }

    #[test]
    fn a_strong_password_has_one_of_each() {
        for strong in ["Abc123!x", "Abcdefg1 ", "Abcdefg1£", r"Abcdefg1\", "Ää1aA!äää"] {
            assert!(is_strong_password(strong), "{strong}");
        }
        for weak in ["", "Aa1!", "ABCDEFG1!", "abcdefg1!", "Abcdefgh!", "Abcdefg12", "Abcdefg1é", "ÄÄÄÄÄÄä1!"] {
            assert!(!is_strong_password(weak), "{weak}");
        }
    }
}
