//! Joins the pieces of a statement at compile time. Only [`statement!`](crate::statement!) calls this.
#![allow(clippy::indexing_slicing, clippy::panic, reason = "a failure here is a compile error")]

use crate::{Dialect, Statement};

/// How many bytes the joined pieces have.
pub const fn length(pieces: &[Statement<'_>], dialect: Dialect) -> usize {
    let (mut length, mut piece) = (0, 0);
    while piece < pieces.len() {
        length += pieces[piece].text(dialect).len();
        piece += 1;
    }
    length
}

/// The joined pieces, with the dialect's placeholder character (`?` or `$`) before each parameter's number.
pub const fn join<const LENGTH: usize>(pieces: &[Statement<'_>], dialect: Dialect) -> [u8; LENGTH] {
    let mut joined = [0; LENGTH];
    let (mut end, mut piece) = (0, 0);
    while piece < pieces.len() {
        let text = pieces[piece].text(dialect).as_bytes();
        let mut at = 0;
        while at < text.len() {
            let is_parameter = text[at] == b'?' && at + 1 < text.len() && text[at + 1].is_ascii_digit();
            joined[end] = if is_parameter { dialect.placeholder() as u8 } else { text[at] };
            end += 1;
            at += 1;
        }
        piece += 1;
    }
    joined
}

/// The joined pieces as text.
pub const fn text(joined: &[u8]) -> &str {
    match std::str::from_utf8(joined) {
        Ok(text) => text,
        Err(_) => panic!("joined UTF-8 texts are valid UTF-8"),
    }
}
