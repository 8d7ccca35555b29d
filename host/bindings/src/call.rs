//! What travels with every call: its deadline, its trace id and how many links it has crossed.
//!
//! A context is made once at the edge (an HTTP request, a `souk call`) and handed on by every link and every
//! `*.spin.internal` request, so a whole tree of calls shares one deadline and one trace id.

use std::sync::Arc;
use std::time::{Duration, Instant};

souk_manifest::fixed_limits! {
    /// The fixed limits of calls.
    pub(crate) const FIXED_LIMITS = "calls";

    /// The most links that a call may cross before it is refused: the graph of links has no cycle, but components can
    /// also call each other through `*.spin.internal`, and a loop there must end.
    pub const MAX_HOPS: u8 = 16, "hops";
}

/// The context of one call; cheap to clone.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// The request id, as taken from `x-request-id` or made at the edge; in every log line of the call.
    pub trace: Arc<str>,
    /// How many links and internal requests lie between the edge and here.
    pub hops: u8,
}

impl CallContext {
    /// A context at the edge, with `timeout` to finish in.
    pub fn new(trace: impl Into<Arc<str>>, timeout: Duration) -> Self {
        CallContext { deadline: Instant::now() + timeout, trace: trace.into(), hops: 0 }
    }

    /// The context for a callee that may take `timeout` at most; `None` when the call has crossed [`MAX_HOPS`] already.
    pub fn next(&self, timeout: Duration) -> Option<Self> {
        let hops = self.hops.checked_add(1).filter(|h| *h <= MAX_HOPS)?;
        Some(CallContext { deadline: self.deadline.min(Instant::now() + timeout), trace: self.trace.clone(), hops })
    }

    /// The time that is left; zero when the deadline has passed.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
