//! Rebuilding a stored tree from the leaves that exist: those that the damaged tree still gives, those in the segments that
//! are still there, and those that came from another group and are still stored there.
//!
//! The new tree is a generation of its own, and reaches the same entry as the damaged one, whose roots it must have. It
//! is put in use once it is whole; until then, and if the rebuild is given up, nothing has changed.

use super::chain::{Captured, Chain};
use super::error::CheckError;
use super::log;
use super::owned::Came;
use super::progress::Progress;
use super::remains::{Logged, Remaining, Remains, of_log, of_source, stored_leaves};
use super::tree::roots_of;
use crate::store::Store;
use crate::tree::{AdoptError, TreeReader, TreeStore};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strongroom_proto::ids::{Digest, GroupId, Index, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::Tree;
use strongroom_replica::stored::{Advance, Snapshot, TreeFailure};

/// How many leaves go into the new tree in one step.
const STEP: usize = 4_096;

/// A tree that was rebuilt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rebuilt {
    /// The entry that it reaches; 0 for an empty tree, after which a leader reads the whole log.
    pub reaches: Index,
    /// How many leaves it has.
    pub leaves: u64,
    /// How many of them came from segments.
    pub from_segments: u64,
    /// How many came from another group, and are in no segment of this one.
    pub from_groups: u64,
    /// Its generation.
    pub generation: u64,
}

/// Why a tree was not rebuilt. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// As for a check.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The stored tree.
    #[error("{0}")]
    Tree(#[from] TreeFailure),
    /// What remains is not enough.
    #[error(
        "{} leaves remain, and they do not give the roots of entry {index}: leaves are lost; restore the objects that \
         `strongroom-agent check` names from a copy of the store, or the users of these records have lost them",
        leaves
    )]
    Lost {
        /// The entry.
        index: Index,
        /// How many leaves remain.
        leaves: usize,
    },
    /// What remains is not enough: it lacks what came from another group.
    #[error(
        "the records of prefix {prefix} came from group {} with entry {at}; not all of them are stored here any more, \
         and that group has deleted them: restore the objects that `strongroom-agent check` names from a copy of the \
         store, or the users of these records have lost them",
        from.map_or_else(|| "(unknown)".to_owned(), |from| from.to_string())
    )]
    BroughtIn {
        /// The prefix.
        prefix: Prefix,
        /// The group that it came from, if the log still shows that.
        from: Option<GroupId>,
        /// The entry that took it.
        at: Index,
    },
    /// An agent goes on with the damaged tree.
    #[error("an agent of the group runs, and has gone on meanwhile; stop all of them and try again")]
    AgentsRun,
    /// An agent went on with the damaged tree at the last moment.
    #[error(
        "an agent of the group runs, and moved the stored tree on at the last moment; stop all of them, delete the marker \
         `current-{generation:016x}` of the group's tree, and try again"
    )]
    TooLate {
        /// The generation that was put in use.
        generation: u64,
    },
    /// What the tree reached is unknown, and the log does not go back to its beginning.
    #[error(
        "what the stored tree reached cannot be read, and the log begins only with entry {0}; restore the objects \
         that `strongroom-agent check` names from a copy of the store"
    )]
    NoSnapshot(Index),
}

