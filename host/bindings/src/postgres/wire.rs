//! Reads and writes the parts of PostgreSQL's binary values: big-endian numbers and length-prefixed pieces.

/// Why bytes are not a value of their column's type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub &'static str);

/// The bytes of the host's memory that a row may still use. They are subtracted before the memory is allocated, because
/// a few bytes on the wire can become a long text.
#[derive(Debug)]
pub(super) struct BytesLeft(pub usize);

impl BytesLeft {
    /// Subtracts `bytes` from what is left.
    ///
    /// # Errors
    /// When less is left.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.0 = self.0.checked_sub(bytes).ok_or(TOO_LARGE)?;
        Ok(())
    }
}

/// A row may use at most [`MAX_RESULT_BYTES`](super::MAX_RESULT_BYTES).
pub(super) const TOO_LARGE: Malformed = Malformed("with it, the row is larger than 16 MiB");

/// The part of a value that is not read yet.
pub(super) struct Reader<'a>(&'a [u8]);

macro_rules! numbers {
    ($($name:ident)*) => {
        $(pub(super) fn $name(&mut self) -> Result<$name, Malformed> {
            let (head, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
            self.0 = rest;
            Ok($name::from_be_bytes(*head))
        })*
    };
}

const SHORT: Malformed = Malformed("the value ends early");

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    numbers!(i8 i16 u16 i32 u32 i64 f32 f64);

    /// A length-prefixed piece; `None` for NULL, whose length is -1.
    pub(super) fn piece(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let Ok(length) = usize::try_from(self.i32()?) else { return Ok(None) };
        let (head, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(Some(head))
    }

    /// Returns `value` if all bytes were read.
    pub(super) fn end<T>(self, value: T) -> Result<T, Malformed> {
        if self.0.is_empty() { Ok(value) } else { Err(Malformed("the value is longer than its type")) }
    }
}

/// Appends a length-prefixed piece.
pub(super) fn put_piece(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    let at = out.len();
    out.extend([0; 4]);
    write(out)?;
    let length = i32::try_from(out.len() - at - 4).map_err(|_| "it is longer than 2 GiB".to_owned())?;
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

/// Appends the length of NULL.
pub(super) fn put_null(out: &mut Vec<u8>) {
    out.extend((-1_i32).to_be_bytes());
}
