//! The trees of a group in memory: what changed since the stored tree, and what was read from it.
//!
//! Everything else is closed: in place of what is below, there is a digest that comes from an entry. So whatever is
//! opened later is checked against the log.

use super::interface::Damage;
use crate::segment::SegmentEntry;
use crate::stored::Loaded;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::PrefixTree;
use strongroom_proto::ids::{Index, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::{ClaimedTree, Tree, TreeError};

/// Why an entry's leaves were not applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Misfit {
    /// The path to one of them is closed here.
    Closed,
    /// They are not that entry's leaves.
    Damage(Damage),
}

impl From<TreeError> for Misfit {
    fn from(error: TreeError) -> Self {
        if error == TreeError::NotOpened { Self::Closed } else { Self::Damage(Damage::Roots) }
    }
}

/// The trees of a group at one entry. A clone is cheap.
#[derive(Clone, Default)]
pub(super) struct Trees(BTreeMap<Prefix, Tree>);

impl Trees {
    /// The trees at an entry, closed.
    pub(super) fn at(entry: &Entry) -> Self {
        Self(entry.partitions.iter().map(|p| (p.prefix, Tree::closed(p.prefix, p.root))).collect())
    }

    #[cfg(test)]
    pub(super) fn of(trees: impl IntoIterator<Item = Tree>) -> Self {
        Self(trees.into_iter().map(|tree| (tree.prefix(), tree)).collect())
    }

    /// Whether they are the trees at an entry.
    pub(super) fn are_of(&self, entry: &Entry) -> bool {
        let of_entry = entry.partitions.iter().map(|p| (p.prefix, p.root));
        self.0.iter().map(|(prefix, tree)| (*prefix, tree.root())).eq(of_entry)
    }

    /// The prefixes that the group owns, ascending.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        self.0.keys().copied()
    }

    /// The prefix of the group that covers a record.
    pub(super) fn prefix_of(&self, id: &RecordId) -> Option<Prefix> {
        self.prefixes().find(|prefix| prefix.contains(id))
    }

    /// The tree of each prefix.
    pub(super) fn to_vec(&self) -> Vec<Tree> {
        self.0.values().cloned().collect()
    }

    /// Whether the path to a record is open, its sealed bytes included.
    pub(super) fn is_open(&self, id: &RecordId) -> bool {
        self.prefix_of(id).and_then(|prefix| self.0.get(&prefix)).is_some_and(|tree| tree.get(id).is_ok())
    }

    /// Opens what was read from the stored tree, as far as it belongs to these trees.
    pub(super) fn open(&mut self, loaded: &Loaded) {
        for (prefix, tree) in &mut self.0 {
            loaded.pages.iter().for_each(|page| tree.open_page(page));
            for (id, sealed) in loaded.leaves.iter().filter(|(id, _)| prefix.contains(id)) {
                // Whether they belonged here shows afterwards: the path is open or not.
                let _ = tree.open_leaf(id, Arc::clone(sealed));
            }
        }
    }

    /// Opens the paths that a leader sent with a segment, if they belong to these trees.
    pub(super) fn open_paths(&mut self, paths: &[PrefixTree]) {
        for path in paths {
            if let Some(tree) = self.0.get_mut(&path.prefix)
                && let Ok(path) = path.tree.clone().verify(path.prefix, &tree.root())
            {
                tree.open_tree(&path);
            }
        }
    }

    /// Applies an entry with its leaves, or changes nothing.
    pub(super) fn apply(&mut self, made: &SegmentEntry) -> Result<(), Misfit> {
        let entry = &made.entry;
        let mut next = if entry.index == Index(1) {
            Self(entry.partitions.iter().map(|p| (p.prefix, Tree::new(p.prefix))).collect())
        } else {
            self.clone()
        };
        if !next.0.keys().eq(entry.partitions.iter().map(|p| &p.prefix)) {
            return Err(Misfit::Damage(Damage::Partitions));
        }
        let mut changed: BTreeMap<Prefix, Vec<_>> = BTreeMap::new();
        for leaf in &made.leaves {
            let prefix = next.prefix_of(&leaf.record).ok_or(Misfit::Damage(Damage::Roots))?;
            changed.entry(prefix).or_default().push((leaf.record, Arc::<[u8]>::from(leaf.sealed.as_slice())));
        }
        for (prefix, leaves) in changed {
            next.0.get_mut(&prefix).ok_or(Misfit::Damage(Damage::Roots))?.update(leaves)?;
        }
        if !next.0.values().map(Tree::root).eq(entry.partitions.iter().map(|p| p.root)) {
            return Err(Misfit::Damage(Damage::Roots));
        }
        *self = next;
        Ok(())
    }

    /// What a batch on these records needs, one partial tree for each prefix. `None` if a path is closed or a record
    /// not covered.
    pub(super) fn partial(&self, ids: impl IntoIterator<Item = RecordId>) -> Option<Vec<PrefixTree>> {
        self.parts(ids, Tree::partial)
    }

    /// The paths to these records without their sealed bytes.
    pub(super) fn paths(&self, ids: impl IntoIterator<Item = RecordId>) -> Option<Vec<PrefixTree>> {
        self.parts(ids, Tree::paths)
    }

    fn parts(
        &self,
        ids: impl IntoIterator<Item = RecordId>,
        part: impl Fn(&Tree, &[RecordId]) -> Result<Tree, TreeError>,
    ) -> Option<Vec<PrefixTree>> {
        let mut wanted: BTreeMap<Prefix, Vec<RecordId>> = BTreeMap::new();
        for id in ids {
            wanted.entry(self.prefix_of(&id)?).or_default().push(id);
        }
        let part = |(prefix, ids): (Prefix, Vec<RecordId>)| {
            let tree = ClaimedTree::from(&part(self.0.get(&prefix)?, &ids).ok()?);
            Some(PrefixTree { prefix, tree })
        };
        wanted.into_iter().map(part).collect()
    }

    /// Closes everything except the paths to these records and the leaves beside them: some of those leaves have moved
    /// since the tree was stored.
    pub(super) fn close_all_but(&mut self, keep: &BTreeSet<RecordId>) {
        for (prefix, tree) in &mut self.0 {
            let open = |id: &RecordId| prefix.contains(id) && tree.get(id).is_ok();
            let ids: Vec<RecordId> = keep.iter().copied().filter(open).collect();
            if let Ok(part) = tree.partial_with_neighbours(&ids) {
                *tree = part;
            }
        }
    }
}

