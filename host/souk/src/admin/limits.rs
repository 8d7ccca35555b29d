//! The bound on messages, for the listeners, the routes and the client.

souk_manifest::fixed_limits! {
    /// The fixed limits of messages.
    pub(crate) const FIXED_LIMITS = "administration";

    /// The longest request or answer between `souk` commands and a running host.
    pub(super) const MAX_MESSAGE_BYTES: usize = 64 << 20, bytes;
}
