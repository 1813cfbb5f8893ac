//! Which connections are open, and which one ends to make room for another.
//!
//! A connection *works* while one of its requests has passed the token check and has a place; otherwise it *waits*,
//! whatever it sends. When there are too many connections, one that waits ends, never one that works: of the address
//! with the most connections, the one that has waited longest. So someone with few addresses keeps nobody else out, and
//! someone with many has to replace all connections faster than an honest client needs for its request.
//!
//! Decides without I/O, in time logarithmic in the number of connections.

use parking_lot::{Mutex, MutexGuard};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Where a connection comes from, as far as that tells people apart: an IPv4 address, or the first 64 bits of an IPv6
/// address, because one subscriber has everything below them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Address {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// Why a connection is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// Its address has as many as it may have, and all of them work.
    Address,
    /// The table is full, and all that could be ended are working.
    Full,
}

/// All connections of a front door. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connections(Arc<Mutex<Table>>);

impl Connections {
    /// At most `most` in all, and `most_per_address` from one address; 0 there means no limit per address.
    pub(super) fn new(most: usize, most_per_address: usize) -> Self {
        let most_per_address = if most_per_address == 0 { usize::MAX } else { most_per_address };
        Self(Arc::new(Mutex::new(Table {
            most,
            most_per_address,
            next: 0,
            guests: HashMap::new(),
            addresses: HashMap::new(),
            yielding: BTreeSet::new(),
        })))
    }

    /// Admits a connection from `address`. Returns whether another one was ended for it.
    pub(super) fn admit(&self, address: IpAddr) -> Result<(Seat, bool), Refused> {
        let ended = Arc::new(Notify::new());
        let (id, gave_way) = self.table().admit(address.into(), &ended, Instant::now())?;
        Ok((Seat { connections: self.clone(), id, ended }, gave_way))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock()
    }
}

/// The place of one connection, until dropped.
pub(super) struct Seat {
    connections: Connections,
    id: u64,
    ended: Arc<Notify>,
}

impl Seat {
    /// Completes when the connection has to end to make room.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Since when it waits; `None` while it works.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let table = self.connections.table();
        table.guests.get(&self.id).filter(|guest| guest.working == 0).map(|guest| guest.since)
    }

    /// Counts one more of its requests as working, until the guard is dropped.
    pub(super) fn work(self: &Arc<Self>) -> Work {
        self.connections.table().begin(self.id);
        Work(Arc::clone(self))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.table().leave(self.id);
    }
}

/// One working request.
pub(super) struct Work(Arc<Seat>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.connections.table().end(self.0.id, Instant::now());
    }
}

struct Guest {
    address: Address,
    /// How many of its requests work.
    working: usize,
    /// If it waits: its turn to be ended.
    turn: u64,
    since: Instant,
    ended: Arc<Notify>,
}

/// The connections of one address.
#[derive(Default)]
struct Open {
    count: usize,
    /// Those that wait, by turn.
    waiting: BTreeMap<u64, u64>,
}

impl Open {
    /// Its place among those that may be ended.
    fn rank(&self, address: Address) -> Option<(usize, Reverse<u64>, Address)> {
        let (oldest, _) = self.waiting.first_key_value()?;
        Some((self.count, Reverse(*oldest), address))
    }
}

struct Table {
    most: usize,
    most_per_address: usize,
    /// The next id, and the next turn.
    next: u64,
    guests: HashMap<u64, Guest>,
    addresses: HashMap<Address, Open>,
    /// Addresses with connections that wait. The one with most comes last; among equals, the one whose connection has waited
    /// longest.
    yielding: BTreeSet<(usize, Reverse<u64>, Address)>,
}

