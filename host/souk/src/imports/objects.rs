//! Finds the JSON objects in a file that mongoexport or another program wrote: one object per line, indented over many
//! lines (`--pretty`), or as an array (`--jsonArray`, which mongoexport writes in a single line).
//!
//! A text that is not an object is a row too, so that its refusal names it. An object that does not end is a row up to
//! the end of its line, if that is within a text, or up to the next line that begins with `{`: one broken row does not
//! take those after it along.

use std::io::{self, BufRead};

/// What stands between the objects of an array, and around it.
const BETWEEN: [u8; 3] = *b"[],";

/// Reads a file's objects.
pub(super) struct Objects<R> {
    reader: R,
    most: usize,
}

/// Where in a row the reader is.
#[derive(Default)]
struct Place {
    /// How many braces and brackets are open.
    depth: usize,
    /// Within a text.
    text: bool,
    /// After a backslash in a text.
    escaped: bool,
    /// The row begins with a brace.
    object: bool,
}

/// What a byte means for the row.
enum Step {
    /// It belongs to the row.
    Keep,
    /// The row ends with it.
    Last,
    /// The row has ended before it.
    Over,
}

impl Place {
    fn step(&mut self, byte: u8, starts_line: bool) -> Step {
        if !self.object {
            return if byte == b'\n' { Step::Over } else { Step::Keep };
        }
        if self.text {
            match byte {
                // A text in JSON has no line break.
                b'\n' => return Step::Over,
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.text = false,
                _ => {}
            }
            return Step::Keep;
        }
        match byte {
            b'{' if starts_line => return Step::Over,
            b'"' => self.text = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth -= 1;
                if self.depth == 0 {
                    return Step::Last;
                }
            }
            _ => {}
        }
        Step::Keep
    }
}

impl<R: BufRead> Objects<R> {
    /// The objects that `reader` reads; one of more than `most` bytes is an error.
    pub(super) fn new(reader: R, most: usize) -> Self {
        Objects { reader, most }
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read; `FileTooLarge` for a row that is too long, `InvalidData` for one that is not UTF-8.
    pub(super) fn read(&mut self) -> io::Result<Option<String>> {
        let (mut row, mut place, mut last) = (Vec::new(), Place::default(), b'\n');
        let mut ended = false;
        while !ended {
            let bytes = self.reader.fill_buf()?;
            if bytes.is_empty() {
                break;
            }
            let mut used = 0;
            for &byte in bytes {
                if row.is_empty() {
                    used += 1;
                    // Also a byte order mark, EF BB BF, of which no object has a byte at its beginning.
                    if byte.is_ascii_whitespace() || BETWEEN.contains(&byte) || b"\xef\xbb\xbf".contains(&byte) {
                        continue;
                    }
                    place = Place { object: byte == b'{', depth: 1, ..Place::default() };
                    row.push(byte);
                    last = byte;
                    continue;
                }
                let step = place.step(byte, last == b'\n');
                if matches!(step, Step::Over) {
                    ended = true;
                    break;
                }
                used += 1;
                row.push(byte);
                last = byte;
                if matches!(step, Step::Last) {
                    ended = true;
                    break;
                }
            }
            self.reader.consume(used);
            if row.len() > self.most {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        // Replacement characters in a name or an e-mail address would be stored without a word.
        let row = str::from_utf8(&row).map_err(|_| io::ErrorKind::InvalidData)?.trim();
        Ok((!row.is_empty()).then(|| row.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn rows(text: &str) -> Vec<String> {
        // A small buffer, so that rows and texts are split between two reads.
        let mut objects = Objects::new(BufReader::with_capacity(7, text.as_bytes()), 64);
        std::iter::from_fn(|| objects.read().unwrap()).collect()
    }

    #[test]
    fn every_format_of_mongoexport_has_the_same_objects() {
        let (one, two) = (r#"{"a":"}{][,\"\\","b":[{"c":1},[]]}"#, r#"{"d":{}}"#);
        for text in [
            format!("{one}\n{two}\n"),
            format!("\u{feff}{one}\r\n\r\n{two}"),
            format!("[{one},{two}]\n"),
            format!("[\n{one},\n{two}\n]\n"),
            format!("[{one}\n,{two}]"),
            format!("{one}{two}"),
        ] {
            assert_eq!(rows(&text), [one, two], "{text}");
        }
        let pretty = "{\n\t\"a\": \"}\",\n\t\"b\": [\n\t\t{\n\t\t\t\"c\": 1\n\t\t}\n\t]\n}";
        assert_eq!(rows(&format!("{pretty}\n{two}\n")), [pretty, two]);
        assert_eq!(rows(&format!("[{pretty},\n{two}]\n\n")), [pretty, two]);
        assert!(rows("").is_empty() && rows("[]\n").is_empty() && rows("[\n]\n").is_empty());
    }

    #[test]
    fn a_broken_row_is_a_row_and_takes_no_other_along() {
        let good = r#"{"a":1}"#;
        for broken in ["no JSON", "7,", r#"{"a":"#, r#"{"a":"b"#, r#"{"a":1"#, r#""{""#] {
            assert_eq!(rows(&format!("{good}\n{broken}\n{good}\n")), [good, broken, good], "{broken}");
            assert_eq!(rows(&format!("{good}\n{broken}")), [good, broken], "{broken}");
        }
    }

    #[test]
    fn a_row_in_another_encoding_is_an_error() {
        for bytes in [&b"{\"name\":\"J\xf6rg\"}\n"[..], b"\xff\xfe{\0\"\0a\0"] {
            let error = Objects::new(BufReader::with_capacity(7, bytes), 64).read().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn an_object_without_an_end_takes_no_more_memory_than_the_longest_row() {
        let mut objects = Objects::new(BufReader::with_capacity(7, io::repeat(b'{')), 64);
        assert_eq!(objects.read().unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
