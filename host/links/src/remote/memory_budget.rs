//! The memory budget that all calls of a host share.
//!
//! A call first reserves memory for its message, and then for its arguments as values while they are read. Two bytes of
//! a message can become a value of forty bytes, and an object without its optional fields a value of kilobytes. So the
//! size of a message says little about the memory that the call takes here.

use super::{MAX_CALL_MEMORY_KIB, MIN_CALL_KIB};
use souk_codec::FunctionCodec;
use souk_runtime::Failure;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Val;

/// The memory that all calls of this host share; cheap to clone.
#[derive(Clone)]
pub(crate) struct MemoryBudget(Arc<Semaphore>);

/// The memory that one call has reserved; free again when this is dropped.
pub(crate) struct Reservation {
    all: Arc<Semaphore>,
    /// The larger of the message and [`MIN_CALL_KIB`], and what the arguments take beyond `MIN_CALL_KIB`.
    permit: OwnedSemaphorePermit,
}

impl MemoryBudget {
    /// A budget without reservations.
    pub(crate) fn new() -> Self {
        MemoryBudget(Arc::new(Semaphore::new(MAX_CALL_MEMORY_KIB)))
    }

    /// Reserves memory for a message of this many bytes; `None` when less is free.
    pub(crate) fn reserve(&self, message: usize) -> Option<Reservation> {
        let weight = u32::try_from(message.div_ceil(1024).max(MIN_CALL_KIB)).ok()?;
        let permit = self.0.clone().try_acquire_many_owned(weight).ok()?;
        Some(Reservation { all: self.0.clone(), permit })
    }
}

impl Reservation {
    /// Reads the arguments of a call from its message, and reserves memory for them.
    ///
    /// # Errors
    /// When the arguments do not fit the function, or there is not enough memory: the failure for the caller, and a text
    /// for the log.
    pub(crate) fn read(&mut self, codec: &FunctionCodec, message: &[u8]) -> Result<Vec<Val>, (Failure, String)> {
        let all = &self.all;
        // The server bounds the message, so the message does not count against the limit of its values.
        let max_kib = (codec.max_bytes() / 1024).saturating_add(message.len().div_ceil(1024)).min(MAX_CALL_MEMORY_KIB);
        let (permit, spare, refused) = (RefCell::new(&mut self.permit), Cell::new(MIN_CALL_KIB), Cell::new(None));
        let more = |bytes: usize| {
            let wanted = bytes.div_ceil(1024);
            let missing = wanted.saturating_sub(spare.get());
            spare.set(spare.get().saturating_sub(wanted));
            let mut permit = permit.borrow_mut();
            if permit.num_permits() + missing > max_kib + MIN_CALL_KIB {
                refused.set(Some((Failure::RequestTooLarge, "more than one call may (limit `call_bytes`)")));
                return false;
            }
            let Some(more) = u32::try_from(missing).ok().and_then(|n| all.clone().try_acquire_many_owned(n).ok())
            else {
                refused.set(Some((Failure::Overloaded, "and other calls have the rest")));
                return false;
            };
            permit.merge(more);
            true
        };
        codec.decode_params_in(message, &more).map_err(|error| match refused.get() {
            Some((failure, why)) => (failure, format!("the arguments take too much memory, {why}")),
            None => (Failure::Mismatch, format!("the arguments do not fit: {error}")),
        })
    }

    /// Reserves memory for the answer too, which may wait to be sent when message and arguments are gone; `false` when
    /// there is not enough.
    pub(crate) fn hold_answer(&mut self, answer: usize) -> bool {
        let missing = answer.div_ceil(1024).saturating_sub(self.permit.num_permits());
        let more = u32::try_from(missing).ok().and_then(|kib| self.all.clone().try_acquire_many_owned(kib).ok());
        let Some(more) = more else { return false };
        self.permit.merge(more);
        true
    }

