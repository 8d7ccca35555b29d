//! The rights of the API's clients.

/// What a client may do; each right includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    /// Only what names components and never shows data.
    Nothing,
    /// Read, but not arguments and other data.
    Read,
    /// Everything except the tokens themselves.
    Full,
    /// Everything.
    Owner,
}
