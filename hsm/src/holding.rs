//! What a group owns: its prefixes, each with the root of its tree, and the transfers that it has open.
//!
//! Decides every change of that, and does nothing else. Keeps invariant 11, *the whole space, once*: a prefix leaves only
//! while the group has made no decision since the destination looked, and arrives only by the entry that let it go.

use alloc::vec::Vec;
use strongroom_proto::entry::{Entry, MAX_AWAITED, MAX_OPEN, MAX_PARTITIONS, MAX_PREFIX_BITS, Partition};
use strongroom_proto::hsm::Refusal;
use strongroom_proto::ids::{Digest, GroupId, RecordId, TransferId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;
use strongroom_proto::tree::{ClaimedTree, Tree, TreeError};

/// An entry that is committed: no other chain of that group can have a majority, now or later.
pub(crate) struct Proven {
    pub(crate) entry: Entry,
}

/// What a group owns after one of its entries.
#[derive(Clone, Default)]
pub(crate) struct Holding {
    /// In ascending order of prefix; no two of them overlap.
    pub(crate) partitions: Vec<Partition>,
    /// How many decisions about transfers the group has made.
    pub(crate) decisions: u64,
    /// The transfers that are open, the oldest first. Every entry repeats them, so that whatever is committed shows them.
    pub(crate) open: Vec<Transfer>,
    /// The group has retired: no entry follows.
    pub(crate) last: bool,
}

impl Holding {
    /// The whole space, and nothing in it.
    pub(crate) fn whole() -> Self {
        let partitions = Vec::from([Partition { prefix: Prefix::WHOLE, root: Digest::EMPTY }]);
        Self { partitions, ..Self::default() }
    }

    pub(crate) fn after(entry: &Entry) -> Self {
        let Entry { partitions, transfers, open, last, .. } = entry;
        Self { partitions: partitions.clone(), decisions: *transfers, open: open.clone(), last: *last }
    }

    /// Whether the group owns this record's prefix.
    pub(crate) fn covers(&self, record: &RecordId) -> bool {
        self.partitions.iter().any(|p| p.prefix.contains(record))
    }

    /// The tree of a prefix that the group owns, checked against its root.
    pub(crate) fn open(&self, prefix: Prefix, tree: ClaimedTree) -> Result<Tree, Refusal> {
        let partition = self.partitions.iter().find(|p| p.prefix == prefix).ok_or(Refusal::NotCovered)?;
        tree.verify(prefix, &partition.root).map_err(refusal)
    }

    /// The tree's prefix has its root from now on.
    pub(crate) fn renew(&mut self, tree: &Tree) {
        let of_tree = self.partitions.iter_mut().filter(|p| p.prefix == tree.prefix());
        of_tree.for_each(|partition| partition.root = tree.root());
    }

    /// Owns the halves of a prefix that it owns.
    pub(crate) fn split(&mut self, prefix: Prefix, tree: ClaimedTree) -> Result<(), Refusal> {
        let (left, right) = self.open(prefix, tree)?.halves().map_err(refusal)?;
        let halves = prefix.children().filter(|(half, _)| half.len() <= MAX_PREFIX_BITS);
        let halves = halves.ok_or(Refusal::NoRoomForPrefix)?;
        self.make_room()?;
        self.disown(&prefix);
        self.own(halves.0, left);
        self.own(halves.1, right);
        Ok(())
    }

    /// Owns as one a prefix whose halves it owns.
    pub(crate) fn merge(
        &mut self,
        prefix: Prefix,
        left: ClaimedTree,
        right: ClaimedTree,
    ) -> Result<(), Refusal> {
        let halves = prefix.children().ok_or(Refusal::NotCovered)?;
        let (left, right) = (self.open(halves.0, left)?, self.open(halves.1, right)?);
        let root = Tree::joined(&left, &right).map_err(refusal)?;
        self.disown(&halves.0);
        self.disown(&halves.1);
        self.own(prefix, root);
        Ok(())
    }

    /// Step 1: waits for a prefix that the source owns, which is not `own`, this group.
    pub(crate) fn wait(
        &mut self,
        own: GroupId,
        id: TransferId,
        prefix: Prefix,
        source: &Proven,
    ) -> Result<(), Refusal> {
        self.make_room()?;
        self.make_room_to_open(MAX_AWAITED)?;
        let owns = source.entry.partitions.iter().any(|p| p.prefix == prefix);
        let awaited = self.open.iter().filter(|transfer| matches!(transfer, Transfer::Incoming { .. }));
        let mut here = self.partitions.iter().map(|p| p.prefix).chain(awaited.map(Transfer::prefix));
        let is_here = here.any(|other| other.overlaps(&prefix));
        if !owns || is_here || source.entry.group == own {
            return Err(Refusal::NotEvident);
        }
        let (source, decisions) = (source.entry.group, source.entry.transfers);
        self.open.push(Transfer::Incoming { id, source, prefix, decisions });
        Ok(())
    }

    /// Step 2: lets go of the prefix that the destination waits for, if `own`, this group, has decided nothing since.
    pub(crate) fn let_go(
        &mut self,
        own: GroupId,
        id: TransferId,
        destination: &Proven,
    ) -> Result<(), Refusal> {
        self.make_room_to_open(MAX_OPEN)?;
        let awaited = incoming(&destination.entry.open, id).ok_or(Refusal::NotEvident)?;
        if awaited.source != own || awaited.decisions != self.decisions {
            return Err(Refusal::NotEvident);
        }
        let prefix = awaited.prefix;
        let root = self.partitions.iter().find(|p| p.prefix == prefix).ok_or(Refusal::NotCovered)?.root;
        let (destination, decisions) = (destination.entry.group, destination.entry.transfers);
        self.disown(&prefix);
        self.open.push(Transfer::Outgoing { id, destination, prefix, root, decisions });
        self.decide()
    }

    /// Instead of step 2, whatever is open here: nothing that waits now is let go any more.
    pub(crate) fn decide(&mut self) -> Result<(), Refusal> {
        self.decisions = self.decisions.checked_add(1).ok_or(Refusal::Exhausted)?;
        Ok(())
    }

    /// Step 3: owns what the source has let go. The id was drawn here, so nobody lets go anything else under it.
    pub(crate) fn take(&mut self, id: TransferId, source: &Proven) -> Result<(), Refusal> {
        incoming(&self.open, id).ok_or(Refusal::NoTransfer)?;
        let gone = outgoing(&source.entry.open, id).ok_or(Refusal::NotEvident)?;
        self.end(id);
        self.own(gone.prefix, gone.root);
        self.decide()
    }

    /// Instead of step 3: waits no longer, because the source has decided otherwise.
    pub(crate) fn give_up(&mut self, id: TransferId, source: &Proven) -> Result<(), Refusal> {
        let awaited = incoming(&self.open, id).ok_or(Refusal::NoTransfer)?;
        let is_gone = outgoing(&source.entry.open, id).is_some();
        let is_source = source.entry.group == awaited.source;
        if !is_source || source.entry.transfers <= awaited.decisions || is_gone {
            return Err(Refusal::NotEvident);
        }
        self.end(id);
        self.decide()
    }

    /// Step 4: the destination waits no longer for what was let go here.
    pub(crate) fn close(&mut self, id: TransferId, destination: &Proven) -> Result<(), Refusal> {
        let gone = outgoing(&self.open, id).ok_or(Refusal::NoTransfer)?;
        let is_awaited = incoming(&destination.entry.open, id).is_some();
        let is_destination = destination.entry.group == gone.destination;
        if !is_destination || destination.entry.transfers <= gone.decisions || is_awaited {
            return Err(Refusal::NotEvident);
        }
        self.end(id);
        Ok(())
    }

    /// The last entry: there is nothing that nobody would own, and nothing that the other side of a transfer could ask for.
    pub(crate) fn retire(&mut self) -> Result<(), Refusal> {
        if !self.partitions.is_empty() || !self.open.is_empty() {
            return Err(Refusal::InUse);
        }
        self.last = true;
        self.decide()
    }

    /// The group on the other side of an open transfer.
    pub(crate) fn other_side(&self, id: TransferId) -> Result<GroupId, Refusal> {
        let transfer = self.open.iter().find(|transfer| transfer.id() == id);
        transfer.map(Transfer::other).ok_or(Refusal::NoTransfer)
    }

    /// Instead of step 3 or 4: the other side has retired, so it has let nothing go that waits here, and waits for nothing.
    pub(crate) fn end_retired(&mut self, id: TransferId) -> Result<(), Refusal> {
        self.end(id);
        self.decide()
    }

    fn end(&mut self, id: TransferId) {
        self.open.retain(|transfer| transfer.id() != id);
    }

    /// Refuses if one transfer more would be too many. Half of them are for letting go, so that a group that waits for
    /// what never comes can still give away what it owns.
    fn make_room_to_open(&self, most: usize) -> Result<(), Refusal> {
        if self.open.len() >= most { Err(Refusal::TooManyTransfers) } else { Ok(()) }
    }

    /// Refuses if one prefix more would be too many, counting one for each transfer: what is to come needs a place.
    fn make_room(&self) -> Result<(), Refusal> {
        let places = self.partitions.len().saturating_add(self.open.len());
        if places >= MAX_PARTITIONS { Err(Refusal::NoRoomForPrefix) } else { Ok(()) }
    }

    fn own(&mut self, prefix: Prefix, root: Digest) {
        let at = self.partitions.partition_point(|p| p.prefix < prefix);
        self.partitions.insert(at, Partition { prefix, root });
    }

    fn disown(&mut self, prefix: &Prefix) {
        self.partitions.retain(|p| p.prefix != *prefix);
    }
}

/// What a destination waits for.
struct Incoming {
    source: GroupId,
    prefix: Prefix,
    decisions: u64,
}

/// What a source has let go.
struct Outgoing {
    destination: GroupId,
    prefix: Prefix,
    root: Digest,
    decisions: u64,
}

fn incoming(open: &[Transfer], wanted: TransferId) -> Option<Incoming> {
    open.iter().find_map(|transfer| match *transfer {
        Transfer::Incoming { id, source, prefix, decisions } if id == wanted => {
            Some(Incoming { source, prefix, decisions })
        }
        _ => None,
    })
}

fn outgoing(open: &[Transfer], wanted: TransferId) -> Option<Outgoing> {
    open.iter().find_map(|transfer| match *transfer {
        Transfer::Outgoing { id, destination, prefix, root, decisions } if id == wanted => {
            Some(Outgoing { destination, prefix, root, decisions })
        }
        _ => None,
    })
}

/// What a tree that cannot be used means for the request that brought it.
pub(crate) fn refusal(error: TreeError) -> Refusal {
    match error {
        TreeError::NotCovered => Refusal::NotCovered,
        TreeError::NotOpened => Refusal::NotOpened,
        TreeError::WrongRoot => Refusal::StaleTree,
        _ => Refusal::Malformed,
    }
}