    /// Frees the memory for the message, which is dropped now.
    pub(crate) fn drop_message(&mut self, message: usize) {
        drop(self.permit.split(message.div_ceil(1024).saturating_sub(MIN_CALL_KIB)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wit_types::{Ty, func, list, option};

    fn codec(ty: Ty) -> FunctionCodec {
        FunctionCodec::of(&func(&[("p", ty)], None)).unwrap()
    }

    fn free(budget: &MemoryBudget) -> usize {
        budget.0.available_permits()
    }

    #[test]
    fn a_call_counts_the_memory_of_its_arguments_and_not_only_its_message() {
        let (budget, codec) = (MemoryBudget::new(), codec(list(Ty::Prim("u8"))));
        let message = format!(r#"{{"p":[{}0]}}"#, "0,".repeat(200_000));
        let mut reservation = budget.reserve(message.len()).unwrap();
        assert_eq!(free(&budget), MAX_CALL_MEMORY_KIB - message.len().div_ceil(1024));
        reservation.read(&codec, message.as_bytes()).unwrap();
        reservation.drop_message(message.len());
        assert!(free(&budget) < MAX_CALL_MEMORY_KIB - 200_000 * size_of::<Val>() / 1024, "{}", free(&budget));
        drop(reservation);
        assert_eq!(free(&budget), MAX_CALL_MEMORY_KIB);
    }

    #[test]
    fn small_arguments_are_counted_with_their_call() {
        let (budget, codec) = (MemoryBudget::new(), codec(list(Ty::Prim("u8"))));
        let mut reservation = budget.reserve(10).unwrap();
        reservation.read(&codec, br#"{"p":[1,2,3]}"#).unwrap();
        reservation.drop_message(10);
        assert_eq!(free(&budget), MAX_CALL_MEMORY_KIB - MIN_CALL_KIB);
    }

    #[test]
    fn an_answer_takes_the_place_of_the_arguments_and_more_only_if_there_is_some() {
        let budget = MemoryBudget::new();
        let mut reservation = budget.reserve(10).unwrap();
        assert!(reservation.hold_answer(MIN_CALL_KIB * 1024));
        assert_eq!(free(&budget), MAX_CALL_MEMORY_KIB - MIN_CALL_KIB);
        assert!(reservation.hold_answer(1 << 20));
        assert_eq!(free(&budget), MAX_CALL_MEMORY_KIB - 1024);
        let others = budget.reserve((MAX_CALL_MEMORY_KIB - 1024) * 1024).unwrap();
        assert!(!reservation.hold_answer((1 << 20) + 1));
        drop((reservation, others));
        assert_eq!(free(&budget), MAX_CALL_MEMORY_KIB);
    }

    #[test]
    fn arguments_that_would_take_too_much_are_refused_before_they_do() {
        let names: Vec<&'static str> = (b'a'..=b'z').map(|c| &*String::from(char::from(c)).leak()).collect();
        let fields = names.into_iter().map(|name| (name, option(Ty::Prim("string")))).collect();
        let (budget, codec) = (MemoryBudget::new(), codec(list(Ty::Record(fields))));
        // Each `{}` is a record of 26 fields.
        let message = format!(r#"{{"p":[{}{{}}]}}"#, "{},".repeat(200_000));
        let mut reservation = budget.reserve(message.len()).unwrap();
        let (failure, detail) = reservation.read(&codec, message.as_bytes()).unwrap_err();
        assert_eq!(failure, Failure::RequestTooLarge, "{detail}");
        drop(reservation);
        assert_eq!(free(&budget), MAX_CALL_MEMORY_KIB);

        let others = budget.reserve((MAX_CALL_MEMORY_KIB - 1024) * 1024).unwrap();
        let message = format!(r#"{{"p":[{}{{}}]}}"#, "{},".repeat(1_000));
        let mut reservation = budget.reserve(message.len()).unwrap();
        let (failure, detail) = reservation.read(&codec, message.as_bytes()).unwrap_err();
        assert_eq!(failure, Failure::Overloaded, "{detail}");
        drop((reservation, others));
        budget.reserve(message.len()).unwrap().read(&codec, message.as_bytes()).unwrap();
        assert!(budget.reserve(MAX_CALL_MEMORY_KIB * 1024 + 1).is_none());
        let mut reservation = budget.reserve(2).unwrap();
        assert_eq!(reservation.read(&codec, b"{}").unwrap_err().0, Failure::Mismatch);
    }
}
