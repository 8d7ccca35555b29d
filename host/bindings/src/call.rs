//! The context that travels with every call: its deadline, its trace id and the number of links that it has crossed.
//!
//! A context is made once at the edge (an HTTP request, a `souk call`) and passed on by every link and every
//! `*.spin.internal` request, so a whole tree of calls shares one deadline and one trace id.

mod path;

pub(crate) use path::FIXED_LIMITS as PATH_LIMITS;
pub use path::{CallPath, Step};

use crate::tape::Tape;
use crate::trace::Span;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of calls.
    pub(crate) const FIXED_LIMITS = "calls";

    /// The most links that a call may cross before it is refused: the graph of links has no cycle, but components can
    /// also call each other through `*.spin.internal`, and a loop there must end.
    pub const MAX_HOPS: u8 = 16, "hops";
}

/// The number of possible draws: the smallest share of calls is a hundredth of a per cent.
pub const DRAWS: u16 = 10_000;

/// The lowest number that this process draws.
static FIRST_DRAW: AtomicU16 = AtomicU16::new(0);

/// From now on, this process draws no number below `first`.
///
/// Another host tries out a version of a component that this host runs too, and gets the calls with such numbers. A
/// tree of calls that begins here would have to leave this host for them, streams and all; instead, none that begins
/// here is for that version.
pub fn draw_from(first: u16) {
    FIRST_DRAW.store(first.min(DRAWS - 1), Ordering::Relaxed);
}

/// The context of one call; cheap to clone.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// The request id, as taken from `x-request-id` or made at the edge; in every log line of the call.
    pub trace: Arc<str>,
    /// The number of links and internal requests between the edge and this call.
    pub hops: u8,
    /// A random number below [`DRAWS`], drawn once for a whole tree of calls and never chosen by a client. It decides
    /// which version of each component the calls of the tree reach while a new version is tried out.
    pub draw: u16,
    /// The components after this one, if it is middleware in this call. Calls that it makes over links do not have
    /// this.
    pub rest: Option<Chain>,
    /// Its place in a trace; empty when it has none.
    pub span: Span,
    /// The functions on this host that led to this call.
    pub path: CallPath,
    /// The tape on which its imports are recorded, or from which a replay answers them. Only for this component's own
    /// call.
    pub tape: Option<Arc<Tape>>,
}

/// The components that a request still has to pass; the last one answers it. Never empty.
#[derive(Debug, Clone)]
pub struct Chain {
    components: Arc<[Arc<str>]>,
    at: usize,
}

impl Chain {
    /// The chain of `components`; `None` when there are none.
    pub fn new(components: impl IntoIterator<Item = Arc<str>>) -> Option<Self> {
        let components: Arc<[Arc<str>]> = components.into_iter().collect();
        (!components.is_empty()).then_some(Chain { components, at: 0 })
    }

    /// The next component, and the chain after it.
    pub fn next(&self) -> Option<(Arc<str>, Option<Chain>)> {
        let next = self.components.get(self.at)?;
        let at = self.at + 1;
        let rest = (at < self.components.len()).then(|| Chain { components: self.components.clone(), at });
        Some((next.clone(), rest))
    }
}

impl CallContext {
    /// A context at the edge, with `timeout` to finish in.
    pub fn new(trace: impl Into<Arc<str>>, timeout: Duration) -> Self {
        let first = FIRST_DRAW.load(Ordering::Relaxed);
        let draw = first + souk_manifest::clock::draw(DRAWS - first);
        let (deadline, span) = (Instant::now() + timeout, Span::default());
        let (path, tape) = (CallPath::default(), None);
        CallContext { deadline, trace: trace.into(), hops: 0, draw, rest: None, span, path, tape }
    }

    /// The context for a callee that may take at most `timeout`; `None` when the call has already crossed [`MAX_HOPS`]
    /// links.
    pub fn next(&self, timeout: Duration) -> Option<Self> {
        self.next_at(timeout, Instant::now())
    }

    /// The same, for a caller that has just read the clock.
    pub fn next_at(&self, timeout: Duration, now: Instant) -> Option<Self> {
        let hops = self.hops.checked_add(1).filter(|h| *h <= MAX_HOPS)?;
        let deadline = self.deadline.min(now + timeout);
        let (trace, span) = (self.trace.clone(), self.span.clone());
        Some(CallContext { deadline, trace, hops, draw: self.draw, rest: None, span, path: self.path, tape: None })
    }

    /// The time that is left; zero when the deadline has passed.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_host_tries_out_is_not_drawn_here() {
        let draws = || (0..1_000).map(|_| CallContext::new("trace", Duration::ZERO).draw);
        draw_from(DRAWS - 2);
        assert!(draws().all(|draw| (DRAWS - 2..DRAWS).contains(&draw)));
        draw_from(DRAWS);
        assert!(draws().all(|draw| draw == DRAWS - 1));
        draw_from(0);
        assert!(draws().any(|draw| draw < DRAWS / 2));
    }

    #[test]
    fn a_chain_names_its_components_one_after_the_other() {
        assert!(Chain::new([]).is_none());
        let chain = Chain::new(["one", "two"].map(Arc::from)).unwrap();
        let (one, rest) = chain.next().unwrap();
        let (two, end) = rest.unwrap().next().unwrap();
        assert_eq!((&*one, &*two, end.is_none()), ("one", "two", true));
    }

    #[test]
    fn a_call_over_a_link_is_not_on_the_way_of_the_request() {
        let mut call = CallContext::new("trace", Duration::from_secs(1));
        call.rest = Chain::new(["one"].map(Arc::from));
        assert!(call.next(Duration::from_secs(1)).unwrap().rest.is_none());
    }
}
