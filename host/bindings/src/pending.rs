//! How much memory the unanswered calls of one instance take in the host.
//!
//! wasmtime bounds the bytes that one call carries, but a guest may make any number of `async` calls before it waits for
//! the first answer, and the host holds the arguments of each until it is answered: in a queue for a connection, or
//! for an instance of another component. So every such call is charged with its arguments and its state. The sum has a
//! bound per instance, and counts as memory of the application. The engine's own tables of unanswered calls, streams
//! and futures are bounded too ([`MAX_HANDLES`], [`MAX_ASYNC_PARTS`]).
//!
//! An instance that calls a `func` waits for it, so it has one such call at a time. Its arguments count if they are large
//! ([`MIN_COUNTED_BYTES`]); its results are read, handed over and dropped in one step.

use crate::Ctx;
use crate::budget::{ApplicationBudget, Budget, HeldMemory};
use souk_manifest::limits::ComponentLimits;
use std::sync::Arc;
use wasmtime::component::{Accessor, HasData, Val};

souk_manifest::fixed_limits! {
    /// The fixed limits of unanswered calls.
    pub(crate) const FIXED_LIMITS = "components";

    /// What an unanswered call counts for besides its arguments: its state in the host.
    const CALL_STATE_BYTES: usize = 8 << 10, bytes;
    /// What the unanswered calls of an instance may take besides two calls of `call_bytes`: about 2,000 small calls.
    const MIN_PENDING_BYTES: usize = 16 << 20, bytes;
    /// Smaller arguments of a call to a `func` do not count: an instance waits for one such call at a time.
    const MIN_COUNTED_BYTES: usize = 64 << 10, bytes;
    /// The most handles of an instance: its resources, unanswered calls, and ends of streams and futures.
    pub const MAX_HANDLES: usize = 16_384, "handles";
    /// The most parts of unanswered calls, streams and futures in the engine: three for each stream or future.
    pub const MAX_ASYNC_PARTS: usize = 32_768, "parts";
}

/// The unanswered calls of one instance; clones count together.
#[derive(Clone)]
pub(crate) struct Pending {
    component: Arc<str>,
    taken: Arc<Budget>,
    all: Arc<ApplicationBudget>,
}

impl Pending {
    pub(crate) fn new(component: Arc<str>, limits: &ComponentLimits, all: Arc<ApplicationBudget>) -> Self {
        let most = limits.call_bytes.as_u64().saturating_mul(2).saturating_add(MIN_PENDING_BYTES as u64);
        Pending { component, taken: Arc::new(Budget::new(most)), all }
    }

    /// Begins a call whose arguments take `bytes`.
    pub(crate) fn begin(&self, bytes: usize) -> wasmtime::Result<PendingCall> {
        let bytes = bytes.saturating_add(CALL_STATE_BYTES) as u64;
        let component = &self.component;
        if !self.taken.try_take(bytes) {
            wasmtime::bail!(
                "component `{component}` has made calls that are not answered yet and take more than {} bytes together; \
                 wait for answers before making more calls, or raise `call_bytes` under \
                 [component.{component}.tool.souk.limits] in the manifest",
                self.taken.limit()
            );
        }
        let Some(held) = self.all.hold(bytes) else {
            self.taken.give_back(bytes);
            wasmtime::bail!(
                "component `{component}` made a call with {bytes} bytes, and the application has reached its limit of {} \
                 bytes; raise `application_memory` under [application.tool.souk.limits] in the manifest",
                self.all.memory.limit()
            );
        };
        Ok(PendingCall { taken: self.taken.clone(), bytes, _held: held })
    }

    /// Begins a call for which the guest waits, if its arguments are large.
    fn begin_waiting(&self, bytes: usize) -> wasmtime::Result<Option<PendingCall>> {
        if bytes < MIN_COUNTED_BYTES { Ok(None) } else { self.begin(bytes).map(Some) }
    }
}

/// A call that is not answered yet; dropping it gives its bytes back.
#[must_use = "a call that is dropped counts as answered"]
pub struct PendingCall {
    taken: Arc<Budget>,
    bytes: u64,
    _held: HeldMemory,
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        self.taken.give_back(self.bytes);
    }
}

impl Ctx {
    /// Begins an `async` call of the guest whose arguments take `bytes` of the host's memory. Keep the value until the
    /// call is answered.
    ///
    /// # Errors
    /// When the instance's unanswered calls take too much, or the application has no memory left: the guest traps.
    pub fn begin_call(&self, bytes: usize) -> wasmtime::Result<PendingCall> {
        self.pending.begin(bytes)
    }
}

impl Ctx {
    /// Begins a call of the guest to a `func` with arguments of `bytes`; `None` if they are too small to count. Keep the
    /// value until the call is answered.
    ///
    /// # Errors
    /// As [`Ctx::begin_call`].
    pub fn begin_waiting_call(&self, bytes: usize) -> wasmtime::Result<Option<PendingCall>> {
        self.pending.begin_waiting(bytes)
    }
}

