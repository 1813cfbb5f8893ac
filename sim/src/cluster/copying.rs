//! How what another group has stored below a prefix is copied into the stored tree, in the order of `agent/src/tree/adopt.rs`:
//! leaves first, then pages, the deepest first; the next time only what has another digest. Each write is a request of its
//! own, and anything may happen between two of them.

use super::Cluster;
use super::bug::HostBug;
use super::store::StoreFault;
use super::tree::{StoredTree, Writer};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use strongroom_proto::ids::{Digest, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;
use strongroom_proto::tree::Page;
use strongroom_replica::stored::{SealedBytes, Snapshot};

/// How many pages or leaves one write has.
const AT_ONCE: usize = 3;

/// Why nothing, or not all, was copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotCopied {
    /// Whoever copies does not lead, or not any more.
    NotLeader,
    /// The store did not answer.
    Unavailable,
    /// The newest snapshot of the other group has no tree of that prefix.
    NotThere,
    /// This group has stored a tree that overlaps.
    Overlaps,
    /// Another copy to this tree is under way: two would undo each other.
    Busy,
    /// What is there now has another root.
    Foreign,
}

enum Write {
    Leaf(SealedBytes),
    Page(Prefix, Arc<[u8]>),
}

/// A copy that is under way.
pub struct Copy {
    prefix: Prefix,
    writer: Writer,
    writes: VecDeque<Write>,
    /// The root of what is copied.
    pub root: Digest,
    /// How many records are copied this time.
    pub records: u64,
}

/// What leads to the tree of a prefix, in a snapshot of the group that has it, or has let go of it.
fn root_in(snapshot: &Snapshot, prefix: &Prefix) -> Option<Digest> {
    let owned = snapshot.entry.partitions.iter().find(|p| p.prefix == *prefix).map(|p| p.root);
    let left = snapshot.entry.open.iter().find_map(|transfer| match transfer {
        Transfer::Outgoing { prefix: left, root, .. } if left == prefix => Some(*root),
        _ => None,
    });
    owned.or(left)
}

impl StoredTree {
    fn may_take(&self, writer: Writer, prefix: &Prefix) -> Result<(), NotCopied> {
        if !self.is_open(writer) {
            return Err(NotCopied::NotLeader);
        }
        let overlaps = self.tops().iter().any(|top| top.overlaps(prefix));
        if overlaps { Err(NotCopied::Overlaps) } else { Ok(()) }
    }

    fn begin_copy(&mut self, writer: Writer, prefix: Prefix, from: &Self) -> Result<Copy, NotCopied> {
        self.may_take(writer, &prefix)?;
        self.not_left_over(&prefix);
        let root = from.snapshot().and_then(|snapshot| root_in(snapshot, &prefix));
        let root = root.ok_or(NotCopied::NotThere)?;
        let writes = match self.page(&prefix) {
            None => all(&prefix, from),
            Some(page) if page.digest() == root => Vec::new(),
            Some(_) => self.changes(prefix, root, from)?,
        };
        let records = writes.iter().filter(|write| matches!(write, Write::Leaf(_))).count() as u64;
        Ok(Copy { prefix, writer, writes: writes.into(), root, records })
    }

    /// What has another digest here: leaves first, and the pages that are nearer to the root last.
    fn changes(&self, prefix: Prefix, root: Digest, from: &Self) -> Result<Vec<Write>, NotCopied> {
        let mut open = VecDeque::from([(prefix, root)]);
        let (mut pages, mut leaves) = (Vec::new(), Vec::new());
        while let Some((at, digest)) = open.pop_front() {
            let here = self.page(&at);
            if here.as_ref().is_some_and(|here| here.digest() == digest) {
                continue;
            }
            let page = from.page(&at).filter(|page| page.digest() == digest).ok_or(NotCopied::Foreign)?;
            let known =
                here.iter().flat_map(Page::leaves).map(|leaf| (leaf.record_id(), leaf.sealed_digest()));
            let known: BTreeMap<RecordId, Digest> = known.collect();
            for leaf in
                page.leaves().filter(|leaf| known.get(&leaf.record_id()) != Some(&leaf.sealed_digest()))
            {
                let id = leaf.record_id();
                leaves.push(Write::Leaf((id, from.leaf(&id).ok_or(NotCopied::Foreign)?)));
            }
            open.extend(page.below());
            pages.push(Write::Page(at, page.encode().into()));
        }
        pages.reverse();
        leaves.append(&mut pages);
        Ok(leaves)
    }