/// Rebuilds the stored tree of a group. Its agents must be stopped.
///
/// # Errors
/// [`RebuildError`].
pub async fn rebuild(
    store: &Store,
    tree: &TreeStore,
    group: GroupId,
    progress: &impl Progress,
) -> Result<Rebuilt, RebuildError> {
    // From here on, no agent that was left running can write the damaged tree. If it cannot even be opened, none can
    // anyway.
    let old = tree.this_generation().await?;
    fence(&old).await?;
    let reader = match old.reader().await {
        Ok(reader) => reader,
        Err(TreeFailure::Damaged(_)) => None,
        Err(failure) => return Err(failure.into()),
    };
    let snapshot = reader.as_ref().and_then(TreeReader::snapshot).cloned();
    let chain = log::read_chain(store, group, snapshot.as_ref(), Captured::UNKNOWN, progress).await?;
    let new = tree.next_generation().await?;
    let rebuilding = Rebuilding { store, tree, group, chain: &chain };
    let Some(snapshot) = snapshot else {
        if chain.begins_at() > Index(1) || chain.goes_on {
            return Err(RebuildError::NoSnapshot(chain.begins_at()));
        }
        let from_groups = rebuilding.bring_all(&new, progress).await?;
        if grown(store, group, &chain).await? {
            return Err(RebuildError::AgentsRun);
        }
        let generation = new.put_in_use().await?;
        return Ok(Rebuilt { reaches: Index::ZERO, leaves: 0, from_segments: 0, from_groups, generation });
    };
    let rebuilt = rebuilding.write(&new, &snapshot, reader.as_ref(), progress).await?;
    if moved(&old, &snapshot).await? || grown(store, group, &chain).await? {
        return Err(RebuildError::AgentsRun);
    }
    let generation = new.put_in_use().await?;
    // An agent that opened the damaged one meanwhile must not go on with it, nor delete segments that the new one
    // needs.
    fence(&old).await?;
    if moved(&old, &snapshot).await? {
        return Err(RebuildError::TooLate { generation });
    }
    Ok(Rebuilt { generation, ..rebuilt })
}

/// What a tree is rebuilt from.
struct Rebuilding<'a> {
    store: &'a Store,
    tree: &'a TreeStore,
    group: GroupId,
    chain: &'a Chain,
}

impl Rebuilding<'_> {
    /// Writes the tree of a snapshot, and what the log brings in after it.
    async fn write(
        &self,
        new: &TreeStore,
        snapshot: &Snapshot,
        reader: Option<&TreeReader>,
        progress: &impl Progress,
    ) -> Result<Rebuilt, RebuildError> {
        let until = snapshot.entry.index;
        let stored = stored_leaves(reader, progress).await?;
        let Logged { leaves: logged, came } = of_log(self.store, &self.chain.links, until, &stored).await?;
        let (before, after): (Vec<Came>, Vec<Came>) = came.into_iter().partition(|came| came.at <= until);
        let roots = roots_of(&snapshot.entry);
        let mut remains = Remains { stored, brought: BTreeMap::new(), logged };
        remains.retain(&roots);
        let mut trees = trees_of(&roots, &remains.digests());
        if trees.is_err() {
            for came in &before {
                let brought = of_source(self.store, self.tree, came, &remains.stored, progress).await?;
                remains.brought.extend(brought);
            }
            remains.retain(&roots);
            trees = trees_of(&roots, &remains.digests());
        }
        let trees = trees.map_err(|lost| {
            let of = before.iter().rev().find(|came| came.partition.prefix.overlaps(&lost));
            of.map_or(RebuildError::Lost { index: until, leaves: remains.len() }, brought_in)
        })?;
        let leaves = remains.leaves();
        let from_segments = remains.logged.values().filter(|leaf| leaf.sealed.is_some()).count() as u64;
        let mut from_groups = remains.brought.len() as u64;
        let total = leaves.len() as u64;
        new.open().await?;
        let written = write(new, snapshot, &trees, reader, leaves, progress).await;
        let written = match written {
            Ok(()) => self.bring(new, after.iter().filter(|came| !stays_out(came, &after))).await,
            Err(error) => Err(error),
        };
        new.close().await;
        from_groups = from_groups.saturating_add(written?);
        Ok(Rebuilt { reaches: until, leaves: total, from_segments, from_groups, generation: 0 })
    }

    /// Copies what the whole log brings in, for the leader who reads it.
    async fn bring_all(&self, new: &TreeStore, progress: &impl Progress) -> Result<u64, RebuildError> {
        progress.begin("what came from other groups", None);
        let came = of_log(self.store, &self.chain.links, Index::ZERO, &BTreeMap::new()).await?.came;
        if came.iter().all(|came| came.partition.root == Digest::EMPTY) {
            return Ok(0);
        }
        new.open().await?;
        let brought = self.bring(new, came.iter()).await;
        new.close().await;
        brought
    }

    /// Copies what came, from the trees of the groups where it was: they keep it until it is in a snapshot here.
    async fn bring<'c>(
        &self,
        new: &TreeStore,
        came: impl Iterator<Item = &'c Came>,
    ) -> Result<u64, RebuildError> {
        let mut brought = 0_u64;
        for came in came.filter(|came| came.partition.root != Digest::EMPTY) {
            let Some(from) = came.from.filter(|from| *from != self.group) else {
                return Err(brought_in(came));
            };
            let source = self.tree.of_group(self.store.base(), from);
            match new.adopt_root(came.partition.prefix, came.partition.root, &source).await {
                Ok(records) => brought = brought.saturating_add(records),
                Err(AdoptError::Tree(failure @ TreeFailure::Unavailable)) => return Err(failure.into()),
                Err(_) => return Err(brought_in(came)),
            }
        }
        Ok(brought)
    }
}

