//! Tests which account ends when a share is full, and that closed accounts leave nothing behind.

use super::*;
use crate::http::peer::Share;
use proptest::prelude::*;
use souk_manifest::limits::ByteSize;
use tokio_util::sync::CancellationToken;

/// The application has room for 64 empty accounts, a peer for 16, a connection for 4.
fn budget() -> Arc<EdgeBudget> {
    EdgeBudget::new(&EdgeLimits {
        request_memory: ByteSize::b(64 * REQUEST_BYTES),
        peer_memory: ByteSize::b(16 * REQUEST_BYTES),
        connection_memory: ByteSize::b(4 * REQUEST_BYTES),
        ..EdgeLimits::default()
    })
}

fn owner(peer: u8, connection: u64) -> Owner {
    let connection = Some(u64::from(peer) << 32 | connection);
    Owner { connection, share: Share::of([10, 0, 0, peer].into()), reserved: false }
}

/// An account that waits for its client, and the token that its end cancels.
fn still(budget: &Arc<EdgeBudget>, owner: Owner) -> (Arc<Account>, CancellationToken) {
    let account = budget.open(owner, 0).unwrap();
    let end = CancellationToken::new();
    account.waits(End::Connection(end.clone()));
    (account, end)
}

fn ended<'a>(all: impl IntoIterator<Item = &'a (Arc<Account>, CancellationToken)>) -> Vec<bool> {
    all.into_iter().map(|(_, end)| end.is_cancelled()).collect()
}

#[test]
fn a_full_connection_loses_what_has_stood_still_for_longest_and_not_what_the_host_works_on() {
    let budget = budget();
    let all: Vec<_> = (0..4).map(|_| still(&budget, owner(1, 1))).collect();
    all[0].0.works();
    all[1].0.moved();
    let _fifth = budget.open(owner(1, 1), 0).unwrap();
    assert_eq!(ended(&all), [false, false, true, false]);
    let _other = budget.open(owner(1, 2), 0).unwrap();
    all.iter().for_each(|(account, _)| account.works());
    assert!(budget.open(owner(1, 1), 0).is_err(), "nothing stands still");
    assert_eq!(ended(&all), [false, false, true, false]);
}

#[test]
fn a_full_peer_makes_room_with_its_own_and_no_neighbour_notices() {
    let budget = budget();
    let neighbour = still(&budget, owner(2, 1));
    let greedy: Vec<_> = (0..40).map(|connection| still(&budget, owner(1, connection))).collect();
    assert_eq!(ended(&greedy).iter().filter(|ended| **ended).count(), 40 - 16);
    assert!(!neighbour.1.is_cancelled());
    // Data that already exist are never refused; other accounts make room for them.
    greedy[39].0.force(8 * REQUEST_BYTES);
    assert_eq!(ended(&greedy).iter().filter(|ended| **ended).count(), 40 - 8);
}

#[test]
fn when_all_is_full_the_peer_that_holds_most_makes_room_for_those_that_hold_less() {
    let budget = budget();
    // 3 peers have used their share, one less; only the reserve is left.
    let greedy: Vec<_> =
        (1..=3).map(|peer| (0..16).map(|c| still(&budget, owner(peer, c))).collect::<Vec<_>>()).collect();
    let modest: Vec<_> = (0..8).map(|c| still(&budget, owner(4, c))).collect();
    assert!(ended(greedy.iter().flatten().chain(&modest)).iter().all(|ended| !ended));
    let newcomer = still(&budget, owner(5, 1));
    assert!(ended(&modest).iter().all(|ended| !ended));
    assert_eq!(ended(greedy.iter().flatten()).iter().filter(|ended| **ended).count(), 1);
    // If no account of a larger peer waits for its client, a new request is refused, but not on a route with a reserve.
    greedy.iter().flatten().chain(&modest).chain([&newcomer]).for_each(|(account, _)| account.works());
    assert!(budget.open(owner(6, 1), 0).is_err());
    let reserved = Owner { reserved: true, ..owner(6, 1) };
    let hooks: Vec<_> = (0..3).map(|_| budget.open(reserved.clone(), 0).unwrap()).collect();
    drop((greedy, modest, newcomer, hooks));
    assert!(budget.owners().is_empty());
}

