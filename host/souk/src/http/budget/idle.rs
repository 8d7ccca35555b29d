//! The accounts of a group that wait for their clients, in the order in which they began to.
//!
//! Each response waits for its client for a moment, and few groups have a second one at that time. So the first account
//! is kept in place, without an allocation, and only the others in a tree.

use std::collections::BTreeSet;
use tokio::time::Instant;

/// An account, and the time of its last progress.
pub(super) type Waiting = (Instant, u64);

/// The accounts that wait; the first one has waited longest.
#[derive(Default)]
pub(super) struct Idle {
    first: Option<Waiting>,
    /// Those after `first`; empty without it.
    others: BTreeSet<Waiting>,
}

impl Idle {
    /// Adds an account.
    pub(super) fn insert(&mut self, waiting: Waiting) {
        match self.first {
            Some(first) if first == waiting => {}
            Some(first) if first < waiting => {
                self.others.insert(waiting);
            }
            first => {
                self.others.extend(first);
                self.first = Some(waiting);
            }
        }
    }

    /// Removes an account, if it is there.
    pub(super) fn remove(&mut self, waiting: Waiting) {
        if self.first == Some(waiting) {
            self.first = self.others.pop_first();
        } else {
            self.others.remove(&waiting);
        }
    }

    /// All accounts, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.first.iter().chain(&self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn accounts_stay_in_the_order_in_which_they_began_to_wait() {
        let start = Instant::now();
        let (mut idle, mut all) = (Idle::default(), BTreeSet::new());
        let mut longest = 0;
        for n in 0..2_000_u64 {
            let id = n * 37 % 31;
            // Several begin at the same time.
            let waiting = (start + Duration::from_millis(id * 7 % 11), id);
            if n * 13 % 29 < 14 {
                idle.insert(waiting);
                all.insert(waiting);
            } else {
                idle.remove(waiting);
                all.remove(&waiting);
            }
            longest = longest.max(all.len());
            assert!(idle.iter().eq(&all), "{n}: {:?}", idle.iter().collect::<Vec<_>>());
        }
        assert!(longest > 5, "{longest}");
    }
}
