//! The accounts of the HTTP server's memory: how much each holds, for which owner, and since when it waits for its
//! client.

use super::idle::Idle;
use super::owner::{End, Owner};
use crate::http::peer::Share;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use tokio::time::Instant;

/// Accounts that share a limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Group {
    /// The requests of a connection.
    Connection(u64),
    /// The requests of a client.
    Peer(Share),
    /// The requests that hold an instance of a component.
    Instances(Arc<str>),
    /// All requests.
    All,
}

/// What a group holds.
struct Held {
    group: Group,
    bytes: u64,
    accounts: usize,
    /// Its accounts that wait for their clients.
    idle: Idle,
}

struct Entry {
    bytes: u64,
    reserved: bool,
    share: Share,
    /// The ids of its groups: its connection, if that has a single client; its client; and the instances of a
    /// component, if its call has one.
    groups: [Option<u64>; GROUPS],
    /// Since when it waits for its client.
    idle: Option<Instant>,
    end: Option<End>,
}

/// The most groups of an account, besides the group of all.
const GROUPS: usize = 3;

/// A hasher for ids that the host assigns. No client chooses such an id, so the hash need not be unpredictable, and a
/// request needs some thirty lookups.
#[derive(Default)]
struct Numbered(u64);

impl Hasher for Numbered {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // Spreads the ids over the upper bits too, which hash tables use.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type ByNumber<T> = HashMap<u64, T, BuildHasherDefault<Numbered>>;

/// All accounts.
#[derive(Default)]
pub(super) struct Owners {
    last: u64,
    taken: u64,
    accounts: ByNumber<Entry>,
    groups: ByNumber<Held>,
    numbers: HashMap<Group, u64>,
}

impl Owners {
    /// A new account.
    pub(super) fn open(&mut self, owner: Owner) -> u64 {
        self.last += 1;
        let id = self.last;
        let share = owner.share;
        let entry = Entry { bytes: 0, reserved: owner.reserved, share, groups: [None; GROUPS], idle: None, end: None };
        self.accounts.insert(id, entry);
        if let Some(connection) = owner.connection {
            self.join(id, Group::Connection(connection));
        }
        self.join(id, Group::Peer(share));
        id
    }

    /// Lets the account use the reserve.
    pub(super) fn reserve(&mut self, id: u64) {
        if let Some(entry) = self.accounts.get_mut(&id) {
            entry.reserved = true;
        }
    }

    /// Adds the account to `group` too.
    pub(super) fn join(&mut self, id: u64, group: Group) {
        let Some(entry) = self.accounts.get_mut(&id) else { return };
        let known = self.numbers.get(&group).copied();
        if known.is_some_and(|number| entry.groups.contains(&Some(number))) {
            return;
        }
        let Some(place) = entry.groups.iter_mut().find(|place| place.is_none()) else { return };
        let number = known.unwrap_or_else(|| {
            self.last += 1;
            self.numbers.insert(group.clone(), self.last);
            self.last
        });
        *place = Some(number);
        let held =
            self.groups.entry(number).or_insert_with(|| Held { group, bytes: 0, accounts: 0, idle: Idle::default() });
        held.accounts += 1;
        held.bytes += entry.bytes;
        if let Some(since) = entry.idle {
            held.idle.insert((since, id));
        }
    }

    fn held(&self, group: &Group) -> Option<&Held> {
        self.groups.get(self.numbers.get(group)?)
    }

    /// The memory of all accounts.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// The memory of the peer that holds most, among peers with a limit.
    pub(super) fn largest_peer(&self) -> u64 {
        self.peers().filter(|(share, _)| share.is_bounded()).map(|(_, bytes)| bytes).max().unwrap_or(0)
    }

    fn peers(&self) -> impl Iterator<Item = (Share, u64)> {
        self.groups.values().filter_map(|held| match &held.group {
            Group::Peer(share) => Some((*share, held.bytes)),
            _ => None,
        })
    }

    /// The group of account `id` that has no room for `bytes` more, if there is one: smaller groups first, without the
    /// groups in `except`.
    pub(super) fn full(
        &self,
        id: u64,
        bytes: u64,
        except: &[Group],
        bound: impl Fn(&Group, bool) -> u64,
    ) -> Option<Group> {
        let entry = self.accounts.get(&id)?;
        let full = |(group, held): &(&Group, u64)| {
            held.saturating_add(bytes) > bound(group, entry.reserved) && !except.contains(group)
        };
        let groups = entry.groups.iter().flatten().filter_map(|number| self.groups.get(number));
        let groups = groups.map(|held| (&held.group, held.bytes));
        groups.chain([(&Group::All, self.taken)]).find(full).map(|(group, _)| group.clone())
    }

