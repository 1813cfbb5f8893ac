//! Which group owns what, as far as HSMs have stated, and what always holds for all groups together: every record has
//! one owner, or is on its way to one; and only its owner tells of it.

use std::collections::{BTreeMap, BTreeSet};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{Outcome, Reply, Request};
use strongroom_proto::ids::{EntryHash, GroupId, HsmId, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;

/// The longest prefix that a group owns.
const LONGEST: u16 = 64;

/// What was read in one leadership and waits to be confirmed.
#[derive(Default)]
struct Reads {
    /// Each with whether the group has owned the record at any time since.
    waiting: BTreeMap<u64, (RecordId, bool)>,
}

/// What HSMs have stated about all groups of a realm.
#[derive(Default)]
pub struct Owners {
    made: BTreeMap<EntryHash, Entry>,
    newest: BTreeMap<GroupId, Entry>,
    reads: BTreeMap<(GroupId, HsmId), Reads>,
    /// How many replies were checked.
    told: u64,
}

impl Owners {
    /// The newest entry of a group that an HSM has stated as committed.
    #[must_use]
    pub fn newest(&self, group: &GroupId) -> Option<&Entry> {
        self.newest.get(group)
    }

    /// How many replies about records were checked.
    #[must_use]
    pub const fn told(&self) -> u64 {
        self.told
    }

    /// The last entries that HSMs have made for a group, of which one at most is ever committed.
    pub fn last_of(&self, group: GroupId) -> impl Iterator<Item = &Entry> {
        self.made.values().filter(move |entry| entry.last && entry.group == group)
    }

    fn owned(&self, group: &GroupId) -> Vec<Prefix> {
        let newest = self.newest.get(group);
        newest.iter().flat_map(|entry| &entry.partitions).map(|partition| partition.prefix).collect()
    }

    /// Checks an exchange with an HSM.
    ///
    /// # Panics
    /// If two groups own a record, or none does, or one that does not tells of it.
    pub(super) fn observe(&mut self, hsm: HsmId, request: &Request, reply: &Reply) {
        match (request, reply) {
            (Request::Lead(group, _), Reply::Leading(_)) => drop(self.reads.remove(&(*group, hsm))),
            (Request::Process { group, requests, .. }, Reply::Processed { outcomes, made }) => {
                for (request, outcome) in requests.iter().zip(outcomes) {
                    match outcome {
                        Outcome::Read(number) => {
                            let owned = self.owned(group);
                            let owns = owned.iter().any(|prefix| prefix.contains(&request.record));
                            let reads = self.reads.entry((*group, hsm)).or_default();
                            reads.waiting.insert(*number, (request.record, owns));
                        }
                        Outcome::Kept => {
                            let entry = made.as_ref().map(|made| &made.entry);
                            let owns = |entry: &Entry| {
                                entry.partitions.iter().any(|p| p.prefix.contains(&request.record))
                            };
                            assert!(entry.is_some_and(owns), "a group changes a record that it does not own");
                            self.told += 1;
                        }
                        Outcome::Answered(_) | Outcome::Refused(_) => {}
                    }
                }
                self.made.extend(made.iter().map(|made| (made.entry.hash(), made.entry.clone())));
            }
            (Request::Change(..), Reply::Processed { made: Some(made), .. }) => {
                self.made.insert(made.entry.hash(), made.entry.clone());
            }
            (Request::Confirm { group, .. }, Reply::Confirmed(released)) => {
                let reads = self.reads.entry((*group, hsm)).or_default();
                for number in released.iter().map(|read| read.number) {
                    // It may have left after it was read: the answer is as good as one that took long to arrive. Or it
                    // may have come by an entry that was not committed then.
                    let (_, owns) = reads.waiting.remove(&number).expect("it was asked for");
                    assert!(owns, "a group tells of a record that it never had while it was asked");
                    self.told += 1;
                }
            }
            (_, Reply::Committed { statement, .. }) => self.committed(&statement.hash),
            _ => {}
        }
    }

    fn committed(&mut self, hash: &EntryHash) {
        let Some(entry) = self.made.get(hash) else { return };
        let newest = self.newest.get(&entry.group);
        if newest.is_none_or(|newest| newest.index < entry.index) {
            let changed = newest.is_none_or(|newest| {
                let prefixes =
                    |of: &Entry| -> Vec<Prefix> { of.partitions.iter().map(|p| p.prefix).collect() };
                prefixes(newest) != prefixes(entry) || newest.open != entry.open
            });
            self.newest.insert(entry.group, entry.clone());
            if changed {
                let (group, owned) = (entry.group, self.owned(&entry.group));
                let reads = self.reads.iter_mut().filter(|((of, _), _)| *of == group);
                for (record, owns) in reads.flat_map(|(_, reads)| reads.waiting.values_mut()) {
                    *owns |= owned.iter().any(|prefix| prefix.contains(record));
                }
                self.check();
            }
        }
    }

    /// What is owned, and what is on its way: it has left, and is awaited where it goes.
    fn parts(&self) -> Vec<(Prefix, GroupId)> {
        let owned = |entry: &Entry| -> Vec<(Prefix, GroupId)> {
            entry.partitions.iter().map(|p| (p.prefix, entry.group)).collect()
        };
        let leaves = |transfer: &Transfer| match transfer {
            Transfer::Outgoing { id, destination, prefix, .. } => {
                let to = self.newest.get(destination)?;
                let is_awaited = to
                    .open
                    .iter()
                    .any(|open| matches!(open, Transfer::Incoming { id: awaited, .. } if awaited == id));
                is_awaited.then_some((*prefix, *destination))
            }
            Transfer::Incoming { .. } => None,
        };
        let all = self.newest.values();
        all.flat_map(|entry| owned(entry).into_iter().chain(entry.open.iter().filter_map(leaves))).collect()
    }

    /// Checks that each record has one owner, or is on its way to one.
    fn check(&self) {
        let mut parts = self.parts();
        if parts.is_empty() {
            // The first group has not committed its first entry.
            return;
        }
        parts.sort_unstable();
        for pair in parts.windows(2) {
            let ((one, a), (other, b)) = (pair[0], pair[1]);
            assert!(!one.overlaps(&other), "two groups have records of {one:?}: {a} and {b}");
        }
        let size = |(prefix, _): &(Prefix, GroupId)| 1_u128 << LONGEST.saturating_sub(prefix.len());
        let all: u128 = parts.iter().map(size).sum();
        assert_eq!(all, 1 << LONGEST, "no group has, or is to have, some records: {parts:?}");
    }

    /// Transfers that are open, each with the group in which it is.
    pub fn open(&self) -> impl Iterator<Item = (GroupId, &Transfer)> {
        self.newest.iter().flat_map(|(group, entry)| entry.open.iter().map(|open| (*group, open)))
    }

    /// The groups that have a prefix which covers this record.
    #[must_use]
    pub fn of(&self, record: &RecordId) -> BTreeSet<GroupId> {
        let owns = |entry: &&Entry| entry.partitions.iter().any(|p| p.prefix.contains(record));
        self.newest.values().filter(owns).map(|entry| entry.group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_proto::entry::Partition;
    use strongroom_proto::ids::{Digest, Index, Mac, RealmId, Term, TransferId};

    fn entry(group: u8, owned: &[Prefix], open: Vec<Transfer>) -> Entry {
        let partition = |prefix: &Prefix| Partition { prefix: *prefix, root: Digest([9; 32]) };
        Entry {
            realm: RealmId([0; 16]),
            group: GroupId([group; 16]),
            index: Index(5),
            prev: EntryHash([0; 32]),
            leader: HsmId([3; 16]),
            term: Term([4; 16]),
            partitions: owned.iter().map(partition).collect(),
            transfers: 1,
            open,
            last: false,
            events_hash: Digest([0; 32]),
            mac: Mac(Digest([5; 32])),
        }
    }

    fn holds(entries: Vec<Entry>) -> bool {
        let newest = entries.into_iter().map(|entry| (entry.group, entry)).collect();
        let owners = Owners { newest, ..Owners::default() };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| owners.check())).is_ok()
    }

    #[test]
    fn a_record_of_two_groups_or_of_none_is_noticed_and_one_on_its_way_is_of_one() {
        let (left, right) = Prefix::WHOLE.children().expect("it has halves");
        let id = TransferId([7; 16]);
        let leaves = Transfer::Outgoing {
            id,
            destination: GroupId([2; 16]),
            prefix: left,
            root: Digest([9; 32]),
            decisions: 0,
        };
        let awaited = Transfer::Incoming { id, source: GroupId([1; 16]), prefix: left, decisions: 0 };
        assert!(holds(vec![entry(1, &[left, right], vec![]), entry(2, &[], vec![])]));
        assert!(holds(vec![entry(1, &[right], vec![]), entry(2, &[left], vec![])]));
        assert!(holds(vec![entry(1, &[right], vec![leaves]), entry(2, &[], vec![awaited])]));
        assert!(holds(vec![entry(1, &[right], vec![leaves]), entry(2, &[left], vec![])]));
        assert!(!holds(vec![entry(1, &[right], vec![leaves]), entry(2, &[], vec![])]));
        assert!(!holds(vec![entry(1, &[left, right], vec![leaves]), entry(2, &[], vec![awaited])]));
        assert!(!holds(vec![entry(1, &[left, right], vec![]), entry(2, &[left], vec![])]));
        assert!(!holds(vec![entry(1, &[right], vec![]), entry(2, &[], vec![awaited])]));
    }
}
