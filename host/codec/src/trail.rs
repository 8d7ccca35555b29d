//! Tracks where in a value an error happened, and how much memory a value that is read may still use.
//!
//! Each call has one [`Trail`], which all parts of the reader or writer share. It holds no reference to them or to the
//! types.

use std::cell::{Cell, RefCell};

/// The least number of bytes that a growing value reserves at a time.
const RESERVE_STEP_BYTES: usize = 4 * 1024;

/// The error for a value or JSON that does not fit its type, or for a type that JSON cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct CodecError {
    /// The place: `$` is the whole value, `$.items[2].price` a part of it.
    pub path: String,
    /// What was expected there and what was found.
    pub message: String,
}

/// One step from a value to a part of it.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
    /// The key (0) or the value (1) of an entry of a map.
    Entry(usize, usize),
}

/// The place of an error, and the memory that is left for the value that is read. While an error propagates, each level
/// adds its step, so a success costs nothing.
#[derive(Default)]
pub(super) struct Trail<'a> {
    /// From the innermost step to the outermost.
    steps: RefCell<Vec<String>>,
    message: RefCell<Option<String>>,
    /// Bytes that may still be used.
    left: Cell<usize>,
    /// Reserves more bytes, or returns that there are none.
    more: Option<&'a dyn Fn(usize) -> bool>,
}

impl<'a> Trail<'a> {
    /// A trail with this much memory, in bytes.
    pub(crate) fn with_memory(bytes: usize) -> Self {
        Trail { left: bytes.into(), ..Trail::default() }
    }

    /// A trail whose memory `more` reserves: see [`decode_params_in`](super::FunctionCodec::decode_params_in).
    pub(crate) fn with_memory_from(more: &'a dyn Fn(usize) -> bool) -> Self {
        Trail { more: Some(more), ..Trail::default() }
    }
}

impl Trail<'_> {
    /// Uses memory; returns whether there was enough.
    pub(crate) fn spend(&self, bytes: usize) -> bool {
        let missing = bytes.saturating_sub(self.left.get());
        let asked = missing.max(RESERVE_STEP_BYTES);
        if missing > 0 {
            if !self.more.is_some_and(|more| more(asked)) {
                return false;
            }
            self.left.set(self.left.get() + asked);
        }
        self.left.set(self.left.get() - bytes);
        true
    }

    /// Records what is wrong. Returns a text for serde's error, which [`Trail::error`] ignores.
    pub(crate) fn fail(&self, message: impl Into<String>) -> &'static str {
        self.message.replace(Some(message.into()));
        "see the trail"
    }

    pub(crate) fn passed(&self, step: Step<'_>) {
        let text = match step {
            Step::Root => return,
            Step::Key(key) => format!(".{key}"),
            Step::Index(index) => format!("[{index}]"),
            Step::Entry(index, side) => format!("[{index}][{side}]"),
        };
        self.steps.borrow_mut().push(text);
    }

    /// The error to report: what [`Trail::fail`] recorded, or serde_json's own message about the text. serde's message
    /// about a value of the wrong kind is left out, because it quotes the value.
    pub(crate) fn error(&self, error: &serde_json::Error) -> CodecError {
        let mut path = "$".to_owned();
        path.extend(self.steps.borrow().iter().rev().map(String::as_str));
        let message = self.message.take().unwrap_or_else(|| match error.is_data() {
            true => format!("a value of the wrong kind at line {} column {}", error.line(), error.column()),
            false => format!("not valid JSON: {error}"),
        });
        CodecError { path, message }
    }
}
