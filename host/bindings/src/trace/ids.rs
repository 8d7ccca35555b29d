//! Ids of traces and spans, and `traceparent` as in the W3C's recommendation: `00-TRACE-SPAN-FLAGS`.

use http::{HeaderMap, HeaderName};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The header of the W3C's recommendation "Trace Context".
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with data of the systems that a trace has passed; passed on unchanged.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

souk_manifest::fixed_limits! {
    /// The fixed limits of a trace's ids.
    pub(crate) const FIXED_LIMITS = "traces";

    /// The longest `tracestate` that is passed on: the minimum that the recommendation requires.
    const MAX_STATE_BYTES: usize = 512, bytes;
}

/// The id of a trace; never zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

/// As one number, for [`Keyed`](super::ring::Keyed).
impl Hash for TraceId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.0));
    }
}

/// The id of a span; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    pub(super) fn new(numbers: &Numbers) -> Self {
        let number = u128::from(numbers.next()) << 64 | u128::from(numbers.next() | 1);
        TraceId(number.to_be_bytes())
    }

    /// Its bytes.
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        decode(text, &mut bytes)?;
        Some(TraceId(bytes))
    }
}

impl SpanId {
    /// An invalid id, all zeros.
    pub(super) fn none() -> Self {
        SpanId([0; 8])
    }

    /// Parses the id from its hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 8];
        decode(text, &mut bytes)?;
        Some(SpanId(bytes))
    }

    pub(super) fn new(numbers: &Numbers) -> Self {
        SpanId(numbers.next().max(1).to_be_bytes())
    }

    /// Its bytes.
    pub fn bytes(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Lower-case hexadecimal digits, not all of them zeros.
fn decode(text: &str, bytes: &mut [u8]) -> Option<()> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    hex::decode_to_slice(text, bytes).ok()?;
    bytes.iter().any(|byte| *byte != 0).then_some(())
}

/// Random numbers for ids and decisions, without a system call for each: SplitMix64 with a random start. They need not
/// be secret.
pub(super) struct Numbers(AtomicU64);

impl Numbers {
    pub(super) fn new() -> Self {
        Numbers(AtomicU64::new(souk_manifest::clock::seed()))
    }

    pub(super) fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A caller's place in a trace, as it sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    /// Whether the caller records the trace.
    pub sampled: bool,
    pub(super) state: Option<Arc<str>>,
}

impl Parent {
    /// Reads a `traceparent`, and `tracestate` with it; `None` if it is not valid. Of a newer version, the fields of
    /// this version are read.
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let mut parts = parent.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let mut byte = [0];
        let version = match version {
            "00" => 0,
            version => decode(version, &mut byte).map(|()| byte).map(|[version]| version)?,
        };
        if version == 0xff || version == 0 && parts.next().is_some() {
            return None;
        }
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        decode(trace, &mut trace_id)?;
        decode(span, &mut span_id)?;
        let [flags] = match flags {
            "00" => [0],
            flags => decode(flags, &mut byte).map(|()| byte)?,
        };
        let printable = |state: &&str| {
            (1..=MAX_STATE_BYTES).contains(&state.len()) && state.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        };
        Some(Parent {
            trace: TraceId(trace_id),
            span: SpanId(span_id),
            sampled: flags & 1 == 1,
            state: state.filter(printable).map(Arc::from),
        })
    }

    /// Reads the text that [`Span::carried`](super::Span::carried) has written.
    pub fn carried(text: &str) -> Option<Self> {
        let (parent, state) = text.split_once(' ').map_or((text, None), |(parent, state)| (parent, Some(state)));
        Parent::parse(parent, state)
    }

    /// Reads both from a request's headers.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = parents.next()?.to_str().ok()?;
        if parents.next().is_some() {
            return None;
        }
        // Several headers form one list.
        let states: Vec<&str> = headers.get_all(TRACESTATE).iter().filter_map(|state| state.to_str().ok()).collect();
        Parent::parse(parent, Some(states.join(",").as_str()))
    }
}

/// The value of `traceparent`. It is written for each request of a component, so it takes no formatter, no allocation and
/// few instructions.
pub(super) fn traceparent(trace: TraceId, span: SpanId, sampled: bool) -> [u8; 55] {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_digits(&mut text[3..35], &trace.0);
    write_digits(&mut text[36..52], &span.0);
    text[54] = b'0' + u8::from(sampled);
    text
}

/// Writes the hexadecimal digits of `bytes`, four bytes at a time.
fn write_digits(text: &mut [u8], bytes: &[u8]) {
    for (text, bytes) in text.as_chunks_mut().0.iter_mut().zip(bytes.as_chunks().0) {
        *text = digits(u32::from_be_bytes(*bytes));
    }
}

/// The eight hexadecimal digits of a number: one digit in each byte of a register, all computed at once.
fn digits(number: u32) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let halves = u64::from(number);
    let halves = (halves << 16 | halves) & 0x0000_ffff_0000_ffff;
    let bytes = (halves << 8 | halves) & 0x00ff_00ff_00ff_00ff;
    let digits = (bytes << 4 | bytes) & 0x0f0f_0f0f_0f0f_0f0f;
    // Ten and more carry into the next four bits when six is added.
    let letters = (digits + 6 * EACH) >> 4 & EACH;
    (digits + EACH * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}
