//! Moving a prefix from one group to another, a step at a time.
//!
//! Decides what the next step is from what both groups have committed, and from nothing else: whoever asks for it, and
//! however often, after whatever was lost, goes on where the groups are. HSMs decide whether a step is right; what is
//! decided here is only that records are copied before they are needed.

use crate::interface::Order;
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

/// What a move needs next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// Have the leader of this group carry this out. Ends in [`Outcome::Shown`].
    Order(GroupId, Order),
    /// Have the leader of the group that is to have the prefix copy what the other one has stored below it. Ends in
    /// [`Outcome::Copied`].
    Copy,
    /// Nothing more: the step is done.
    Done(Did),
}

/// How a task ended that went well. One that did not ends the step; the next one goes on where the groups are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is done, as this shows.
    Shown(Box<Evidence>),
    /// What lies below this root was copied, so many records of it this time.
    Copied(Digest, u64),
}

/// Which step was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Did {
    /// None: the group has the prefix.
    HasIt,
    /// None: the other group does not own it.
    NotOwned,
    /// So many records were copied, and the other group has let go of it.
    Begun(u64),
    /// The other group has let go of what was awaited before.
    LetGo,
    /// The other group lets go of nothing that is awaited now.
    Refused,
    /// The group waits no longer.
    GivenUp,
    /// The group has taken it over, with so many records that had changed.
    Taken(u64),
    /// The other group has closed the move. Whether the group had the prefix then: it may have passed it on.
    Closed(bool),
}

/// Why a step was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotMoved {
    /// What was copied has another root than what was let go.
    #[error(
        "what was copied is not what the group let go: run the command again; if this lasts, run `check`"
    )]
    OtherRoot,
    /// What came back is not what was asked for.
    #[error("it is not known what became of the last step; run the command again: it looks, and goes on")]
    Unknown,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

/// Which task is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// Nothing is: this is to be done.
    Decided(Next),
    /// The other group stores what it has, so that it can be copied.
    Storing,
    Copying,
    /// The other group shows once more what it has.
    Looking,
    Awaiting,
    LettingGo(Did),
    Refusing,
    GivingUp,
    /// The other group stores what has left.
    StoringTheRest(TransferId, Digest),
    CopyingTheRest(TransferId, Digest),
    Taking,
    /// The group stores what it has taken.
    StoringWhatCame(TransferId),
    Closing,
}

/// One step of a move, of one or several tasks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    prefix: Prefix,
    source: Evidence,
    destination: Evidence,
    at: At,
    /// What the destination awaits already.
    awaited: Option<TransferId>,
    copied: u64,
    rounds: usize,
}

impl Move {
    /// The next step of moving a prefix, where this is what both groups have committed.
    #[must_use]
    pub fn new(prefix: Prefix, source: Evidence, destination: Evidence) -> Self {
        let at = At::Decided(next(prefix, &source.entry, &destination.entry));
        Self { prefix, source, destination, at, awaited: None, copied: 0, rounds: 0 }
    }