#[test]
fn a_waiting_call_gets_the_instance_that_its_client_has_kept_waiting_for_longest() {
    let budget = budget();
    let (shop, other): (Arc<str>, Arc<str>) = ("shop".into(), "other".into());
    let (first, second) = (still(&budget, owner(1, 1)), still(&budget, owner(2, 1)));
    first.0.holds_instance(&shop);
    second.0.holds_instance(&shop);
    budget.free_instance(&shop);
    assert_eq!(ended([&first, &second]), [false, false], "neither has stood still for long");
    let long_ago = Instant::now().checked_sub(2 * MIN_STALL).unwrap();
    budget.owners().waits(first.0.id, long_ago, None);
    budget.free_instance(&other);
    assert_eq!(ended([&first, &second]), [false, false], "they hold none of it");
    budget.free_instance(&shop);
    assert_eq!(ended([&first, &second]), [true, false]);
}

#[test]
fn a_trusted_proxys_own_requests_have_no_share_of_one_peer() {
    let budget = budget();
    let proxies = crate::http::peer::TrustedProxies::new(&["10.0.0.0/8".parse().unwrap()]);
    let share = proxies.peer("10.0.0.1:1".parse().unwrap()).share;
    let all: Vec<_> = (0..40).map(|_| still(&budget, Owner { connection: None, share, reserved: false })).collect();
    assert!(ended(&all).iter().all(|ended| !ended));
}

/// A step in a random sequence.
#[derive(Debug, Clone)]
enum Step {
    Open { peer: u8, connection: u64, bytes: u64 },
    Take(usize, u64),
    Force(usize, u64),
    GiveBack(usize, u64),
    Waits(usize),
    Works(usize),
    Holds(usize),
    Close(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let account = 0_usize..40;
    let bytes = 0..3 * REQUEST_BYTES;
    prop_oneof![
        3 => (1_u8..5, 0_u64..4, bytes.clone())
            .prop_map(|(peer, connection, bytes)| Step::Open { peer, connection, bytes }),
        1 => (account.clone(), bytes.clone()).prop_map(|(account, bytes)| Step::Take(account, bytes)),
        1 => (account.clone(), bytes.clone()).prop_map(|(account, bytes)| Step::Force(account, bytes)),
        1 => (account.clone(), bytes).prop_map(|(account, bytes)| Step::GiveBack(account, bytes)),
        2 => account.clone().prop_map(Step::Waits),
        1 => account.clone().prop_map(Step::Works),
        1 => account.clone().prop_map(Step::Holds),
        1 => account.prop_map(Step::Close),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_no_share_is_exceeded_and_nothing_is_left(steps in prop::collection::vec(step(), 0..200)) {
        let budget = budget();
        let mut open: Vec<Arc<Account>> = Vec::new();
        let mut forced = false;
        for step in steps {
            let at = |open: &Vec<Arc<Account>>, at: usize| (!open.is_empty()).then(|| open[at % open.len()].clone());
            match step {
                Step::Open { peer, connection, bytes } => {
                    open.extend(budget.open(owner(peer, connection), bytes));
                }
                Step::Take(account, bytes) => {
                    let _ = at(&open, account).map(|account| account.take(bytes));
                }
                Step::Force(account, bytes) => {
                    forced = true;
                    if let Some(account) = at(&open, account) {
                        account.force(bytes);
                    }
                }
                Step::GiveBack(account, bytes) => {
                    if let Some(account) = at(&open, account) {
                        account.give_back(bytes);
                    }
                }
                Step::Waits(account) => {
                    if let Some(account) = at(&open, account) {
                        account.waits(End::Connection(CancellationToken::new()));
                    }
                }
                Step::Works(account) => {
                    if let Some(account) = at(&open, account) {
                        account.works();
                    }
                }
                Step::Holds(account) => {
                    if let Some(account) = at(&open, account) {
                        account.holds_instance(&"shop".into());
                    }
                }
                Step::Close(account) => {
                    if !open.is_empty() {
                        let at = account % open.len();
                        open.swap_remove(at);
                    }
                }
            }
            let owners = budget.owners();
            if !forced {
                prop_assert!(owners.taken() <= budget.bounds.unreserved);
                prop_assert!(owners.largest_peer() <= budget.bounds.peer);
            }
        }
        drop(open);
        prop_assert!(budget.owners().is_empty());
    }
}

#[test]
fn a_stream_that_is_ended_frees_its_response_before_its_task_has_its_turn() {
    for done in [false, true] {
        let (abort, registration) = futures::future::AbortHandle::new_pair();
        let stream = Stream { abort, state: Arc::default() };
        stream.state.done.store(done, std::sync::atomic::Ordering::Release);
        let response = bytes::Bytes::from(vec![7; 100_000]);
        stream.state.unsent.keep(response.clone()).unwrap();
        let connection = CancellationToken::new();
        End::Stream(stream, Some(connection.clone())).run();
        assert!(response.is_unique(), "the task still has it");
        assert_eq!(registration.handle().is_aborted(), !done);
        assert_eq!(connection.is_cancelled(), done);
    }
}
