//! An order of the other system, as it is stored here.

/// A line, without its name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) product: i64,
    pub(super) quantity: i64,
    pub(super) cents: i64,
}

/// An order to store.
#[derive(Debug, PartialEq)]
pub(super) struct Imported {
    pub(super) id: String,
    pub(super) total_cents: i64,
    pub(super) total_items: i64,
    pub(super) status: &'static str,
    pub(super) paid_at: Option<String>,
    pub(super) charge: Option<String>,
    pub(super) receipt: Option<String>,
    pub(super) created_at: String,
    pub(super) updated_at: String,
    pub(super) lines: Vec<Line>,
    /// What was changed.
    pub(super) notes: Vec<String>,
}