impl Table {
    fn admit(&mut self, address: Address, ended: &Arc<Notify>, now: Instant) -> Result<(u64, bool), Refused> {
        let own = self.addresses.get(&address).map_or(0, |open| open.count);
        let gives_way = if own >= self.most_per_address {
            Some(self.oldest(address).ok_or(Refused::Address)?)
        } else if self.guests.len() >= self.most {
            let largest = self.yielding.last().filter(|(count, ..)| *count > own);
            let oldest = self.oldest(largest.map_or(address, |(.., largest)| *largest));
            Some(oldest.ok_or(Refused::Full)?)
        } else {
            None
        };
        if let Some(guest) = gives_way.and_then(|id| self.leave(id)) {
            guest.ended.notify_one();
        }
        let id = self.turn();
        let guest = Guest { address, working: 0, turn: id, since: now, ended: Arc::clone(ended) };
        self.guests.insert(id, guest);
        self.update(address, |open| {
            open.count += 1;
            open.waiting.insert(id, id);
        });
        Ok((id, gives_way.is_some()))
    }

    fn begin(&mut self, id: u64) {
        // One that was ended is no longer here.
        let Some(guest) = self.guests.get_mut(&id) else { return };
        guest.working += 1;
        let (address, turn, first) = (guest.address, guest.turn, guest.working == 1);
        if first {
            self.update(address, |open| {
                open.waiting.remove(&turn);
            });
        }
    }

    fn end(&mut self, id: u64, now: Instant) {
        let turn = self.turn();
        let Some(guest) = self.guests.get_mut(&id) else { return };
        guest.working = guest.working.saturating_sub(1);
        if guest.working == 0 {
            (guest.turn, guest.since) = (turn, now);
            let address = guest.address;
            self.update(address, |open| {
                open.waiting.insert(turn, id);
            });
        }
    }

    fn leave(&mut self, id: u64) -> Option<Guest> {
        let guest = self.guests.remove(&id)?;
        self.update(guest.address, |open| {
            open.count = open.count.saturating_sub(1);
            open.waiting.remove(&guest.turn);
        });
        Some(guest)
    }

    /// The connection of `address` that has waited longest.
    fn oldest(&self, address: Address) -> Option<u64> {
        self.addresses.get(&address)?.waiting.first_key_value().map(|(_, id)| *id)
    }

