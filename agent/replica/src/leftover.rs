//! What is still stored of a prefix that has left, and when it may be deleted.
//!
//! Kept here: nothing counts as left over that the group owns or awaits, or that is being copied to it; and nothing left
//! over may be deleted before the group that it went to has stored it.

use crate::stored::Snapshot;
use minicbor::{Decode, Encode};
use strongroom_proto::entry::Entry;
use strongroom_proto::ids::{GroupId, TransferId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;

/// The most that a stored tree notes. What leaves beyond that is never deleted.
const MAX_NOTED: usize = 1_024;

/// A prefix that has left, or a part of it, of which pages and leaves are stored here yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Leftover {
    /// What has left.
    #[n(0)]
    pub prefix: Prefix,
    /// How.
    #[n(1)]
    pub id: TransferId,
    /// Where to.
    #[n(2)]
    pub destination: GroupId,
    /// How many decisions that group had made.
    #[n(3)]
    pub decisions: u64,
}

impl Leftover {
    /// Whether it may be deleted, where `own` is what the group's stored tree reaches, and `there` what that of the
    /// destination does: both have committed that the transfer is over, and what the destination took is in its tree.
    #[must_use]
    pub fn may_go(&self, own: &Entry, there: &Entry) -> bool {
        let is_over = own.open.iter().all(|transfer| transfer.id() != self.id);
        let has_arrived = there.group == self.destination
            && there.realm == own.realm
            && there.transfers > self.decisions
            && there.open.iter().all(|transfer| transfer.id() != self.id);
        is_over && has_arrived && !concerns(own, &self.prefix)
    }
}

/// Whether a group owns some of it, or it is on its way to or from there.
fn concerns(entry: &Entry, prefix: &Prefix) -> bool {
    let open = entry.open.iter().map(Transfer::prefix);
    let mut all = entry.partitions.iter().map(|p| p.prefix).chain(open);
    all.any(|other| other.overlaps(prefix))
}

/// What is left over once a stored tree reaches `entry`, where it reached `before`, and `known` was left over.
///
/// A transfer is noted with the first snapshot that shows it, and never again: what has been copied back since is no
/// longer left over, even if the transfer is still open.
#[must_use]
pub fn noted(known: &[Leftover], before: Option<&Entry>, entry: &Entry) -> Vec<Leftover> {
    let is_owned = |prefix: &Prefix| entry.partitions.iter().any(|p| p.prefix.overlaps(prefix));
    let is_awaited = |prefix: &Prefix| {
        let mut open = entry.open.iter().filter(|open| matches!(open, Transfer::Incoming { .. }));
        open.any(|open| open.prefix().overlaps(prefix))
    };
    let was_open = |id: &TransferId| before.is_some_and(|entry| entry.open.iter().any(|t| t.id() == *id));
    let mut all = known.to_vec();
    for transfer in &entry.open {
        if let Transfer::Outgoing { id, destination, prefix, decisions, .. } = *transfer
            && !was_open(&id)
        {
            // It came back after the others.
            all = without(&all, &prefix);
            all.push(Leftover { prefix, id, destination, decisions });
        }
    }
    all.retain(|leftover| !is_owned(&leftover.prefix) && !is_awaited(&leftover.prefix));
    all.truncate(MAX_NOTED);
    all
}

/// What is still left over, once this prefix is not: it is to come back.
#[must_use]
pub fn without(leftovers: &[Leftover], prefix: &Prefix) -> Vec<Leftover> {
    let rest = |leftover: &Leftover| {
        let leftover = *leftover;
        beside(leftover.prefix, prefix).into_iter().map(move |prefix| Leftover { prefix, ..leftover })
    };
    leftovers.iter().flat_map(rest).collect()
}

/// The largest prefixes below one that do not overlap the other.
#[must_use]
pub fn beside(whole: Prefix, other: &Prefix) -> Vec<Prefix> {
    if !whole.overlaps(other) {
        return Vec::from([whole]);
    }
    let mut rest = Vec::new();
    let mut part = *other;
    while part.len() > whole.len()
        && let Some(parent) = part.parent()
    {
        let children = parent.children();
        rest.extend(children.map(|(left, right)| if left == part { right } else { left }));
        part = parent;
    }
    rest
}