/// Begins a call as [`Ctx::begin_call`] does.
///
/// # Errors
/// As there.
pub(crate) fn begin<D: HasData + ?Sized>(guest: &Accessor<Ctx, D>, bytes: usize) -> wasmtime::Result<PendingCall> {
    guest.with(|mut access| access.data_mut().begin_call(bytes))
}

/// The bytes that a list of texts takes.
pub(crate) fn texts(texts: &[String]) -> usize {
    texts.iter().map(|text| size_of::<String>() + text.len()).sum()
}

/// The bytes that these values take.
pub fn values(all: &[Val]) -> usize {
    all.iter().map(value).sum()
}

fn value(one: &Val) -> usize {
    let more = match one {
        Val::String(text) | Val::Enum(text) => text.len(),
        // All values of a list have one type.
        Val::List(all) if all.first().is_some_and(is_number) => all.len().saturating_mul(size_of::<Val>()),
        Val::List(all) | Val::Tuple(all) => values(all),
        Val::Record(fields) => fields.iter().map(|(name, field)| size_of::<String>() + name.len() + value(field)).sum(),
        Val::Variant(case, payload) => case.len() + payload.as_deref().map_or(0, value),
        Val::Option(inner) | Val::Result(Ok(inner) | Err(inner)) => inner.as_deref().map_or(0, value),
        Val::Flags(names) => texts(names),
        _ => 0,
    };
    size_of::<Val>() + more
}

/// Whether values of this type have nothing besides themselves.
fn is_number(one: &Val) -> bool {
    !matches!(
        one,
        Val::String(_)
            | Val::Enum(_)
            | Val::List(_)
            | Val::Tuple(_)
            | Val::Record(_)
            | Val::Variant(..)
            | Val::Option(_)
            | Val::Result(_)
            | Val::Flags(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unanswered_calls_have_a_bound_and_an_answer_makes_room() {
        let limits = ComponentLimits { call_bytes: "1MiB".parse().unwrap(), ..Default::default() };
        let all = Arc::new(ApplicationBudget { memory: Budget::new(100 << 20), ..Default::default() });
        let pending = Pending::new("web".into(), &limits, all.clone());
        let mut calls: Vec<_> = (0..17).map(|_| pending.begin(1 << 20).unwrap()).collect();
        let error = pending.begin(1 << 20).err().unwrap().to_string();
        assert!(error.contains("component `web`") && error.contains("18874368 bytes") && error.contains("call_bytes"));
        calls.pop();
        let another = pending.begin(1 << 20).unwrap();
        assert_eq!(all.memory.taken(), 17 * ((1 << 20) + CALL_STATE_BYTES as u64));
        drop((calls, another));
        assert_eq!((pending.taken.taken(), all.memory.taken()), (0, 0));
        let small: Vec<_> = std::iter::from_fn(|| pending.begin(0).ok()).collect();
        assert_eq!(small.len(), (18 << 20) / CALL_STATE_BYTES);
    }

    #[test]
    fn an_application_without_memory_refuses_the_call_and_counts_nothing() {
        let all = Arc::new(ApplicationBudget { memory: Budget::new(1 << 20), ..Default::default() });
        let pending = Pending::new("web".into(), &ComponentLimits::default(), all.clone());
        let error = pending.begin(1 << 20).err().unwrap().to_string();
        assert!(error.contains("application_memory"), "{error}");
        assert_eq!((pending.taken.taken(), all.memory.taken()), (0, 0));
    }

    #[test]
    fn large_arguments_count_while_their_caller_waits_and_small_ones_do_not() {
        let all = Arc::new(ApplicationBudget { memory: Budget::new(1 << 20), ..Default::default() });
        let pending = Pending::new("web".into(), &ComponentLimits::default(), all.clone());
        assert!(pending.begin_waiting(MIN_COUNTED_BYTES - 1).unwrap().is_none());
        let call = pending.begin_waiting(MIN_COUNTED_BYTES).unwrap().unwrap();
        assert_eq!(all.memory.taken(), (MIN_COUNTED_BYTES + CALL_STATE_BYTES) as u64);
        assert!(pending.begin_waiting(1 << 20).err().unwrap().to_string().contains("application_memory"));
        drop(call);
        assert_eq!(all.memory.taken(), 0);
    }

    #[test]
    fn values_count_with_everything_inside() {
        let text = |length| Val::String("x".repeat(length));
        let one = size_of::<Val>();
        assert_eq!(values(&[Val::U8(1), text(7)]), 2 * one + 7);
        assert_eq!(value(&Val::List(vec![Val::U8(1); 10])), 11 * one);
        assert_eq!(value(&Val::Option(Some(Box::new(text(3))))), 2 * one + 3);
        assert_eq!(value(&Val::Variant("ab".into(), Some(Box::new(Val::Tuple(vec![text(1)]))))), 3 * one + 3);
        assert_eq!(value(&Val::Record(vec![("n".into(), text(4))])), 2 * one + 1 + 4 + size_of::<String>());
    }
}