/// Whether the same prefix has come once more: then this is not what is needed of it.
fn stays_out(came: &Came, all: &[Came]) -> bool {
    all.iter().any(|later| later.at > came.at && later.partition.prefix.overlaps(&came.partition.prefix))
}

fn brought_in(came: &Came) -> RebuildError {
    RebuildError::BroughtIn { prefix: came.partition.prefix, from: came.from, at: came.at }
}

/// The trees that leaves give; the first prefix whose root they do not give.
fn trees_of(roots: &[(Prefix, Digest)], leaves: &BTreeMap<RecordId, Digest>) -> Result<Vec<Tree>, Prefix> {
    let tree = |(prefix, root): &(Prefix, Digest)| {
        let mut tree = Tree::new(*prefix);
        let covered = leaves.iter().filter(|(id, _)| prefix.contains(id));
        let updated = tree.update_unread(covered.map(|(id, digest)| (*id, *digest)));
        if updated.is_ok() && tree.root() == *root { Ok(tree) } else { Err(*prefix) }
    };
    roots.iter().map(tree).collect()
}

/// Closes a tree to every agent that has it open.
async fn fence(tree: &TreeStore) -> Result<(), TreeFailure> {
    match tree.open().await {
        Ok(_) | Err(TreeFailure::Damaged(_)) => {
            tree.close().await;
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

/// Whether an agent has taken another snapshot since.
async fn moved(tree: &TreeStore, since: &Snapshot) -> Result<bool, TreeFailure> {
    match tree.read_snapshot().await {
        Ok(now) => Ok(now.is_some_and(|now| now != *since)),
        Err(TreeFailure::Damaged(_)) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Whether an agent has extended the log since.
async fn grown(store: &Store, group: GroupId, since: &Chain) -> Result<bool, CheckError> {
    let newest = log::newest(store, group).await?;
    Ok(newest > since.newest)
}

async fn write(
    new: &TreeStore,
    snapshot: &Snapshot,
    trees: &[Tree],
    reader: Option<&TreeReader>,
    leaves: BTreeMap<RecordId, Remaining>,
    progress: &impl Progress,
) -> Result<(), RebuildError> {
    progress.begin("leaves written", Some(leaves.len() as u64));
    let mut leaves = leaves.into_iter().peekable();
    loop {
        let mut trees = trees.to_vec();
        let mut changed = BTreeSet::new();
        for (id, leaf) in leaves.by_ref().take(STEP) {
            let sealed = match (leaf.sealed, reader) {
                (Some(sealed), _) => Some(sealed),
                (None, Some(reader)) => reader.leaf(&id).await?,
                (None, None) => None,
            };
            let fits = |sealed: Arc<[u8]>| trees.iter_mut().any(|tree| tree.open_leaf(&id, sealed.clone()));
            if !sealed.is_some_and(fits) {
                return Err(RebuildError::Lost { index: snapshot.entry.index, leaves: changed.len() });
            }
            changed.insert(id);
        }
        let step = changed.len() as u64;
        let changed = changed.into_iter().collect();
        new.advance(Advance { snapshot: snapshot.clone(), trees, changed }).await?;
        progress.done(step);
        if leaves.peek().is_none() {
            return Ok(());
        }
    }
}
