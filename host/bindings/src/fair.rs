//! A queue and a semaphore whose owners take turns.
//!
//! A queue that serves in the order of arrival lets one owner keep all others waiting: who waits with a hundred calls
//! gets a hundred turns before the next owner's one. Here each owner has a queue of its own, and the owners take turns,
//! so an owner with one call waits for at most one call of each other owner.
//!
//! Used where components or clients share something that only few can have at a time: the processor (`souk-runtime`'s
//! `fairness`), the writer and the long reads of a SQLite database, connections to PostgreSQL, a peer's turns in the HTTP
//! server.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use tokio::sync::oneshot;

/// An item of a [`FairQueue`].
pub trait Waiting {
    /// Whether nobody waits for it any more.
    fn has_gone(&self) -> bool;
}

impl<T> Waiting for oneshot::Sender<T> {
    fn has_gone(&self) -> bool {
        self.is_closed()
    }
}

/// Items that wait, each for its owner. Items that nobody waits for any more stay for a while: never more than have waited
/// at one time, or than [`FEW`].
#[derive(Debug)]
pub struct FairQueue<K, T> {
    /// The owners of items, in the order of their turns.
    next: VecDeque<K>,
    /// The items of each owner; never empty.
    waiting: HashMap<K, VecDeque<T>>,
    len: usize,
    /// At this length those that have gone are removed.
    most: usize,
}

/// So many items may stay that nobody waits for.
const FEW: usize = 64;

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        FairQueue { next: VecDeque::new(), waiting: HashMap::new(), len: 0, most: FEW }
    }
}

impl<K: Eq + Hash + Clone, T: Waiting> FairQueue<K, T> {
    /// Adds `item` behind the others of `owner`. An owner without items is the last in turn, or the next one with
    /// `at_once`. Use `at_once` only where an owner cannot come back at once, or it could keep the others waiting.
    pub fn push(&mut self, owner: K, item: T, at_once: bool) {
        if self.len >= self.most {
            self.remove_gone();
        }
        let items = self.waiting.entry(owner.clone()).or_default();
        match (items.is_empty(), at_once) {
            (true, true) => self.next.push_front(owner),
            (true, false) => self.next.push_back(owner),
            (false, _) => {}
        }
        items.push_back(item);
        self.len += 1;
    }

    /// Looks at each item, so the next time is when there are twice as many.
    fn remove_gone(&mut self) {
        self.waiting.retain(|_, items| {
            items.retain(|item| !item.has_gone());
            !items.is_empty()
        });
        self.next.retain(|owner| self.waiting.contains_key(owner));
        self.len = self.waiting.values().map(VecDeque::len).sum();
        self.most = self.len.saturating_mul(2).max(FEW);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// The number of items, those that nobody waits for included.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All items.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.values().flatten()
    }

    /// Takes the first item of the owner whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let owner = self.next.pop_front()?;
        let items = self.waiting.get_mut(&owner)?;
        let item = items.pop_front();
        self.len -= usize::from(item.is_some());
        if items.is_empty() {
            self.waiting.remove(&owner);
        } else {
            self.next.push_back(owner);
        }
        item
    }
}

/// A semaphore whose owners take turns; cheap to clone.
#[derive(Debug)]
pub struct FairSemaphore<K: Eq + Hash + Clone>(Arc<Mutex<State<K>>>);

impl<K: Eq + Hash + Clone> Clone for FairSemaphore<K> {
    fn clone(&self) -> Self {
        FairSemaphore(self.0.clone())
    }
}

#[derive(Debug)]
struct State<K: Eq + Hash + Clone> {
    free: usize,
    queue: FairQueue<K, oneshot::Sender<FairPermit<K>>>,
}

/// A permit; dropping it gives it to the next owner.
#[derive(Debug)]
pub struct FairPermit<K: Eq + Hash + Clone> {
    /// `None` after it was passed on.
    of: Option<FairSemaphore<K>>,
}

