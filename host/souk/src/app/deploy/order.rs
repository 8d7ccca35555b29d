//! What a deployment is asked to do, and what it did.

use super::judge::Terms;
use serde::{Deserialize, Serialize};

/// A request to deploy.
pub struct Order {
    /// The component.
    pub component: String,
    /// Its file; `None` for the one at the manifest's `source`.
    pub bytes: Option<Vec<u8>>,
    /// The terms of a trial; `None` to serve all calls at once.
    pub trial: Option<Terms>,
    /// Who asks for it.
    pub by: String,
    /// Only report what would happen.
    pub check: bool,
}

/// What a deployment did, or would do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deployed {
    /// The component.
    pub component: String,
    /// The version; 0 if none was created.
    pub version: u64,
    /// What happened, or would happen.
    pub message: String,
}
