//! One form for texts that look the same: NFKC, without invisible characters.
//!
//! Letters of other scripts that look alike stay different: what a letter looks like depends on the font.

use unicode_normalization::UnicodeNormalization;

/// Unicode's `Default_Ignorable_Code_Point` (DerivedCoreProperties.txt); `Bidi_Control` is part of it.
const INVISIBLE: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// The NFKC form of a text.
pub(crate) fn nfkc(text: &str) -> String {
    text.nfkc().collect()
}

/// A text in a form that nobody can mistake for another: NFKC, without invisible characters.
pub(crate) fn plain(text: &str) -> String {
    let is_visible = |c: &char| !INVISIBLE.iter().any(|(first, last)| (first..=last).contains(&c));
    // Characters that an invisible one kept apart are composed by the second pass.
    nfkc(&nfkc(text).chars().filter(is_visible).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_that_look_the_same_have_one_plain_form() {
        for same in
            ["ann@example.com", "ａｎｎ@example.com", "an\u{200b}n@example.com", "\u{202e}ann@exam\u{ad}ple.com"]
        {
            assert_eq!(plain(same), "ann@example.com");
        }
        assert_eq!(plain("zoe\u{308}@b.io"), "zoë@b.io");
        assert_eq!(plain("zoe\u{200d}\u{308}@b.io"), "zoë@b.io");
        assert_ne!(plain("аnn@example.com"), "ann@example.com", "a letter of another script is another letter");
        for plain_already in ["a@☃.net", "a@ex😀.com", "zoë@bücher.example", "user+tag@b.io"] {
            assert_eq!(plain(plain_already), plain_already);
        }
    }

    proptest! {
        #[test]
        fn a_plain_form_stays_as_it_is(text in any::<String>()) {
            let once = plain(&text);
            prop_assert_eq!(plain(&once), once);
        }
    }
}