/// Which records have changed since a point of the log that the stored tree has reached, or may have reached.
///
/// The trees beside it are open on the paths to all of them.
#[derive(Clone)]
pub(super) struct Tail {
    base: Index,
    changed: VecDeque<(Index, Vec<RecordId>)>,
    records: usize,
}

impl Tail {
    /// Nothing has changed since `base`.
    pub(super) const fn new(base: Index) -> Self {
        Self { base, changed: VecDeque::new(), records: 0 }
    }

    /// Everything older than this entry is stored.
    pub(super) const fn base(&self) -> Index {
        self.base
    }

    /// How many changes there are; several changes of one record count separately.
    pub(super) const fn records(&self) -> usize {
        self.records
    }

    /// Takes note of an entry's changes; entries come in order.
    pub(super) fn push(&mut self, made: &SegmentEntry) {
        let ids: Vec<RecordId> = made.leaves.iter().map(|leaf| leaf.record).collect();
        self.note(made.entry.index, ids);
    }

    /// The same, by record ids.
    pub(super) fn note(&mut self, index: Index, ids: Vec<RecordId>) {
        self.records += ids.len();
        self.changed.push_back((index, ids));
    }

    /// The newest entry whose changes it knows, if there is one.
    pub(super) fn newest(&self) -> Option<Index> {
        self.changed.back().map(|(at, _)| *at)
    }

    /// The records that changed up to this entry.
    pub(super) fn until(&self, index: Index) -> BTreeSet<RecordId> {
        let until = self.changed.iter().take_while(|(at, _)| *at <= index);
        until.flat_map(|(_, ids)| ids).copied().collect()
    }

    /// The stored tree has reached this entry.
    pub(super) fn advance(&mut self, index: Index) {
        while let Some((_, ids)) = self.changed.pop_front_if(|(at, _)| *at <= index) {
            self.records -= ids.len();
        }
        self.base = self.base.max(index);
    }
}
