//! Moving a prefix from one group to another, a step at a time.
//!
//! Decides what the next step is from what both groups have committed, and from nothing else: whoever asks for it, and
//! however often, after whatever was lost, goes on where the groups are. HSMs decide whether a step is right; what is
//! decided here is only that records are copied before they are needed.

use super::Hub;
use super::orders::{End, OrderError, Wanted};
use strongroom_proto::change::{Change, Evidence};
use strongroom_proto::entry::Entry;
use strongroom_proto::ids::{Digest, GroupId, TransferId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;

/// With no more than this many records left to copy, the prefix changes hands: those that change meanwhile are copied
/// while nobody serves them.
const FEW: u64 = 256;
/// How often the rest is copied, at most, before it changes hands all the same.
const ROUNDS: usize = 8;

/// Why a step was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum MoveError {
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error("a group does not move a prefix to itself; name another with --to")]
    ToItself,
    #[error("no group that is known here has prefix {0}; name the one that has it with --from")]
    FromNowhere(Prefix),
    #[error(
        "group {group} owns {owned} and no tree of prefix {prefix}; split or merge what it owns first, with `partition split` or \
         `partition merge`"
    )]
    NotOwned { group: GroupId, prefix: Prefix, owned: String },
    #[error(
        "what was copied is not what the group let go: run the command again; if this lasts, run `check`"
    )]
    OtherRoot,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Next {
    /// Copy what there is, and then let it change hands.
    Begin,
    /// What is awaited under this id is to leave.
    LetGo(TransferId),
    /// What is awaited cannot leave as it is: nothing that waits now is to be let go.
    Refuse,
    /// Nothing that is awaited under this id will come any more.
    GiveUp(TransferId),
    /// What has left under this id is to be copied, and taken.
    Take(TransferId, Digest),
    /// What has left under this id has arrived.
    Close(TransferId),
    /// It is done.
    Nothing,
    /// The group does not own it.
    NotOwned,
}

/// What the next step is, where `from` and `to` are what the groups have committed.
fn next(prefix: Prefix, from: &Entry, to: &Entry) -> Next {
    let incoming = to.open.iter().find_map(|transfer| match transfer {
        Transfer::Incoming { id, source, prefix: awaited, decisions } => {
            (*source == from.group && *awaited == prefix).then_some((*id, *decisions))
        }
        Transfer::Outgoing { .. } => None,
    });
    let outgoing = from.open.iter().filter_map(|transfer| match transfer {
        Transfer::Outgoing { id, destination, prefix: left, root, .. } => {
            (*destination == to.group && *left == prefix).then_some((*id, *root))
        }
        Transfer::Incoming { .. } => None,
    });
    // It may have left before, and have come back: what is awaited counts first.
    let outgoing = outgoing.max_by_key(|(left, _)| incoming.is_some_and(|(awaited, _)| awaited == *left));
    let owns = |entry: &Entry| entry.partitions.iter().any(|p| p.prefix == prefix);
    match (incoming, outgoing) {
        (Some((awaited, _)), Some((left, root))) if awaited == left => Next::Take(left, root),
        (Some((awaited, decisions)), _) if owns(from) && decisions == from.transfers => Next::LetGo(awaited),
        (Some((_, decisions)), _) if decisions == from.transfers => Next::Refuse,
        (Some((awaited, _)), _) => Next::GiveUp(awaited),
        (None, Some((left, _))) => Next::Close(left),
        (None, None) if owns(to) => Next::Nothing,
        (None, None) if owns(from) => Next::Begin,
        (None, None) => Next::NotOwned,
    }
}

