//! The interface of the stored tree: what is read from it, what is written to it, and how either can fail.
//!
//! Owns these types but no store: an agent keeps the tree in an object store, the simulator in memory. What was read is
//! unproven; it counts only under a digest that comes from an entry.

use minicbor::{Decode, Decoder, Encode};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strongroom_proto::entry::Entry;
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::Committed;
use strongroom_proto::tree::{PAGE_LEVELS, Page, Tree, TreeError};

/// The entry that a stored tree reaches, with the statement that it is committed: all that a member needs to jump.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Snapshot {
    /// The entry.
    #[n(0)]
    pub entry: Entry,
    /// The statement about exactly that entry.
    #[n(1)]
    pub committed: Committed,
}

impl Snapshot {
    /// The prefixes of the trees that were stored with it.
    #[must_use]
    pub fn prefixes(&self) -> Vec<Prefix> {
        self.entry.partitions.iter().map(|partition| partition.prefix).collect()
    }

    /// Its bytes.
    ///
    /// # Panics
    /// Never: a vector takes all bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a vector takes all bytes")
    }

    /// Reads a snapshot that takes up all of `bytes` and whose statement is about its entry; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut d = Decoder::new(bytes);
        let read: Self = d.decode().ok()?;
        let whole = d.position() == bytes.len();
        let of_this = read.committed.index == read.entry.index && read.committed.hash == read.entry.hash();
        (whole && of_this).then_some(read)
    }
}

/// A record with its sealed bytes.
pub type SealedBytes = (RecordId, Arc<[u8]>);

/// The next snapshot, and what has changed since the one before.
#[derive(Clone, Debug)]
pub struct Advance {
    /// What it will reach.
    pub snapshot: Snapshot,
    /// The group's trees there, open at least on the paths to `changed`, and those that left it since the previous
    /// snapshot, as they were then.
    pub trees: Vec<Tree>,
    /// Every record that was changed since the previous snapshot, in any order, once each.
    pub changed: Vec<RecordId>,
}

impl Advance {
    /// The pages to store, where the previous snapshot had trees of the prefixes `before`. They may lack what did not
    /// change: [`Page::complete`] with the stored ones that [`older_pages`] names.
    ///
    /// # Errors
    /// [`TreeError`], if `trees` are not as described above.
    pub fn pages(&self, before: &[Prefix]) -> Result<Vec<Page>, TreeError> {
        let mut pages: BTreeMap<Prefix, Page> = BTreeMap::new();
        for tree in &self.trees {
            let prefix = tree.prefix();
            let changed = tree.pages(self.changed.iter().copied().filter(|id| prefix.contains(id)))?;
            let merged = tree.pages_above(before);
            pages.extend(merged.into_iter().chain(changed).map(|page| (page.prefix(), page)));
        }
        Ok(pages.into_values().collect())
    }

    /// Which pages of the previous snapshot no root leads to any more, once `stored`, all pages of this one, are there:
    /// the topmost ones of trees that were split or merged, and those between them and the topmost ones of what they were
    /// split into.
    #[must_use]
    pub fn outdated(&self, before: &[Prefix], stored: &[Page]) -> Vec<Prefix> {
        let is_top = |prefix: &Prefix| self.trees.iter().any(|tree| tree.prefix() == *prefix);
        let is_below =
            |prefix: &Prefix| stored.iter().any(|page| page.below().iter().any(|(below, _)| below == prefix));
        let between = before.iter().flat_map(|whole| {
            let parts = self
                .trees
                .iter()
                .map(Tree::prefix)
                .filter(|part| whole.len() < part.len() && whole.contains(&RecordId(*part.bits())));
            parts.flat_map(|part| {
                let lens = (whole.len() + 1..part.len()).filter(|len| len % PAGE_LEVELS == 0);
                lens.filter_map(move |len| Prefix::of(&RecordId(*part.bits()), len))
            })
        });
        let all: BTreeSet<Prefix> = before.iter().copied().chain(between).collect();
        all.into_iter().filter(|prefix| !is_top(prefix) && !is_below(prefix)).collect()
    }

