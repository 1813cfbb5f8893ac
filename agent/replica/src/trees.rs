//! The trees of a group in memory: what changed since the stored tree, and what was read from it.
//!
//! Everything else is closed: in place of what is below, there is a digest that comes from an entry. So whatever is
//! opened later is checked against the log.

use super::interface::Damage;
use crate::segment::SegmentEntry;
use crate::stored::Loaded;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use strongroom_proto::entry::{Entry, Partition};
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
pub(super) struct Trees {
    owned: BTreeMap<Prefix, Tree>,
    /// Those that left the group, as they were then and with the entry that let them go, until they are stored so: nobody
    /// else has what changed in them last.
    gone: BTreeMap<Prefix, (Index, Tree)>,
    /// Those that were merged, and by which entry, until they are stored so: nothing that is stored shows their tops.
    merged: BTreeMap<Prefix, Index>,
    /// Those that came, and by which entry, until they are stored so: what is stored of them is not where a snapshot leads.
    came: BTreeMap<Prefix, Index>,
}

impl Trees {
    /// The trees at an entry, closed.
    pub(super) fn at(entry: &Entry) -> Self {
        let closed = |p: &Partition| (p.prefix, Tree::closed(p.prefix, p.root));
        Self { owned: entry.partitions.iter().map(closed).collect(), ..Self::default() }
    }

    #[cfg(test)]
    pub(super) fn of(trees: impl IntoIterator<Item = Tree>) -> Self {
        let owned = trees.into_iter().map(|tree| (tree.prefix(), tree)).collect();
        Self { owned, ..Self::default() }
    }

    /// Whether they are the trees at an entry.
    pub(super) fn are_of(&self, entry: &Entry) -> bool {
        let of_entry = entry.partitions.iter().map(|p| (p.prefix, p.root));
        self.owned.iter().map(|(prefix, tree)| (*prefix, tree.root())).eq(of_entry)
    }

