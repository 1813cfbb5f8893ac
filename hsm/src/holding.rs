//! What a group owns: its prefixes, each with the root of its tree, and the one transfer that it may have open.
//!
//! Decides every change of that, and does nothing else. Keeps invariant 11, *the whole space, once*: a prefix leaves only
//! while the group has made no decision since the destination looked, and arrives only by the entry that let it go.

use crate::transfer::Proven;
use alloc::vec::Vec;
use strongroom_proto::entry::{Entry, MAX_PARTITIONS, MAX_PREFIX_BITS, Partition};
use strongroom_proto::hsm::Refusal;
use strongroom_proto::ids::{Digest, GroupId, RecordId, TransferId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;
use strongroom_proto::tree::{ClaimedTree, Tree, TreeError};

/// What a group owns after one of its entries.
#[derive(Clone, Default)]
pub(crate) struct Holding {
    /// In ascending order of prefix; no two of them overlap.
    pub(crate) partitions: Vec<Partition>,
    /// How many decisions about transfers the group has made.
    pub(crate) decisions: u64,
    /// The transfer that is open.
    pub(crate) transfer: Option<Transfer>,
}

impl Holding {
    /// The whole space, and nothing in it.
    pub(crate) fn whole() -> Self {
        let partitions = Vec::from([Partition { prefix: Prefix::WHOLE, root: Digest::EMPTY }]);
        Self { partitions, ..Self::default() }
    }

    pub(crate) fn after(entry: &Entry) -> Self {
        let Entry { partitions, transfers, transfer, .. } = entry;
        Self { partitions: partitions.clone(), decisions: *transfers, transfer: *transfer }
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
        self.nothing_open()?;
        self.make_room()?;
        let owns = source.entry.partitions.iter().any(|p| p.prefix == prefix);
        let is_here = self.partitions.iter().any(|p| p.prefix.overlaps(&prefix));
        if !owns || is_here || source.entry.group == own {
            return Err(Refusal::NotEvident);
        }
        let (source, decisions) = (source.entry.group, source.entry.transfers);
        self.transfer = Some(Transfer::Incoming { id, source, prefix, decisions });
        Ok(())
    }

    /// Step 2: lets go of the prefix that the destination waits for, if `own`, this group, has decided nothing since.
    pub(crate) fn let_go(&mut self, own: GroupId, destination: &Proven) -> Result<(), Refusal> {
        self.nothing_open()?;
        let Some(Transfer::Incoming { id, source, prefix, decisions }) = destination.entry.transfer else {
            return Err(Refusal::NotEvident);
        };
        if source != own || decisions != self.decisions {
            return Err(Refusal::NotEvident);
        }
        let root = self.partitions.iter().find(|p| p.prefix == prefix).ok_or(Refusal::NotCovered)?.root;
        let (destination, decisions) = (destination.entry.group, destination.entry.transfers);
        self.disown(&prefix);
        self.transfer = Some(Transfer::Outgoing { id, destination, prefix, root, decisions });
        self.decide()
    }

    /// Instead of step 2, whatever is open here: nothing that waits now is let go any more.
    pub(crate) fn decide(&mut self) -> Result<(), Refusal> {
        self.decisions = self.decisions.checked_add(1).ok_or(Refusal::Exhausted)?;
        Ok(())
    }

    /// Step 3: owns what the source has let go. Returns its prefix. The id was drawn here, so nobody lets go anything else
    /// under it.
    pub(crate) fn take(&mut self, source: &Proven) -> Result<Prefix, Refusal> {
        let (waiting, ..) = self.incoming()?;
        let Some(Transfer::Outgoing { id, prefix, root, .. }) = source.entry.transfer else {
            return Err(Refusal::NotEvident);
        };
        if id != waiting {
            return Err(Refusal::NotEvident);
        }
        self.transfer = None;
        self.own(prefix, root);
        self.decide()?;
        Ok(prefix)
    }

    /// Instead of step 3: waits no longer, because the source has decided otherwise.
    pub(crate) fn give_up(&mut self, source: &Proven) -> Result<(), Refusal> {
        let (waiting, from, decisions) = self.incoming()?;
        let let_go = matches!(source.entry.transfer, Some(Transfer::Outgoing { id, .. }) if id == waiting);
        if source.entry.group != from || source.entry.transfers <= decisions || let_go {
            return Err(Refusal::NotEvident);
        }
        self.transfer = None;
        self.decide()
    }

    /// Step 4: the destination waits no longer for what was let go here.
    pub(crate) fn close(&mut self, destination: &Proven) -> Result<(), Refusal> {
        let Some(Transfer::Outgoing { id: gone, destination: to, decisions, .. }) = self.transfer else {
            return Err(Refusal::NoTransfer);
        };
        let waits = matches!(destination.entry.transfer, Some(Transfer::Incoming { id, .. }) if id == gone);
        if destination.entry.group != to || destination.entry.transfers <= decisions || waits {
            return Err(Refusal::NotEvident);
        }
        self.transfer = None;
        Ok(())
    }

    /// The transfer that waits here: its id, from which group, and how many decisions that had made.
    fn incoming(&self) -> Result<(TransferId, GroupId, u64), Refusal> {
        match self.transfer {
            Some(Transfer::Incoming { id, source, decisions, .. }) => Ok((id, source, decisions)),
            _ => Err(Refusal::NoTransfer),
        }
    }

    pub(crate) fn nothing_open(&self) -> Result<(), Refusal> {
        if self.transfer.is_some() { Err(Refusal::TransferOpen) } else { Ok(()) }
    }

    /// Refuses if one prefix more would be too many, counting the one that is to come.
    fn make_room(&self) -> Result<(), Refusal> {
        let coming = usize::from(matches!(self.transfer, Some(Transfer::Incoming { .. })));
        let taken = self.partitions.len().saturating_add(coming);
        if taken >= MAX_PARTITIONS { Err(Refusal::NoRoomForPrefix) } else { Ok(()) }
    }

    fn own(&mut self, prefix: Prefix, root: Digest) {
        let at = self.partitions.partition_point(|p| p.prefix < prefix);
        self.partitions.insert(at, Partition { prefix, root });
    }

    fn disown(&mut self, prefix: &Prefix) {
        self.partitions.retain(|p| p.prefix != *prefix);
    }
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
