//! Rebuilding a stored tree from the leaves that exist: those that the damaged tree still gives, and those in the
//! segments that are still there.
//!
//! The new tree is a generation of its own, and reaches the same entry as the damaged one, whose roots it must have. It
//! is put in use once it is whole; until then, and if the rebuild is given up, nothing has changed.

use super::chain::{Captured, Chain};
use super::error::CheckError;
use super::log;
use super::progress::Progress;
use super::tree::{sealed_digest, trees_at};
use crate::store::Store;
use crate::tree::{TreeReader, TreeStore};
use futures::{StreamExt, pin_mut};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strongroom_proto::ids::{Digest, GroupId, Index, RecordId};
use strongroom_proto::tree::Tree;
use strongroom_replica::ReadOutcome;
use strongroom_replica::segment::Segment;
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

/// A leaf that remains.
struct Remaining {
    digest: Digest,
    /// Where it was found, if not in the damaged tree.
    segment: Option<Arc<[u8]>>,
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
    let Some(snapshot) = snapshot else {
        if chain.begins_at() > Index(1) || chain.goes_on {
            return Err(RebuildError::NoSnapshot(chain.begins_at()));
        }
        if grown(store, group, &chain).await? {
            return Err(RebuildError::AgentsRun);
        }
        let generation = new.put_in_use().await?;
        return Ok(Rebuilt { reaches: Index::ZERO, leaves: 0, from_segments: 0, generation });
    };
    let mut leaves = stored_leaves(reader.as_ref(), progress).await?;
    let until = snapshot.entry.index;
    for link in chain.links.iter().filter(|link| link.last.0 <= until) {
        let bytes = match store.read(&link.name.to_string()).await {
            ReadOutcome::Found(bytes) => bytes,
            ReadOutcome::Absent => continue,
            ReadOutcome::Unavailable => return Err(CheckError::Store.into()),
        };
        let Ok(segment) = Segment::decode(&bytes) else { continue };
        for leaf in segment.entries().iter().flat_map(|made| &made.leaves) {
            let digest = sealed_digest(&leaf.sealed);
            let known = leaves.get(&leaf.record).is_some_and(|known| known.digest == digest);
            if !known {
                let segment = Some(leaf.sealed.as_slice().into());
                leaves.insert(leaf.record, Remaining { digest, segment });
            }
        }
    }
    let digests = leaves.iter().map(|(id, leaf)| (*id, leaf.digest)).collect();
    let trees = trees_at(&snapshot, &digests)
        .ok_or(RebuildError::Lost { index: until, leaves: leaves.len() })?
        .into_trees();
    let from_segments = leaves.values().filter(|leaf| leaf.segment.is_some()).count() as u64;
    let total = leaves.len() as u64;
    new.open().await?;
    write(&new, &snapshot, &trees, reader.as_ref(), leaves, progress).await?;
    new.close().await;
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
    Ok(Rebuilt { reaches: until, leaves: total, from_segments, generation })
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

/// The leaves that the damaged tree still gives: those that a scan finds and, after damage, those that pages name.
async fn stored_leaves(
    reader: Option<&TreeReader>,
    progress: &impl Progress,
) -> Result<BTreeMap<RecordId, Remaining>, RebuildError> {
    progress.begin("leaves that remain", None);
    let mut remain = BTreeMap::new();
    let Some(reader) = reader else { return Ok(remain) };
    let remaining = |sealed: &[u8]| Remaining { digest: sealed_digest(sealed), segment: None };
    let mut whole = true;
    let leaves = reader.leaves();
    pin_mut!(leaves);
    while let Some(leaf) = leaves.next().await {
        match leaf {
            Ok((id, sealed)) => drop(remain.insert(id, remaining(&sealed))),
            Err(TreeFailure::Damaged(_)) => whole = false,
            Err(failure) => return Err(failure.into()),
        }
        progress.done(1);
    }
    let pages = reader.pages();
    pin_mut!(pages);
    while !whole && let Some(page) = pages.next().await {
        let Ok(page) = page else { continue };
        for id in page.leaves().map(strongroom_proto::tree::Leaf::record_id) {
            if !remain.contains_key(&id)
                && let Ok(Some(sealed)) = reader.leaf(&id).await
            {
                remain.insert(id, remaining(&sealed));
                progress.done(1);
            }
        }
    }
    Ok(remain)
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
            let sealed = match (leaf.segment, reader) {
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