    /// The prefixes that the group owns, ascending.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        self.owned.keys().copied()
    }

    /// The prefix of the group that covers a record.
    pub(super) fn prefix_of(&self, id: &RecordId) -> Option<Prefix> {
        self.prefixes().find(|prefix| prefix.contains(id))
    }

    /// The tree of each prefix, and those that left the group after `stored`.
    pub(super) fn to_store(&self, stored: Index) -> Vec<Tree> {
        let gone = self.gone.values().filter(|(at, _)| *at > stored).map(|(_, tree)| tree);
        self.owned.values().chain(gone).cloned().collect()
    }

    /// The topmost node of a prefix's tree alone.
    pub(super) fn top(&self, prefix: &Prefix) -> Option<Result<ClaimedTree, TreeError>> {
        self.owned.get(prefix).map(|tree| tree.top().map(|top| ClaimedTree::from(&top)))
    }

    /// Whether the path to a record is open, its sealed bytes included.
    pub(super) fn is_open(&self, id: &RecordId) -> bool {
        self.prefix_of(id).and_then(|prefix| self.owned.get(&prefix)).is_some_and(|tree| tree.get(id).is_ok())
    }

    /// Opens what was read from the stored tree, as far as it belongs to these trees.
    pub(super) fn open(&mut self, loaded: &Loaded) {
        for (prefix, tree) in &mut self.owned {
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
            if let Some(tree) = self.owned.get_mut(&path.prefix)
                && let Ok(path) = path.tree.clone().verify(path.prefix, &tree.root())
            {
                tree.open_tree(&path);
            }
        }
    }

    /// Applies an entry with its leaves, or changes nothing.
    pub(super) fn apply(&mut self, made: &SegmentEntry) -> Result<(), Misfit> {
        let entry = &made.entry;
        let mut next = self.clone();
        if entry.index == Index(1) {
            next.owned = entry.partitions.iter().map(|p| (p.prefix, Tree::new(p.prefix))).collect();
        }
        next.own_as(entry)?;
        let mut changed: BTreeMap<Prefix, Vec<_>> = BTreeMap::new();
        for leaf in &made.leaves {
            let prefix = next.prefix_of(&leaf.record).ok_or(Misfit::Damage(Damage::Roots))?;
            changed.entry(prefix).or_default().push((leaf.record, Arc::<[u8]>::from(leaf.sealed.as_slice())));
        }
        for (prefix, leaves) in changed {
            next.owned.get_mut(&prefix).ok_or(Misfit::Damage(Damage::Roots))?.update(leaves)?;
        }
        if !next.owned.values().map(Tree::root).eq(entry.partitions.iter().map(|p| p.root)) {
            return Err(Misfit::Damage(Damage::Roots));
        }
        *self = next;
        Ok(())
    }

    /// The trees whose tops must be open for an entry, because it splits or merges them.
    pub(super) fn opened_by(&self, entry: &Entry) -> Vec<Prefix> {
        let is_new = |p: &Partition| !self.owned.contains_key(&p.prefix);
        if !entry.partitions.iter().any(is_new) {
            return Vec::new();
        }
        let stays = |prefix: &Prefix| entry.partitions.iter().any(|p| p.prefix == *prefix);
        self.prefixes().filter(|prefix| !stays(prefix)).collect()
    }

    /// Owns what an entry says, if a split, a merge, or a step of one transfer leads there.
    fn own_as(&mut self, entry: &Entry) -> Result<(), Misfit> {
        let after = |prefix: &Prefix| entry.partitions.iter().find(|p| p.prefix == *prefix);
        let left: Vec<Prefix> = self.prefixes().filter(|prefix| after(prefix).is_none()).collect();
        let new = entry.partitions.iter().filter(|p| !self.owned.contains_key(&p.prefix));
        let new: Vec<Partition> = new.copied().collect();
        match (left.as_slice(), new.as_slice()) {
            ([], []) => {}
            ([whole], [a, b]) if whole.children() == Some((a.prefix, b.prefix)) => {
                let tree = self.owned.remove(whole).ok_or(Misfit::Damage(Damage::Partitions))?;
                let (left, right) = tree.split()?;
                self.owned.extend([(a.prefix, left), (b.prefix, right)]);
            }
            ([a, b], [whole]) if whole.prefix.children() == Some((*a, *b)) => {
                let halves = self.owned.remove(a).zip(self.owned.remove(b));
                let (left, right) = halves.ok_or(Misfit::Damage(Damage::Partitions))?;
                self.owned.insert(whole.prefix, Tree::join(&left, &right)?);
                self.merged.insert(whole.prefix, entry.index);
            }
            ([gone], []) => {
                let tree = self.owned.remove(gone).ok_or(Misfit::Damage(Damage::Partitions))?;
                self.gone.insert(*gone, (entry.index, tree));
            }
            ([], [come]) if self.prefixes().all(|prefix| !prefix.overlaps(&come.prefix)) => {
                self.gone.retain(|prefix, _| !prefix.overlaps(&come.prefix));
                self.owned.insert(come.prefix, Tree::closed(come.prefix, come.root));
                self.came.insert(come.prefix, entry.index);
            }
            _ => return Err(Misfit::Damage(Damage::Partitions)),
        }
        Ok(())
    }

    /// The stored tree has reached this entry.
    pub(super) fn stored(&mut self, index: Index) {
        self.gone.retain(|_, (at, _)| *at > index);
        self.merged.retain(|_, at| *at > index);
        self.came.retain(|_, at| *at > index);
    }

    /// Whether something of a prefix came, and is not stored so.
    pub(super) fn has_just_come(&self, prefix: &Prefix) -> bool {
        self.came.keys().any(|came| came.overlaps(prefix))
    }

    /// Whether something left, came or was merged, and is not stored so.
    pub(super) fn are_unstored(&self) -> bool {
        !(self.gone.is_empty() && self.merged.is_empty() && self.came.is_empty())
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
            let tree = ClaimedTree::from(&part(self.owned.get(&prefix)?, &ids).ok()?);
            Some(PrefixTree { prefix, tree })
        };
        wanted.into_iter().map(part).collect()
    }

    /// Closes everything except the paths to these records and the leaves beside them: some of those leaves have moved
    /// since the tree was stored. A tree that was merged since stays as it is, because no stored page shows its top.
    pub(super) fn close_all_but(&mut self, keep: &BTreeSet<RecordId>) {
        let merged = |prefix: &Prefix| self.merged.contains_key(prefix);
        for (prefix, tree) in self.owned.iter_mut().filter(|(prefix, _)| !merged(prefix)) {
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