    /// Adds `bytes` to an open account.
    pub(super) fn add(&mut self, id: u64, bytes: u64) {
        let Some(entry) = self.accounts.get_mut(&id) else { return };
        entry.bytes += bytes;
        self.taken += bytes;
        for number in entry.groups.iter().flatten() {
            if let Some(held) = self.groups.get_mut(number) {
                held.bytes += bytes;
            }
        }
    }

    /// Subtracts `bytes` from an account. An ended account holds nothing any more.
    pub(super) fn give_back(&mut self, id: u64, bytes: u64) {
        let Some(entry) = self.accounts.get_mut(&id) else { return };
        let bytes = bytes.min(entry.bytes);
        entry.bytes -= bytes;
        self.taken -= bytes;
        for number in entry.groups.iter().flatten() {
            if let Some(held) = self.groups.get_mut(number) {
                held.bytes -= bytes;
            }
        }
    }

    /// Records that the account waits for its client since `now`; `end`, if given, replaces the way to end it.
    pub(super) fn waits(&mut self, id: u64, now: Instant, end: Option<End>) {
        let Some(entry) = self.accounts.get_mut(&id) else { return };
        if end.is_some() {
            entry.end = end;
        }
        let before = entry.idle.replace(now);
        for number in entry.groups.iter().flatten() {
            if let Some(held) = self.groups.get_mut(number) {
                if let Some(before) = before {
                    held.idle.remove((before, id));
                }
                held.idle.insert((now, id));
            }
        }
    }

    /// Records that the account waits for the host.
    pub(super) fn works(&mut self, id: u64) {
        let Some(entry) = self.accounts.get_mut(&id) else { return };
        let Some(before) = entry.idle.take() else { return };
        for number in entry.groups.iter().flatten() {
            if let Some(held) = self.groups.get_mut(number) {
                held.idle.remove((before, id));
            }
        }
    }

    /// Closes the account of `group` that has waited longest, but not `except` or accounts with progress since `before`,
    /// and returns what ends its request. For the application's share, the account is one of the peer that holds most.
    pub(super) fn end_longest_idle(&mut self, group: &Group, except: u64, before: Option<Instant>) -> Option<End> {
        let group = match group {
            Group::All => {
                let own = self
                    .accounts
                    .get(&except)
                    .and_then(|entry| self.held(&Group::Peer(entry.share)))
                    .map_or(0, |held| held.bytes);
                let has_idle = |share: &Share| {
                    let held = self.held(&Group::Peer(*share));
                    held.is_some_and(|held| held.idle.iter().any(|(_, id)| *id != except))
                };
                let (share, _) = self
                    .peers()
                    .filter(|(share, bytes)| *bytes >= own && has_idle(share))
                    .max_by_key(|(share, bytes)| (*bytes, share.network()))?;
                Group::Peer(share)
            }
            group => group.clone(),
        };
        let idle = &self.held(&group)?.idle;
        let (since, id) = idle.iter().find(|(_, id)| *id != except).copied()?;
        if before.is_some_and(|before| since > before) {
            return None;
        }
        let end = self.accounts.get_mut(&id).and_then(|entry| entry.end.take());
        self.close(id);
        end
    }

    /// Removes an account.
    pub(super) fn close(&mut self, id: u64) {
        let Some(entry) = self.accounts.remove(&id) else { return };
        self.taken -= entry.bytes;
        for number in entry.groups.into_iter().flatten() {
            let Some(held) = self.groups.get_mut(&number) else { continue };
            held.bytes -= entry.bytes;
            held.accounts -= 1;
            if let Some(since) = entry.idle {
                held.idle.remove((since, id));
            }
            if held.accounts == 0
                && let Some(held) = self.groups.remove(&number)
            {
                self.numbers.remove(&held.group);
            }
        }
    }

    /// Whether no account holds anything.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0 && self.accounts.is_empty() && self.groups.is_empty() && self.numbers.is_empty()
    }
}