    /// Carries out the next write. Returns whether all are done.
    fn go_on_copying(&mut self, copy: &mut Copy) -> Result<bool, NotCopied> {
        self.may_take(copy.writer, &copy.prefix)?;
        let many = AT_ONCE.min(copy.writes.len());
        for write in copy.writes.drain(..many) {
            match write {
                Write::Leaf((id, sealed)) => self.put_leaf(id, sealed),
                Write::Page(prefix, page) => self.put_page(prefix, page),
            }
        }
        if !copy.writes.is_empty() {
            return Ok(false);
        }
        let root = self.page(&copy.prefix).map(|page| page.digest());
        if root == Some(copy.root) || self.bugs.has(HostBug::CopiedOnce) {
            Ok(true)
        } else {
            Err(NotCopied::Foreign)
        }
    }
}

/// Everything below a prefix.
fn all(prefix: &Prefix, from: &StoredTree) -> Vec<Write> {
    let leaves = from.leaves().filter(|(id, _)| prefix.contains(id));
    let mut writes: Vec<Write> = leaves.map(|(id, sealed)| Write::Leaf((*id, Arc::clone(sealed)))).collect();
    let is_below = |at: &Prefix| {
        at == prefix
            || at.len() > prefix.len() && at.len().is_multiple_of(4) && prefix.contains(&RecordId(*at.bits()))
    };
    let mut pages: Vec<_> = from.pages().filter(|(at, _)| is_below(at)).collect();
    pages.sort_by_key(|(at, _)| std::cmp::Reverse(at.len()));
    writes.extend(pages.into_iter().map(|(at, page)| Write::Page(*at, Arc::clone(page))));
    writes
}

impl Cluster {
    /// Begins to copy what is below a prefix of another group, at this member, as far as it is not here.
    ///
    /// # Errors
    /// [`NotCopied`].
    pub fn begin_copy(&mut self, member: usize, prefix: Prefix, from: &Self) -> Result<Copy, NotCopied> {
        let serves = self.status(member).is_some_and(|status| status.serving);
        if !serves || self.members[member].left {
            return Err(NotCopied::NotLeader);
        }
        self.copy_fault(member)?;
        let writer = (member, self.members[member].life);
        if self.copying == Some(writer) {
            return Err(NotCopied::Busy);
        }
        let mut copy = self.store.tree.begin_copy(writer, prefix, &from.store.tree)?;
        if self.bugs.has(HostBug::CopiedOnce) && self.store.tree.page(&prefix).is_some() {
            copy.writes.clear();
        }
        if self.bugs.has(HostBug::CopySkips) && copy.writes.len() > 1 {
            copy.writes.pop_front();
        }
        self.copying = Some(writer);
        Ok(copy)
    }

    /// Carries out the next write of a copy. Returns whether all are done.
    ///
    /// # Errors
    /// [`NotCopied`]. Then the copy has ended.
    pub fn go_on_copying(&mut self, copy: &mut Copy) -> Result<bool, NotCopied> {
        let went_on = self.copy_on(copy);
        if went_on != Ok(false) {
            self.copying.take_if(|writer| *writer == copy.writer);
        }
        went_on
    }

    fn copy_on(&mut self, copy: &mut Copy) -> Result<bool, NotCopied> {
        let (member, life) = copy.writer;
        if self.members[member].life != life {
            return Err(NotCopied::NotLeader);
        }
        match self.copy_fault(member) {
            Ok(()) => self.store.tree.go_on_copying(copy),
            Err(failure) => {
                // It may have been carried out.
                if self.happens(0.5) {
                    let _ = self.store.tree.go_on_copying(copy);
                }
                Err(failure)
            }
        }
    }

    fn copy_fault(&mut self, member: usize) -> Result<(), NotCopied> {
        self.store_requests += 1;
        match self.faults.store(&mut self.rng, self.store_requests, member) {
            StoreFault::None => Ok(()),
            _ => Err(NotCopied::Unavailable),
        }
    }

    /// How long the next request to the store takes.
    pub fn store_takes(&mut self) -> u64 {
        self.faults.store_delay(&mut self.rng)
    }
}