impl<K: Eq + Hash + Clone> FairSemaphore<K> {
    /// A semaphore with this number of permits.
    pub fn new(permits: usize) -> Self {
        FairSemaphore(Arc::new(Mutex::new(State { free: permits, queue: FairQueue::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock()
    }

    /// A permit, if one is free.
    pub fn try_acquire(&self) -> Option<FairPermit<K>> {
        let mut state = self.state();
        state.free = state.free.checked_sub(1)?;
        Some(FairPermit { of: Some(self.clone()) })
    }

    /// Waits for a permit for `owner`.
    pub async fn acquire(&self, owner: K) -> FairPermit<K> {
        loop {
            let permit = {
                let mut state = self.state();
                match state.free.checked_sub(1) {
                    Some(free) => {
                        state.free = free;
                        return FairPermit { of: Some(self.clone()) };
                    }
                    None => {
                        let (sender, receiver) = oneshot::channel();
                        state.queue.push(owner.clone(), sender, false);
                        receiver
                    }
                }
            };
            // The sender stays in the queue until it has sent a permit.
            if let Ok(permit) = permit.await {
                return permit;
            }
        }
    }

    /// How many permits are free.
    pub fn available(&self) -> usize {
        self.state().free
    }
}

impl<K: Eq + Hash + Clone> Drop for FairPermit<K> {
    fn drop(&mut self) {
        let Some(semaphore) = self.of.take() else { return };
        let mut state = semaphore.state();
        while let Some(waiting) = state.queue.pop() {
            match waiting.send(FairPermit { of: Some(semaphore.clone()) }) {
                Ok(()) => return,
                // The receiver is gone. The permit is still here, and dropping it must not pass it on again.
                Err(mut permit) => permit.of = None,
            }
        }
        state.free += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use proptest::prelude::*;

    impl Waiting for i32 {
        fn has_gone(&self) -> bool {
            *self < 0
        }
    }

    #[derive(Debug)]
    struct Owned(u8, i32);

    impl Waiting for Owned {
        fn has_gone(&self) -> bool {
            self.1.has_gone()
        }
    }

    proptest! {
        /// Against a queue that removes nothing, and leaves out at the end what has gone.
        #[test]
        fn a_queue_keeps_what_waits_in_turn_and_forgets_what_has_gone(
            steps in prop::collection::vec((0..5_u8, -1_000..1_000, any::<bool>(), 0..4_u8), 0..2_000),
        ) {
            let (mut queue, mut waits) = (FairQueue::default(), HashMap::<u8, VecDeque<i32>>::new());
            let mut most = 0_usize;
            for (owner, item, at_once, action) in steps {
                if action == 0 {
                    let popped: Option<Owned> = queue.pop();
                    if let Some(item) = popped.filter(|item| !item.1.has_gone()) {
                        prop_assert_eq!(waits.get_mut(&item.0).and_then(VecDeque::pop_front), Some(item.1));
                    }
                } else {
                    queue.push(owner, Owned(owner, item), at_once);
                    if !item.has_gone() {
                        waits.entry(owner).or_default().push_back(item);
                    }
                }
                most = most.max(waits.values().map(VecDeque::len).sum());
                prop_assert!(queue.len() <= (2 * most).max(FEW), "{} of {most}", queue.len());
                prop_assert_eq!(queue.next.len(), queue.waiting.len());
                prop_assert_eq!(queue.len(), queue.waiting.values().map(VecDeque::len).sum::<usize>());
            }
        }
    }

    #[test]
    fn those_who_no_longer_wait_take_no_room() {
        let one = FairSemaphore::new(1);
        let held = one.try_acquire().unwrap();
        for n in 0..10_000 {
            assert!(Box::pin(one.acquire(n)).now_or_never().is_none());
        }
        assert!(one.state().queue.len() <= FEW, "{}", one.state().queue.len());
        drop(held);
        assert_eq!(one.available(), 1);
    }

    #[test]
    fn owners_take_turns_and_one_that_comes_back_is_the_last() {
        let mut queue = FairQueue::default();
        (0..3).for_each(|n| queue.push("greedy", n, false));
        queue.push("modest", 10, false);
        assert_eq!((queue.pop(), queue.pop()), (Some(0), Some(10)));
        queue.push("modest", 11, false);
        assert_eq!([queue.pop(), queue.pop(), queue.pop(), queue.pop()], [Some(1), Some(11), Some(2), None]);
        queue.push("a", 1, false);
        queue.push("b", 2, true);
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(2), Some(1), None));
        assert!(queue.next.is_empty() && queue.waiting.is_empty());
    }

    #[test]
    fn a_permit_goes_to_the_owner_that_waits_with_less() {
        let one = FairSemaphore::new(1);
        let first = one.try_acquire().unwrap();
        assert!(one.try_acquire().is_none());
        let mut greedy: Vec<_> = (0..100).map(|_| Box::pin(one.acquire("greedy"))).collect();
        greedy.iter_mut().for_each(|wait| assert!(wait.now_or_never().is_none()));
        let mut modest = Box::pin(one.acquire("modest"));
        assert!((&mut modest).now_or_never().is_none());
        drop(first);
        let second = (&mut greedy[0]).now_or_never().unwrap();
        drop(second);
        drop((&mut modest).now_or_never().expect("one call of the greedy owner later"));
        assert!((&mut greedy[1]).now_or_never().is_some());
    }

    #[test]
    fn a_permit_is_not_lost_with_those_who_no_longer_wait() {
        let one = FairSemaphore::new(1);
        let first = one.try_acquire().unwrap();
        let mut waiting: Vec<_> = (0..1_000).map(|n| Box::pin(one.acquire(n % 7))).collect();
        waiting.iter_mut().for_each(|wait| assert!(wait.now_or_never().is_none()));
        let sent = waiting.swap_remove(0);
        let mut last = waiting.pop().unwrap();
        drop(waiting);
        drop(first);
        // Sent, but never received.
        drop(sent);
        drop((&mut last).now_or_never().unwrap());
        assert_eq!(one.available(), 1);
    }
}