    /// The sealed leaves to store.
    ///
    /// # Errors
    /// [`TreeError`], if `trees` are not as described above.
    pub fn leaves(&self) -> Result<Vec<SealedBytes>, TreeError> {
        let sealed = |id: &RecordId| {
            let tree = self.trees.iter().find(|tree| tree.prefix().contains(id));
            let sealed = tree.ok_or(TreeError::NotCovered)?.get(id)?.ok_or(TreeError::NotOpened)?;
            Ok((*id, Arc::clone(sealed)))
        };
        self.changed.iter().map(sealed).collect()
    }
}

/// Where the stored path to a record begins, in a snapshot with trees of the prefixes `tops`, for one whose tree has this
/// prefix by now: it may have been split or merged since, or have come.
#[must_use]
pub fn stored_top(tops: &[Prefix], prefix: Prefix, id: &RecordId) -> Prefix {
    tops.iter().copied().find(|stored| stored.contains(id)).unwrap_or(prefix)
}

/// The stored pages that may show what has not changed in this one, where the previous snapshot had trees of the prefixes
/// `before`: first the page itself, then those above it up to the root of its tree, or those right below it that were
/// merged into it. The first that is there is enough, and of those below, all.
#[must_use]
pub fn older_pages(page: &Prefix, before: &[Prefix]) -> (Vec<Prefix>, Vec<Prefix>) {
    let id = RecordId(*page.bits());
    let is_in = |tree: &&Prefix| tree.len() <= page.len() && tree.contains(&id);
    let mut above = Vec::from([*page]);
    if let Some(tree) = before.iter().find(is_in) {
        let mut len = page.len();
        while len > tree.len() {
            len = len.saturating_sub(1);
            len = len.saturating_sub(len % PAGE_LEVELS).max(tree.len());
            above.extend(Prefix::of(&id, len));
        }
    }
    let end = page.len().saturating_sub(page.len() % PAGE_LEVELS).saturating_add(PAGE_LEVELS);
    let is_below = |tree: &&Prefix| {
        page.len() < tree.len() && tree.len() < end && page.contains(&RecordId(*tree.bits()))
    };
    (above, before.iter().filter(is_below).copied().collect())
}

/// What was read on the paths to some records. None of it is proven.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Pages, those nearer to the root first.
    pub pages: Vec<Page>,
    /// Sealed bytes.
    pub leaves: Vec<SealedBytes>,
    /// The records whose path could not be read to its end.
    pub damaged: Vec<(RecordId, TreeDamage)>,
}

/// What is wrong with a stored tree.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TreeDamage {
    /// A page is missing.
    #[error("the page {0:?} is missing")]
    NoPage(Prefix),
    /// A page is there, but it cannot be decoded.
    #[error("the page {0:?} is damaged: {1}")]
    Page(Prefix, TreeError),
    /// A page, or one below or above it, is not of the tree that the log gives.
    #[error("the page {0:?} does not belong to the tree")]
    Foreign(Prefix),
    /// The sealed bytes of a record are missing.
    #[error("the sealed bytes of record {0} are missing")]
    NoLeaf(RecordId),
    /// The sealed bytes of a record are not those that its page names.
    #[error("the sealed bytes of record {0} are not those that its page names")]
    Leaf(RecordId),
    /// What the tree says about itself is missing or damaged.
    #[error("the snapshot's own entry is damaged")]
    Snapshot,
    /// An object of the database cannot be read; the database's own error.
    #[error("an object of the tree is missing or damaged: {0}")]
    Object(String),
}

/// Why the stored tree did not do what it was asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TreeFailure {
    /// The object store did not answer, or not in time. Whether a snapshot was taken is not known.
    #[error("the object store did not answer")]
    Unavailable,
    /// Another agent has opened the tree for writing: it leads.
    #[error("another agent writes the tree now")]
    Fenced,
    /// The tree is damaged. Other records may still be readable.
    #[error("{0}; run `strongroom-agent check`, and `strongroom-agent rebuild-tree` if that says so")]
    Damaged(#[from] TreeDamage),
}