    /// Whether it goes on with a move that has begun and is not over.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        !matches!(self.at, At::Decided(Next::Begin | Next::Nothing | Next::NotOwned))
    }

    /// The next task, after this outcome of the one before.
    ///
    /// # Errors
    /// [`NotMoved`]; then the step is over.
    pub fn go_on(&mut self, outcome: Option<Outcome>) -> Result<Task, NotMoved> {
        let shown = match (&outcome, self.at) {
            (None, At::Decided(next)) => return Ok(self.begin(next)),
            (Some(Outcome::Copied(_, records)), At::Copying) => return Ok(self.copied(*records)),
            (Some(Outcome::Copied(root, records)), At::CopyingTheRest(id, left)) => {
                return if *root == left { Ok(self.take(id, *records)) } else { Err(NotMoved::OtherRoot) };
            }
            (Some(Outcome::Shown(shown)), _) => (**shown).clone(),
            _ => return Err(NotMoved::Unknown),
        };
        self.shown(shown)
    }

    fn begin(&mut self, next: Next) -> Task {
        match next {
            Next::Nothing => Task::Done(Did::HasIt),
            Next::NotOwned => Task::Done(Did::NotOwned),
            Next::Begin => self.source(At::Storing, Order::Show { stored: true }),
            // It may have waited for long.
            Next::LetGo(id) => {
                self.awaited = Some(id);
                self.source(At::Storing, Order::Show { stored: true })
            }
            Next::Refuse => self.source(At::Refusing, step(Change::Refuse)),
            Next::GiveUp(id) => {
                let change = Change::GiveUp(id, self.source.clone());
                self.destination(At::GivingUp, step(change))
            }
            Next::Take(id, root) => self.source(At::StoringTheRest(id, root), Order::Show { stored: true }),
            // It has passed on all that it had, and whoever has it now has stored it.
            Next::Close(id) if self.destination.entry.last => {
                self.source(At::Closing, step(Change::Close(id, self.destination.clone())))
            }
            // Nothing that left is forgotten before it is stored where it went.
            Next::Close(id) => self.destination(At::StoringWhatCame(id), Order::Show { stored: true }),
        }
    }

    fn source(&mut self, at: At, order: Order) -> Task {
        self.at = at;
        Task::Order(self.source.entry.group, order)
    }

    fn destination(&mut self, at: At, order: Order) -> Task {
        self.at = at;
        Task::Order(self.destination.entry.group, order)
    }

    /// Copies until little is left, and then has the prefix leave.
    fn copied(&mut self, records: u64) -> Task {
        self.copied = self.copied.saturating_add(records);
        self.rounds = self.rounds.saturating_add(1);
        if records > FEW && self.rounds < ROUNDS {
            return self.source(At::Storing, Order::Show { stored: true });
        }
        match self.awaited {
            Some(id) => {
                let out = Change::Out(id, self.destination.clone());
                self.source(At::LettingGo(Did::LetGo), step(out))
            }
            None => self.source(At::Looking, Order::Show { stored: false }),
        }
    }

    fn take(&mut self, id: TransferId, records: u64) -> Task {
        self.copied = records;
        let change = Change::Take(id, self.source.clone());
        self.destination(At::Taking, step(change))
    }

    fn shown(&mut self, shown: Evidence) -> Result<Task, NotMoved> {
        Ok(match self.at {
            At::Storing => {
                self.at = At::Copying;
                Task::Copy
            }
            At::Looking => {
                self.source = shown;
                let change = Change::In(self.prefix, self.source.clone());
                self.destination(At::Awaiting, step(change))
            }
            At::Awaiting => {
                let id = shown.entry.open.iter().find(|open| open.prefix() == self.prefix);
                let id = id.map(Transfer::id).ok_or(NotMoved::Unknown)?;
                self.source(At::LettingGo(Did::Begun(self.copied)), step(Change::Out(id, shown)))
            }
            At::LettingGo(did) => Task::Done(did),
            At::Refusing => Task::Done(Did::Refused),
            At::GivingUp => Task::Done(Did::GivenUp),
            At::StoringTheRest(id, root) => {
                (self.source, self.at) = (shown, At::CopyingTheRest(id, root));
                Task::Copy
            }
            At::Taking => Task::Done(Did::Taken(self.copied)),
            At::StoringWhatCame(id) => self.source(At::Closing, step(Change::Close(id, shown))),
            At::Closing => {
                let owned = &self.destination.entry.partitions;
                Task::Done(Did::Closed(owned.iter().any(|p| p.prefix == self.prefix)))
            }
            At::Decided(_) | At::Copying | At::CopyingTheRest(..) => return Err(NotMoved::Unknown),
        })
    }
}

fn step(change: Change) -> Order {
    Order::Step(Box::new(change))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_proto::entry::Partition;
    use strongroom_proto::ids::{EntryHash, HsmId, Index, Mac, RealmId, Term};
    use strongroom_proto::statement::Committed;

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
    fn a_move_to_a_group_that_has_retired_is_closed_by_its_last_entry_and_none_is_awaited_from_one() {
        let (moves, stays) = Prefix::WHOLE.children().expect("it has halves");
        let evidence = |entry: Entry| {
            let committed = Committed {
                index: entry.index,
                hash: EntryHash([0; 32]),
                hsm: HsmId([3; 16]),
                mac: Mac(Digest([5; 32])),
            };
            Evidence { entry, committed }
        };
        let left = evidence(entry(HERE, &[stays], 4, vec![outgoing(ID, moves)]));
        let retired = evidence(Entry { last: true, ..entry(THERE, &[], 7, vec![]) });
        let mut step = Move::new(moves, left, retired.clone());
        assert!(step.has_begun());
        let closes = Change::Close(ID, retired);
        assert_eq!(step.go_on(None), Ok(Task::Order(HERE, Order::Step(Box::new(closes)))));

        let source = evidence(Entry { last: true, ..entry(HERE, &[], 7, vec![]) });
        let awaits = evidence(entry(THERE, &[], 0, vec![incoming(ID, moves, 3)]));
        let mut step = Move::new(moves, source.clone(), awaits);
        let gives_up = Change::GiveUp(ID, source);
        assert_eq!(step.go_on(None), Ok(Task::Order(THERE, Order::Step(Box::new(gives_up)))));
    }
}
