//! A producer over sources with every allowed behaviour, read in every way that a guest can read.

use super::*;
use proptest::prelude::*;
use std::task::Waker;

/// What a source does when it is polled.
#[derive(Debug, Clone)]
enum Step {
    /// Returns this many items, regardless of `wanted`.
    Give(usize),
    /// Has no items yet.
    Wait,
}

/// Follows its steps, and panics when it is polled after its end, as an `async fn` would.
struct Script {
    steps: VecDeque<Step>,
    given: usize,
    fails: bool,
    /// Whether it announces its end with the last items, or only when it is polled again.
    tells: bool,
    over: bool,
}

impl Source for Script {
    type Item = usize;
    type Error = &'static str;

    fn poll_batch(&mut self, _: &mut Context<'_>, _: usize) -> Poll<Batch<Self>> {
        assert!(!self.over, "asked after the end");
        match self.steps.pop_front() {
            Some(Step::Wait) => Poll::Pending,
            Some(Step::Give(count)) => {
                let items = (self.given..self.given + count).collect();
                self.given += count;
                Poll::Ready(Some(Ok(items)))
            }
            None => {
                self.over = true;
                Poll::Ready(self.fails.then_some(Err("failed")))
            }
        }
    }

    fn is_done(&self) -> bool {
        self.over || (self.tells && !self.fails && self.steps.is_empty())
    }
}

fn script() -> impl Strategy<Value = (Vec<Step>, bool, bool)> {
    let step = prop_oneof![3 => (0..9usize).prop_map(Step::Give), 1 => Just(Step::Wait)];
    (prop::collection::vec(step, 0..12), any::<bool>(), any::<bool>())
}

proptest! {
    #[test]
    fn a_guest_gets_every_item_once_and_no_more_than_it_asked_for(
        (steps, fails, tells) in script(),
        rooms in prop::collection::vec(1..12usize, 1..5),
    ) {
        let total: usize = steps.iter().map(|step| if let Step::Give(count) = step { *count } else { 0 }).sum();
        let (end, mut outcome) = oneshot::channel();
        let source = Script { steps: steps.into(), given: 0, fails, tells, over: false };
        let mut producer = Producer::new(source, Some(end));
        let mut cx = Context::from_waker(Waker::noop());
        let mut read = Vec::new();
        let mut last = false;
        for room in rooms.iter().cycle() {
            if producer.poll_ready(&mut cx, *room).is_pending() {
                continue;
            }
            let (items, ended) = producer.take(*room);
            prop_assert!(items.len() <= *room);
            // wasmtime traps a guest whose read completes with no items.
            prop_assert!(ended || !items.is_empty());
            read.extend(items);
            last = ended;
            if ended {
                break;
            }
        }
        prop_assert!(last);
        prop_assert_eq!(read, (0..total).collect::<Vec<_>>());
        prop_assert_eq!(outcome.try_recv(), Ok(if fails { Err("failed") } else { Ok(()) }));
        for room in rooms {
            prop_assert!(producer.poll_ready(&mut cx, room).is_ready());
            prop_assert_eq!(producer.take(room), (Vec::new(), true));
        }
    }
}

#[test]
fn a_stream_that_is_dropped_early_has_no_outcome() {
    let (end, mut outcome) = oneshot::channel();
    let source = Script { steps: [Step::Give(3)].into(), given: 0, fails: true, tells: false, over: false };
    let mut producer = Producer::new(source, Some(end));
    assert!(producer.poll_ready(&mut Context::from_waker(Waker::noop()), 1).is_ready());
    assert_eq!(producer.take(1), (vec![0], false));
    drop(producer);
    assert_eq!(outcome.try_recv(), Err(oneshot::error::TryRecvError::Closed));
}
