//! Keeps the links. A code is the number of a link's row in the digits and letters of [`ALPHABET`].

spin_sdk::dependencies!();

use exports::acme::links::store::{Error, Guest};
use souk_database::{Database, Statement, Value, statement};

/// No vowels, so that no code is a word; neither `0` nor `1`, which look like letters.
const ALPHABET: &[u8] = b"23456789bcdfghjkmnpqrstvwxz";
/// The longest URL that browsers and PostgreSQL's index both take.
const MAX_URL_BYTES: usize = 2000;

// Of two who shorten one URL at the same time, the second gets the first one's row.
const SHORTEN: Statement =
    statement!("INSERT INTO links (url) VALUES (?1) ON CONFLICT (url) DO UPDATE SET url = excluded.url RETURNING id");
const FIND: Statement = statement!("SELECT url FROM links WHERE id = ?1");

struct Links;
export!(Links);

impl Guest for Links {
    fn shorten(url: String) -> Result<String, Error> {
        if !(url.starts_with("https://") || url.starts_with("http://")) {
            return Err(Error::Invalid("a link leads to http:// or https://".to_owned()));
        }
        if url.len() > MAX_URL_BYTES || url.chars().any(|c| c.is_control() || c == ' ') {
            return Err(Error::Invalid(format!("a URL has no blanks and at most {MAX_URL_BYTES} bytes")));
        }
        let mut rows = Database::open()?.query(SHORTEN, &[Value::Text(url)])?;
        let mut row = rows.next().ok_or(souk_database::Error::Internal)?;
        Ok(encode(row.integer()?))
    }

    fn find(code: String) -> Result<Option<String>, Error> {
        let Some(id) = decode(&code) else { return Ok(None) };
        let mut rows = Database::open()?.query(FIND, &[Value::Integer(id)])?;
        Ok(rows.next().map(|mut row| row.text()).transpose()?)
    }
}

impl From<souk_database::Error> for Error {
    /// What the database said is in the log.
    fn from(_: souk_database::Error) -> Error {
        Error::Unavailable("the links cannot be read now".to_owned())
    }
}

fn encode(mut id: u64) -> String {
    let base = ALPHABET.len() as u64;
    let mut code = Vec::new();
    loop {
        code.push(ALPHABET[(id % base) as usize]);
        id /= base;
        if id == 0 {
            break;
        }
    }
    code.iter().rev().map(|digit| char::from(*digit)).collect()
}

/// The number of a code; `None` for what is none.
fn decode(code: &str) -> Option<i64> {
    let digit = |byte: u8| ALPHABET.iter().position(|known| *known == byte);
    let number = code.bytes().try_fold(0_i64, |number, byte| {
        number.checked_mul(ALPHABET.len() as i64)?.checked_add(digit(byte)? as i64)
    });
    number.filter(|_| !code.is_empty())
}
