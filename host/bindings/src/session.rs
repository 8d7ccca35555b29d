//! The state of a guest's connection between two statements: idle, an open transaction, or a lost one.
//!
//! The database bindings share it. `T` holds the transaction: SQLite's writer, or a pool's connection.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The state of a connection.
pub(crate) enum State<T> {
    /// Outside a transaction.
    Idle,
    /// Inside a transaction.
    Open(T),
    /// The guest believes to be inside a transaction, but it has ended: a statement was cancelled or failed, or the
    /// session died.
    Lost,
}

/// The state of a connection, and the count of its instance's transactions.
pub(crate) struct Session<T> {
    state: State<T>,
    transactions: Arc<AtomicUsize>,
}

impl<T> Session<T> {
    /// A session outside a transaction; `transactions` counts the open transactions of the instance.
    pub(crate) fn new(transactions: Arc<AtomicUsize>) -> Self {
        Session { state: State::Idle, transactions }
    }

    pub(crate) fn state(&self) -> &State<T> {
        &self.state
    }

    /// The counter of the instance's open transactions.
    pub(crate) fn transactions(&self) -> &Arc<AtomicUsize> {
        &self.transactions
    }

    /// Sets the state, and returns the old one.
    pub(crate) fn set(&mut self, state: State<T>) -> State<T> {
        let (was, is) = (!matches!(self.state, State::Idle), !matches!(state, State::Idle));
        match (was, is) {
            (false, true) => drop(self.transactions.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(self.transactions.fetch_sub(1, Ordering::AcqRel)),
            _ => {}
        }
        mem::replace(&mut self.state, state)
    }
}

impl<T> Drop for Session<T> {
    fn drop(&mut self) {
        // Dropping the old state drops the transaction.
        self.set(State::Idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_counts_from_its_begin_to_its_end_or_the_end_of_its_connection() {
        let open = Arc::new(AtomicUsize::new(0));
        let mut one = Session::new(open.clone());
        let mut other = Session::<&str>::new(open.clone());
        one.set(State::Open("writer"));
        other.set(State::Lost);
        assert_eq!(open.load(Ordering::Acquire), 2);
        assert!(matches!(one.set(State::Lost), State::Open("writer")));
        assert_eq!(open.load(Ordering::Acquire), 2);
        one.set(State::Idle);
        assert_eq!(open.load(Ordering::Acquire), 1);
        drop(other);
        assert_eq!(open.load(Ordering::Acquire), 0);
    }
}