impl Hub {
    /// Takes the next step of moving a prefix. Returns what was done, and whether there is nothing left to do.
    pub(crate) async fn move_on(
        &self,
        prefix: Prefix,
        from: Option<GroupId>,
        to: GroupId,
    ) -> Result<(String, bool), MoveError> {
        let destination = self.shown(to, &Wanted::Show(false)).await?;
        let from = from.or_else(|| self.source(prefix, &destination.entry));
        let from = match from {
            Some(from) if from == to => return Err(MoveError::ToItself),
            Some(from) => from,
            None if destination.entry.partitions.iter().any(|p| p.prefix == prefix) => {
                return Ok((format!("group {to} has it"), true));
            }
            None => return Err(MoveError::FromNowhere(prefix)),
        };
        let source = self.shown(from, &Wanted::Show(false)).await?;
        let step = |change| Wanted::Step(Box::new(change));
        Ok(match next(prefix, &source.entry, &destination.entry) {
            Next::Nothing => (format!("group {to} has it"), true),
            Next::NotOwned => {
                let owned = source.entry.partitions.iter().map(|p| p.prefix);
                return Err(MoveError::NotOwned { group: from, prefix, owned: listed(owned) });
            }
            Next::Begin => (self.begin_move(prefix, from, to).await?, false),
            Next::LetGo(id) => {
                self.shown(from, &step(Change::Out(id, destination))).await?;
                (format!("group {from} has let go of it"), false)
            }
            Next::Refuse => {
                self.shown(from, &step(Change::Refuse)).await?;
                (
                    format!(
                        "group {from} lets go of nothing that is awaited now: it does not own it any more"
                    ),
                    false,
                )
            }
            Next::GiveUp(id) => {
                self.shown(to, &step(Change::GiveUp(id, source))).await?;
                (format!("group {to} waits no longer: group {from} has decided something else since"), false)
            }
            Next::Take(id, root) => {
                let records = self.take_over(prefix, from, to, id, root).await?;
                (format!("group {to} has taken it over, with {records} records that had changed"), false)
            }
            Next::Close(id) => {
                // Nothing that left is forgotten before it is stored where it went.
                let stored = self.shown(to, &Wanted::Show(true)).await?;
                self.shown(from, &step(Change::Close(id, stored))).await?;
                let has_it = destination.entry.partitions.iter().any(|p| p.prefix == prefix);
                (format!("group {from} has closed the move to group {to}"), has_it)
            }
        })
    }

    /// Takes the next step of moving all that a group owns, one prefix after another.
    pub(crate) async fn move_all_on(&self, from: GroupId, to: GroupId) -> Result<(String, bool), MoveError> {
        let source = self.shown(from, &Wanted::Show(false)).await?.entry;
        let leaves = source.open.iter().find_map(|transfer| match transfer {
            Transfer::Outgoing { destination, prefix, .. } if *destination == to => Some(*prefix),
            _ => None,
        });
        let Some(prefix) = leaves.or_else(|| source.partitions.first().map(|p| p.prefix)) else {
            return Ok((format!("group {from} owns nothing any more"), true));
        };
        let (done, _) = self.move_on(prefix, Some(from), to).await?;
        Ok((format!("prefix {}: {done}", listed(std::iter::once(prefix))), false))
    }

    /// The group from which a prefix is to come: the one that is awaited, or one here that owns it, whole or in part.
    fn source(&self, prefix: Prefix, destination: &Entry) -> Option<GroupId> {
        let awaited = destination.open.iter().find_map(|transfer| match transfer {
            Transfer::Incoming { source, prefix: awaited, .. } if *awaited == prefix => Some(*source),
            _ => None,
        });
        let owns = |status: &strongroom_replica::Status| status.prefixes.iter().any(|p| p.overlaps(&prefix));
        let mut groups = self.groups().into_iter().filter(|(group, _)| *group != destination.group);
        awaited
            .or_else(|| groups.find(|(_, status)| owns(status)).map(|(group, _)| group))
            .or_else(|| self.peers.owner(&prefix, &destination.group))
    }

    /// Copies until little is left, and then has the prefix leave.
    async fn begin_move(&self, prefix: Prefix, from: GroupId, to: GroupId) -> Result<String, MoveError> {
        let mut copied = 0_u64;
        for _ in 0..ROUNDS {
            self.shown(from, &Wanted::Show(true)).await?;
            let records = self.adopted(prefix, from, to).await?.1;
            copied = copied.saturating_add(records);
            if records <= FEW {
                break;
            }
        }
        let source = self.shown(from, &Wanted::Show(false)).await?;
        let awaits = self.shown(to, &Wanted::Step(Box::new(Change::In(prefix, source)))).await?;
        let id = awaits.entry.open.iter().find(|t| t.prefix() == prefix).map(Transfer::id);
        let id = id.ok_or(MoveError::Order(OrderError::Unknown))?;
        self.shown(from, &Wanted::Step(Box::new(Change::Out(id, awaits)))).await?;
        Ok(format!("{copied} records copied; group {from} has let go of it"))
    }

