//! A simulated stored tree: pages, leaves and a snapshot that move forward in one step, and one writer at a time.
//!
//! Trusted for availability alone, like the real one. What is loaded is not compared with any root: the reader does
//! that.

use super::bug::{HostBug, HostBugs};
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_proto::ids::{Digest, RecordId, TransferId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;
use strongroom_proto::tree::{Onward, Page};
use strongroom_replica::leftover::{Leftover, noted, without};
use strongroom_replica::stored::{
    Advance, Loaded, SealedBytes, Snapshot, TreeDamage, TreeFailure, older_pages, stored_top,
};

/// How often a writer that others have shut out can still read.
const UNNOTICED_READS: u8 = 3;

/// One life of one member's agent.
pub(super) type Writer = (usize, u64);

/// What is durable.
#[derive(Clone, Default)]
struct Stored {
    snapshot: Option<Snapshot>,
    /// What has left, and is still here.
    leftovers: Vec<Leftover>,
    pages: BTreeMap<Prefix, Arc<[u8]>>,
    leaves: BTreeMap<RecordId, Arc<[u8]>>,
}

/// A tree that an agent has opened.
enum Handle {
    Open,
    /// Another agent has opened it since. This many more reads find what was there then before that is noticed.
    Fenced(u8, Box<Stored>),
}

/// The stored tree of the group.
#[derive(Default)]
pub struct StoredTree {
    stored: Stored,
    handles: BTreeMap<Writer, Handle>,
    openings: u64,
    /// Whether something was removed: then the tree is not checked.
    is_damaged: bool,
    /// Whether pages and leaves may stay that no root leads to, because other groups copy theirs here, and take them away.
    pub(super) keeps_more: bool,
    /// The bytes that leaves had before, kept only for a planted bug.
    replaced: BTreeMap<RecordId, Arc<[u8]>>,
    pub(super) bugs: HostBugs,
}

impl StoredTree {
    /// What it reaches.
    #[must_use]
    pub const fn snapshot(&self) -> Option<&Snapshot> {
        self.stored.snapshot.as_ref()
    }

    /// How often it was opened for writing.
    #[must_use]
    pub const fn openings(&self) -> u64 {
        self.openings
    }

    /// The records whose leaves it has.
    pub fn records(&self) -> impl Iterator<Item = &RecordId> {
        self.stored.leaves.keys()
    }

    /// Removes a leaf, as no store should.
    pub fn lose_leaf(&mut self, id: &RecordId) -> Option<Arc<[u8]>> {
        self.is_damaged = true;
        self.stored.leaves.remove(id)
    }

    /// Removes a page, as no store should.
    pub fn lose_page(&mut self, prefix: &Prefix) -> Option<Arc<[u8]>> {
        self.is_damaged = true;
        self.stored.pages.remove(prefix)
    }

    pub(super) fn open(&mut self, writer: Writer) -> Option<Snapshot> {
        for handle in self.handles.values_mut().filter(|handle| matches!(handle, Handle::Open)) {
            *handle = Handle::Fenced(UNNOTICED_READS, Box::new(self.stored.clone()));
        }
        self.openings += 1;
        self.handles.insert(writer, Handle::Open);
        self.stored.snapshot.clone()
    }

    pub(super) fn is_open(&self, writer: Writer) -> bool {
        matches!(self.handles.get(&writer), Some(Handle::Open))
    }

    /// The prefixes of the trees in it.
    pub(super) fn tops(&self) -> Vec<Prefix> {
        self.stored.tops()
    }

    /// One page.
    pub(super) fn page(&self, at: &Prefix) -> Option<Page> {
        self.stored.pages.get(at).and_then(|bytes| Page::decode(*at, bytes).ok())
    }

    pub(super) fn pages(&self) -> impl Iterator<Item = (&Prefix, &Arc<[u8]>)> {
        self.stored.pages.iter()
    }

    pub(super) fn leaves(&self) -> impl Iterator<Item = (&RecordId, &Arc<[u8]>)> {
        self.stored.leaves.iter()
    }

    pub(super) fn leaf(&self, id: &RecordId) -> Option<Arc<[u8]>> {
        self.stored.leaves.get(id).cloned()
    }

    pub(super) fn put_page(&mut self, at: Prefix, page: Arc<[u8]>) {
        self.stored.pages.insert(at, page);
    }

    pub(super) fn put_leaf(&mut self, id: RecordId, sealed: Arc<[u8]>) {
        self.stored.leaves.insert(id, sealed);
    }

    /// What has left, and is still here.
    pub(super) fn leftovers(&self) -> &[Leftover] {
        &self.stored.leftovers
    }

    /// What has left and is open, with the roots with which it left, unless it is being copied back.
    fn left(&self) -> Vec<(Prefix, Digest)> {
        let noted = |id: &TransferId, prefix: &Prefix| {
            self.stored.leftovers.iter().any(|left| left.id == *id && left.prefix == *prefix)
        };
        let open = self.stored.snapshot.iter().flat_map(|snapshot| &snapshot.entry.open);
        open.filter_map(|transfer| match transfer {
            Transfer::Outgoing { id, prefix, root, .. } if noted(id, prefix) => Some((*prefix, *root)),
            _ => None,
        })
        .collect()
    }

    /// From now on, nothing below a prefix is left over.
    pub(super) fn not_left_over(&mut self, prefix: &Prefix) {
        self.stored.leftovers = without(&self.stored.leftovers, prefix);
    }

    /// Deletes so many pages and leaves, at most, of what is left over: pages before those below them, with all that lie
    /// above, and leaves last. Returns how many.
    pub(super) fn sweep(&mut self, leftover: &Leftover, most: usize) -> usize {
        let prefix = leftover.prefix;
        let is_above = |page: &Prefix| page.len() < prefix.len() && page.overlaps(&prefix);
        self.stored.pages.retain(|page, _| !is_above(page));
        let mut pages: Vec<Prefix> = self.stored.pages.keys().copied().collect();
        pages.retain(|page| page.overlaps(&prefix));
        pages.sort_by_key(Prefix::len);
        let leaves: Vec<RecordId> =
            self.stored.leaves.keys().filter(|id| prefix.contains(id)).copied().collect();
        let deleted = most.min(pages.len().saturating_add(leaves.len()));
        for page in pages.iter().take(most) {
            self.stored.pages.remove(page);
        }
        for leaf in leaves.iter().take(most.saturating_sub(pages.len())) {
            self.stored.leaves.remove(leaf);
        }
        if deleted < most {
            self.stored.leftovers.retain(|other| other != leftover);
        }
        deleted
    }

    pub(super) fn close(&mut self, writer: Writer) {
        self.handles.remove(&writer);
    }

    /// Stores the next snapshot, whole or not at all.
    ///
    /// # Panics
    /// If what is being stored is not what has changed.
    pub(super) fn advance(&mut self, writer: Writer, advance: Advance) -> Result<(), TreeFailure> {
        match self.handles.get(&writer) {
            Some(Handle::Open) => {}
            Some(Handle::Fenced(..)) if self.bugs.has(HostBug::FenceIgnored) => {}
            Some(Handle::Fenced(..)) => return Err(TreeFailure::Fenced),
            None => return Err(TreeFailure::Unavailable),
        }
        let before = self.stored.tops();
        let mut pages = advance.pages(&before).expect("the paths to what changed are open");
        for page in &mut pages {
            let (above, below) = older_pages(&page.prefix(), &before);
            let stored = |prefix: &Prefix| {
                let bytes = self.stored.pages.get(prefix)?;
                Some(Page::decode(*prefix, bytes).expect("what was stored is a page"))
            };
            for older in above.iter().filter_map(stored) {
                page.complete(&older);
                if page.is_whole() {
                    break;
                }
            }
            below.iter().filter_map(stored).for_each(|older| page.complete(&older));
            assert!(
                page.is_whole(),
                "the page {:?} lacks what has not changed, and so does the stored one",
                page.prefix()
            );
        }
        for prefix in advance.outdated(&before, &pages) {
            self.stored.pages.remove(&prefix);
        }
        for page in pages {
            self.stored.pages.insert(page.prefix(), page.encode().into());
        }
        for (id, sealed) in advance.leaves().expect("the leaves that changed are open") {
            let before = self.stored.leaves.insert(id, sealed);
            self.replaced.extend(before.filter(|_| self.bugs.has(HostBug::OlderLeaf)).map(|old| (id, old)));
        }
        if self.bugs.has(HostBug::LeftForgotten) {
            let gone = |prefix: &Prefix| !advance.snapshot.prefixes().iter().any(|top| top.overlaps(prefix));
            self.stored.pages.retain(|prefix, _| !gone(prefix));
        }
        let before = self.stored.snapshot.as_ref().map(|snapshot| &snapshot.entry);
        self.stored.leftovers = noted(&self.stored.leftovers, before, &advance.snapshot.entry);
        if !self.bugs.has(HostBug::AdvanceTorn) {
            self.stored.snapshot = Some(advance.snapshot);
        }
        Ok(())
    }

    /// Reads the paths to these records.
    pub(super) fn load(
        &mut self,
        writer: Writer,
        records: &[(Prefix, RecordId)],
    ) -> Result<Loaded, TreeFailure> {
        let stored = match self.handles.get_mut(&writer) {
            Some(Handle::Open) => &self.stored,
            Some(Handle::Fenced(0, _)) => return Err(TreeFailure::Fenced),
            Some(Handle::Fenced(left, then)) => {
                *left -= 1;
                then
            }
            None => return Err(TreeFailure::Unavailable),
        };
        let mut pages = BTreeMap::new();
        let mut loaded = Loaded::default();
        for (prefix, id) in records {
            match stored.walk(*prefix, id, &mut pages) {
                Ok(None) => {}
                Ok(Some(leaf)) => {
                    loaded.leaves.push(self.replaced.get(id).map_or(leaf, |old| (*id, old.clone())))
                }
                Err(damage) => loaded.damaged.push((*id, damage)),
            }
        }
        // A prefix sorts before those that it contains.
        loaded.pages = pages.into_values().collect();
        Ok(loaded)
    }

    /// Checks that everything below these roots is there, and nothing else of their prefixes is.
    ///
    /// # Panics
    /// If it is not.
    pub(super) fn check(&self, roots: impl Iterator<Item = (Prefix, Digest)>) {
        if self.is_damaged {
            return;
        }
        let roots: Vec<(Prefix, Digest)> = roots.collect();
        let (pages, leaves) = self.check_below(roots.iter().copied());
        self.check_below(self.left().into_iter());
        // Before any snapshot there is nothing at all.
        let nothing = roots.is_empty();
        let is_of = |id: &RecordId| nothing || roots.iter().any(|(prefix, _)| prefix.contains(id));
        if self.keeps_more {
            return;
        }
        let pages_there = self.stored.pages.keys().filter(|page| is_of(&RecordId(*page.bits())));
        let there = (pages_there.count(), self.stored.leaves.keys().filter(|id| is_of(id)).count());
        assert_eq!(there, (pages, leaves), "the stored tree has pages or leaves that no root leads to");
    }

    /// Checks that everything below these roots is there. Returns how many pages and leaves that is.
    ///
    /// # Panics
    /// If it is not.
    pub fn check_below(&self, roots: impl Iterator<Item = (Prefix, Digest)>) -> (usize, usize) {
        let mut open: Vec<(Prefix, Digest)> = roots.collect();
        let (mut pages, mut leaves) = (0, 0);
        while let Some((prefix, digest)) = open.pop() {
            let bytes = self.stored.pages.get(&prefix);
            let bytes = bytes.unwrap_or_else(|| panic!("the stored tree lacks the page {prefix:?}"));
            let page = Page::decode(prefix, bytes).expect("what was stored is a page");
            assert_eq!(page.digest(), digest, "the stored page {prefix:?} is not of the snapshot");
            for leaf in page.leaves() {
                let sealed = self.stored.leaves.get(&leaf.record_id());
                let digest = sealed.map(|sealed| {
                    strongroom_proto::hash::hash(strongroom_proto::hash::label::SEALED, &[sealed])
                });
                assert_eq!(digest, Some(leaf.sealed_digest()), "a stored leaf is not of the snapshot");
                leaves += 1;
            }
            pages += 1;
            open.extend(page.below());
        }
        (pages, leaves)
    }
}

impl Stored {
    /// The prefixes of the trees in it.
    fn tops(&self) -> Vec<Prefix> {
        self.snapshot.as_ref().map(Snapshot::prefixes).unwrap_or_default()
    }

    /// Reads the pages on the path to a record that are not yet in `pages`, and its leaf.
    fn walk(
        &self,
        prefix: Prefix,
        id: &RecordId,
        pages: &mut BTreeMap<Prefix, Page>,
    ) -> Result<Option<SealedBytes>, TreeDamage> {
        let mut at = stored_top(&self.tops(), prefix, id);
        loop {
            let bytes = self.pages.get(&at).ok_or(TreeDamage::NoPage(at))?;
            let page = Page::decode(at, bytes).map_err(|bad| TreeDamage::Page(at, bad))?;
            let onward = page.onward(id).map_err(|bad| TreeDamage::Page(at, bad))?;
            pages.insert(at, page);
            match onward {
                Onward::Absent => return Ok(None),
                Onward::Leaf(_) => {
                    let sealed = self.leaves.get(id).ok_or(TreeDamage::NoLeaf(*id))?;
                    return Ok(Some((*id, Arc::clone(sealed))));
                }
                Onward::Page(next) => at = next,
            }
        }
    }
}