    fn turn(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    fn update(&mut self, address: Address, change: impl FnOnce(&mut Open)) {
        let open = self.addresses.entry(address).or_default();
        if let Some(rank) = open.rank(address) {
            self.yielding.remove(&rank);
        }
        change(open);
        if let Some(rank) = open.rank(address) {
            self.yielding.insert(rank);
        }
        if open.count == 0 {
            self.addresses.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn admitted(connections: &Connections, address: &str) -> Arc<Seat> {
        Arc::new(connections.admit(ip(address)).expect("room").0)
    }

    fn refused(connections: &Connections, address: &str) -> Option<Refused> {
        connections.admit(ip(address)).err()
    }

    fn has_ended(seat: &Seat) -> bool {
        seat.ended().now_or_never().is_some()
    }

    #[test]
    fn an_address_with_all_its_connections_replaces_its_own_oldest_and_no_other() {
        let connections = Connections::new(100, 2);
        let other = admitted(&connections, "10.0.0.1");
        let own: Vec<_> = (0..3).map(|_| admitted(&connections, "10.0.0.2")).collect();
        let ended: Vec<_> = own.iter().map(|seat| has_ended(seat)).collect();
        assert_eq!((ended, has_ended(&other)), (vec![true, false, false], false));
    }

    #[test]
    fn a_full_table_takes_from_the_address_with_most_and_from_the_longest_wait_among_equals() {
        let connections = Connections::new(4, 0);
        let first = admitted(&connections, "10.0.0.1");
        let many: Vec<_> = (0..3).map(|_| admitted(&connections, "10.0.0.2")).collect();
        let second = admitted(&connections, "10.0.0.3");
        assert!(has_ended(&many[0]) && !has_ended(&many[1]), "the address that has three");
        let third = admitted(&connections, "10.0.0.4");
        assert!(has_ended(&many[1]) && !has_ended(&many[2]), "the address that has two");
        let fourth = admitted(&connections, "10.0.0.0");
        assert!(has_ended(&first), "each has one now");
        let again = admitted(&connections, "10.0.0.4");
        assert!(has_ended(&third), "an address with as many as any other takes from itself");
        let ended = [&many[2], &second, &fourth, &again].map(|seat| has_ended(seat));
        assert_eq!(ended, [false; 4]);
    }

    #[test]
    fn a_working_connection_is_never_ended_and_waits_from_the_start_after_working() {
        let connections = Connections::new(2, 0);
        let (first, second) = (admitted(&connections, "10.0.0.1"), admitted(&connections, "10.0.0.1"));
        let (work, more, other) = (first.work(), first.work(), second.work());
        assert_eq!(first.waits_since(), None);
        assert_eq!(refused(&connections, "10.0.0.1"), Some(Refused::Full));
        assert_eq!(refused(&connections, "10.0.0.2"), Some(Refused::Full));
        drop(other);
        drop(work);
        assert_eq!(first.waits_since(), None, "one of two requests works");
        drop(more);
        assert!(first.waits_since() >= second.waits_since() && second.waits_since().is_some());
        let third = admitted(&connections, "10.0.0.2");
        assert!(has_ended(&second) && !has_ended(&first), "the first worked last");
        let limited = Connections::new(10, 1);
        let only = admitted(&limited, "10.0.0.1");
        let work = only.work();
        assert_eq!(refused(&limited, "10.0.0.1"), Some(Refused::Address));
        drop((work, third));
    }

    #[test]
    fn a_connection_that_was_ended_counts_no_more_whatever_it_does() {
        let connections = Connections::new(1, 0);
        let first = admitted(&connections, "10.0.0.1");
        let second = admitted(&connections, "10.0.0.2");
        assert!(has_ended(&first));
        let work = first.work();
        drop((work, first));
        assert_eq!(connections.table().guests.len(), 1);
        assert!(second.waits_since().is_some());
    }

    #[test]
    fn an_ipv6_subscriber_is_one_address_and_a_mapped_address_is_the_ipv4_one() {
        for (one, other, same) in [
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("::1", "0.0.0.1", false),
        ] {
            assert_eq!(Address::from(ip(one)) == Address::from(ip(other)), same, "{one} {other}");
        }
    }

    #[test]
    fn whatever_happens_the_table_keeps_its_bounds_and_its_books() {
        for seed in 0..50 {
            let mut random = StdRng::seed_from_u64(seed);
            let connections = Connections::new(12, 4);
            let (mut seats, mut work): (Vec<Arc<Seat>>, Vec<Work>) = (vec![], vec![]);
            for _ in 0..400 {
                let some = |random: &mut StdRng, of: usize| random.random_range(0..of.max(1));
                match random.random_range(0..5) {
                    0 | 1 => {
                        let address = format!("10.0.0.{}", random.random_range(0..6));
                        let working = |seat: &&Arc<Seat>| seat.waits_since().is_none();
                        let before = seats.iter().filter(working).count();
                        if let Ok((seat, _)) = connections.admit(ip(&address)) {
                            seats.push(Arc::new(seat));
                        }
                        seats.retain(|seat| !has_ended(seat));
                        assert_eq!(seats.iter().filter(working).count(), before, "working ones stay");
                    }
                    2 if !seats.is_empty() => {
                        let seat = some(&mut random, seats.len());
                        work.push(seats[seat].work());
                    }
                    3 if !work.is_empty() => drop(work.swap_remove(some(&mut random, work.len()))),
                    4 if !seats.is_empty() => drop(seats.swap_remove(some(&mut random, seats.len()))),
                    _ => {}
                }
                let table = connections.table();
                assert!(table.guests.len() <= 12);
                assert!(table.addresses.values().all(|open| (1..=4).contains(&open.count)));
                let counted: usize = table.addresses.values().map(|open| open.count).sum();
                assert_eq!(counted, table.guests.len());
                let waiting: usize = table.addresses.values().map(|open| open.waiting.len()).sum();
                assert_eq!(waiting, table.guests.values().filter(|guest| guest.working == 0).count());
                let ranks = table.addresses.iter().filter_map(|(address, open)| open.rank(*address));
                assert_eq!(ranks.collect::<BTreeSet<_>>(), table.yielding, "seed {seed}");
            }
        }
    }
}