    /// Copies what is left, and takes over. Returns how many records that were.
    async fn take_over(
        &self,
        prefix: Prefix,
        from: GroupId,
        to: GroupId,
        id: TransferId,
        root: Digest,
    ) -> Result<u64, MoveError> {
        let left: Evidence = self.shown(from, &Wanted::Show(true)).await?;
        let (copied, records) = self.adopted(prefix, from, to).await?;
        if copied != root {
            return Err(MoveError::OtherRoot);
        }
        self.shown(to, &Wanted::Step(Box::new(Change::Take(id, left)))).await?;
        Ok(records)
    }

    async fn adopted(&self, prefix: Prefix, from: GroupId, to: GroupId) -> Result<(Digest, u64), MoveError> {
        match self.order(to, &Wanted::Adopt(prefix, from)).await? {
            End::Adopted(root, records) => Ok((root, records)),
            _ => Err(MoveError::Order(OrderError::Unknown)),
        }
    }
}

/// Prefixes, for people.
pub(crate) fn listed(prefixes: impl Iterator<Item = Prefix>) -> String {
    let name = |prefix: Prefix| if prefix.len() == 0 { "all".to_owned() } else { prefix.to_string() };
    let names: Vec<String> = prefixes.map(name).collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_proto::entry::Partition;
    use strongroom_proto::ids::{EntryHash, HsmId, Index, Mac, RealmId, Term};

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

    fn incoming(id: TransferId, prefix: Prefix, decisions: u64) -> Transfer {
        Transfer::Incoming { id, source: HERE, prefix, decisions }
    }

    fn outgoing(id: TransferId, prefix: Prefix) -> Transfer {
        Transfer::Outgoing { id, destination: THERE, prefix, root: Digest([9; 32]), decisions: 0 }
    }

    #[test]
    fn the_next_step_follows_from_what_both_groups_have_committed() {
        let (moves, stays) = Prefix::WHOLE.children().expect("it has halves");
        let other = TransferId([8; 16]);
        let here = |owned: &[Prefix], transfers, open| entry(HERE, owned, transfers, open);
        let there = |owned: &[Prefix], open| entry(THERE, owned, 0, open);
        let both = [moves, stays];
        for (from, to, expected) in [
            (here(&both, 3, vec![]), there(&[], vec![]), Next::Begin),
            (here(&both, 3, vec![]), there(&[], vec![incoming(ID, moves, 3)]), Next::LetGo(ID)),
            // It has decided something else since.
            (here(&both, 4, vec![]), there(&[], vec![incoming(ID, moves, 3)]), Next::GiveUp(ID)),
            (here(&[stays], 4, vec![]), there(&[], vec![incoming(ID, moves, 3)]), Next::GiveUp(ID)),
            (
                here(&[stays], 4, vec![outgoing(ID, moves)]),
                there(&[], vec![incoming(ID, moves, 3)]),
                Next::Take(ID, Digest([9; 32])),
            ),
            // What left under another id is never what is awaited under this one.
            (
                here(&[stays], 4, vec![outgoing(other, moves)]),
                there(&[], vec![incoming(ID, moves, 3)]),
                Next::GiveUp(ID),
            ),
            (here(&[stays], 4, vec![outgoing(ID, moves)]), there(&[moves], vec![]), Next::Close(ID)),
            (here(&[stays], 4, vec![]), there(&[moves], vec![]), Next::Nothing),
            // It was split, which is no decision.
            (here(&[stays], 3, vec![]), there(&[], vec![incoming(ID, moves, 3)]), Next::Refuse),
            // It left, came back, and is awaited again.
            (
                here(&both, 4, vec![outgoing(other, moves)]),
                there(&[], vec![incoming(ID, moves, 4)]),
                Next::LetGo(ID),
            ),
            (here(&[stays], 4, vec![]), there(&[], vec![]), Next::NotOwned),
            (here(&[Prefix::WHOLE], 4, vec![]), there(&[], vec![]), Next::NotOwned),
            // Another transfer of theirs is not this one.
            (
                here(&both, 3, vec![outgoing(other, stays)]),
                there(&[], vec![incoming(other, stays, 2)]),
                Next::Begin,
            ),
        ] {
            assert_eq!(next(moves, &from, &to), expected, "{from:?} {to:?}");
        }
    }

    #[test]
    fn prefixes_are_shown_as_bits_and_the_whole_space_as_all() {
        let (left, right) = Prefix::WHOLE.children().expect("it has halves");
        assert_eq!(listed([left, right].into_iter()), "0, 1");
        assert_eq!(listed([Prefix::WHOLE].into_iter()), "all");
        assert_eq!(listed(std::iter::empty()), "nothing");
    }
}