/// Those that may be deleted, by what every destination has stored. None of them overlaps one that must stay.
pub fn deletable<'a>(
    leftovers: &'a [Leftover],
    own: &Entry,
    stored: impl Fn(&GroupId) -> Option<&'a Snapshot>,
) -> Vec<Leftover> {
    let may_go = |leftover: &&Leftover| {
        stored(&leftover.destination).is_some_and(|there| leftover.may_go(own, &there.entry))
    };
    let (go, stay): (Vec<&Leftover>, Vec<&Leftover>) = leftovers.iter().partition(may_go);
    let go = go.into_iter().filter(|go| stay.iter().all(|stay| !stay.prefix.overlaps(&go.prefix)));
    go.copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_proto::entry::Partition;
    use strongroom_proto::ids::{Digest, EntryHash, HsmId, Index, Mac, RealmId, RecordId, Term};

    const HERE: GroupId = GroupId([1; 16]);
    const THERE: GroupId = GroupId([2; 16]);
    const ID: TransferId = TransferId([7; 16]);

    fn entry(group: GroupId, owned: &[Prefix], transfers: u64, open: Vec<Transfer>) -> Entry {
        let partition = |prefix: &Prefix| Partition { prefix: *prefix, root: Digest([9; 32]) };
        Entry {
            realm: RealmId([0; 16]),
            group,
            index: Index(5),
            prev: EntryHash([0; 32]),
            leader: HsmId([3; 16]),
            term: Term([4; 16]),
            partitions: owned.iter().map(partition).collect(),
            transfers,
            open,
            last: false,
            events_hash: Digest([0; 32]),
            mac: Mac(Digest([5; 32])),
        }
    }

    fn prefix(first: u8, len: u16) -> Prefix {
        Prefix::of(&RecordId([first; 32]), len).expect("at most 256 bits")
    }

    fn incoming(id: TransferId, prefix: Prefix) -> Transfer {
        Transfer::Incoming { id, source: HERE, prefix, decisions: 0 }
    }

    fn outgoing(id: TransferId, prefix: Prefix, decisions: u64) -> Transfer {
        Transfer::Outgoing { id, destination: THERE, prefix, root: Digest([9; 32]), decisions }
    }

    fn leftover(prefix: Prefix, id: TransferId) -> Leftover {
        Leftover { prefix, id, destination: THERE, decisions: 4 }
    }

    #[test]
    fn it_may_go_when_both_groups_have_stored_that_it_is_over_and_not_before() {
        let (stays, left) = (prefix(0, 1), prefix(0x80, 1));
        let it = leftover(left, ID);
        let here = entry(HERE, &[stays], 9, vec![]);
        let there = entry(THERE, &[left], 5, vec![]);
        assert!(it.may_go(&here, &there));
        assert!(it.may_go(&here, &entry(THERE, &[], 7, vec![])), "it was passed on");
        let other_realm = Entry { realm: RealmId([1; 16]), ..there.clone() };
        for (here, there) in [
            (here.clone(), entry(THERE, &[left], 4, vec![])),
            (here.clone(), entry(THERE, &[], 5, vec![incoming(ID, left)])),
            (here.clone(), entry(GroupId([3; 16]), &[left], 5, vec![])),
            (here.clone(), other_realm),
            (entry(HERE, &[stays], 9, vec![outgoing(ID, left, 4)]), there.clone()),
            (entry(HERE, &[left], 9, vec![]), there.clone()),
            (entry(HERE, &[prefix(0xc0, 2)], 9, vec![]), there.clone()),
            (entry(HERE, &[], 9, vec![incoming(TransferId([8; 16]), prefix(0xc0, 2))]), there),
        ] {
            assert!(!it.may_go(&here, &there), "{here:?} {there:?}");
        }
    }

    #[test]
    fn a_transfer_is_noted_once_and_not_again_after_it_has_come_back() {
        let left = prefix(0x80, 1);
        let open = entry(HERE, &[], 1, vec![outgoing(ID, left, 4)]);
        let first = noted(&[], Some(&entry(HERE, &[left], 0, vec![])), &open);
        assert_eq!(first, [leftover(left, ID)]);
        assert_eq!(noted(&first, Some(&open), &open), first);
        let back = without(&first, &prefix(0xc0, 2));
        assert_eq!(back, [leftover(prefix(0x80, 2), ID)]);
        assert_eq!(noted(&back, Some(&open), &open), back);
        assert_eq!(noted(&first, Some(&open), &entry(HERE, &[left], 2, vec![])), []);
        let awaited = entry(HERE, &[], 2, vec![incoming(TransferId([8; 16]), left)]);
        assert_eq!(noted(&first, Some(&open), &awaited), []);
        let again = entry(HERE, &[], 3, vec![outgoing(TransferId([9; 16]), left, 4)]);
        assert_eq!(noted(&first, Some(&open), &again), [leftover(left, TransferId([9; 16]))]);
    }

    #[test]
    fn beside_a_part_lies_the_rest_once() {
        assert_eq!(beside(prefix(0x80, 1), &prefix(0, 1)), [prefix(0x80, 1)]);
        assert_eq!(beside(prefix(0x80, 1), &Prefix::WHOLE), []);
        assert_eq!(beside(prefix(0x80, 1), &prefix(0x80, 1)), []);
        assert_eq!(beside(prefix(0x80, 1), &prefix(0xe0, 3)), [prefix(0xc0, 3), prefix(0x80, 2)]);
    }

    #[test]
    fn what_overlaps_one_that_stays_stays() {
        let (left, part) = (prefix(0x80, 1), prefix(0xc0, 2));
        let here = entry(HERE, &[], 9, vec![]);
        let index = Index(5);
        let there = entry(THERE, &[left], 5, vec![]);
        let hash = there.hash();
        let mac = Mac(Digest([2; 32]));
        let committed = strongroom_proto::statement::Committed { hsm: HsmId([1; 16]), index, hash, mac };
        let there = Snapshot { entry: there, committed };
        let stays = Leftover { destination: GroupId([3; 16]), ..leftover(part, TransferId([8; 16])) };
        let stored = |group: &GroupId| (*group == THERE).then_some(&there);
        let all = [leftover(left, ID), stays, leftover(prefix(0, 1), ID)];
        assert_eq!(deletable(&all, &here, stored), [leftover(prefix(0, 1), ID)]);
    }
}
