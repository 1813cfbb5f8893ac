//! A part of what a group has stored: the pages and leaves below one prefix with the pages that lead there, or the log
//! from the stored tree on.
//!
//! For a check that takes a little at a time and needs memory for that little alone. What is stored and named by no page
//! is found among the leaves only: a page that nothing leads to is never read.

use super::chain::Captured;
use super::error::{CheckError, failed};
use super::log::{Walk, read_chain_after};
use super::problem::Problem;
use super::progress::Unwatched;
use super::tree::{ATTEMPTS, reader, roots_of, sealed_digest};
use super::witness::Witness;
use crate::store::Store;
use crate::tree::{TreeReader, TreeStore};
use futures::{StreamExt, pin_mut};
use std::collections::BTreeMap;
use strongroom_proto::hsm::MAX_CAPTURE_ENTRIES;
use strongroom_proto::ids::{Digest, EntryHash, GroupId, Index, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::Page;
use strongroom_replica::stored::{Snapshot, TreeDamage};

/// What was found about a part of a stored tree.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TreePart {
    /// What the tree reaches.
    pub snapshot: Option<Snapshot>,
    /// How many pages were read, those that lead to the part among them.
    pub pages: u64,
    /// How many leaves.
    pub leaves: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Reads all that a stored tree has below a prefix, from the roots down, at one moment. Writes nothing, unless files are
/// deleted faster than they are read: then the leader is told to keep them, as by the whole check.
///
/// # Errors
/// [`CheckError`].
pub async fn tree_part(tree: &TreeStore, within: Prefix) -> Result<TreePart, CheckError> {
    for attempt in 0..ATTEMPTS {
        let mut part = TreePart::default();
        let held = match reader(tree, attempt > 0).await {
            Ok(Some(reader)) => {
                let read = read(&reader, within, &mut part).await;
                let held = reader.release().await;
                read?;
                held
            }
            Ok(None) => false,
            Err(failure) => {
                part.problems.push(Problem::Tree(failed(failure)?));
                false
            }
        };
        if part.problems.is_empty() || held {
            return Ok(part);
        }
        // What is gone may have been merged into others and deleted in between.
        let now = tree.read_snapshot().await.ok().flatten();
        if now.is_none() || now == part.snapshot {
            return Ok(part);
        }
    }
    Err(CheckError::Moving)
}

/// The same, by a reader that is open already: what it has read before may come from its memory.
///
/// # Errors
/// [`CheckError`].
pub async fn tree_part_by(reader: &TreeReader, within: Prefix) -> Result<TreePart, CheckError> {
    let mut part = TreePart::default();
    read(reader, within, &mut part).await?;
    Ok(part)
}

/// What pages name within the part, and has not been read.
#[derive(Default)]
struct Named {
    pages: BTreeMap<(u16, Prefix), Digest>,
    leaves: BTreeMap<RecordId, Digest>,
}

impl Named {
    fn by(&mut self, page: &Page, within: Prefix) {
        let below = page.below().into_iter().filter(|(below, _)| below.overlaps(&within));
        self.pages.extend(below.map(|(below, digest)| ((below.len(), below), digest)));
        let leaves = page.leaves().map(|leaf| (leaf.record_id(), leaf.sealed_digest()));
        self.leaves.extend(leaves.filter(|(id, _)| within.contains(id)));
    }
}

async fn read(reader: &TreeReader, within: Prefix, part: &mut TreePart) -> Result<(), CheckError> {
    part.snapshot = reader.snapshot().cloned();
    let Some(snapshot) = &part.snapshot else {
        let pages = reader.pages();
        pin_mut!(pages);
        if pages.next().await.is_some() {
            part.problems.push(Problem::Tree(TreeDamage::Snapshot));
        }
        return Ok(());
    };
    let roots: Vec<_> = roots_of(&snapshot.entry).into_iter().filter(|(p, _)| p.overlaps(&within)).collect();
    let mut named = Named::default();
    let tops = roots.iter().filter(|(_, root)| *root != Digest::EMPTY);
    named.pages.extend(tops.map(|(prefix, root)| ((prefix.len(), *prefix), *root)));
    while let Some(((len, prefix), digest)) = named.pages.first_key_value().map(|(key, root)| (*key, *root)) {
        if len < within.len() {
            named.pages.pop_first();
            let read = reader.page(prefix).await;
            part.pages += 1;
            match read {
                Ok(page) if page.digest() == digest => named.by(&page, within),
                Ok(_) => part.problems.push(Problem::Tree(TreeDamage::Foreign(prefix))),
                Err(failure) => part.problems.push(Problem::Tree(failed(failure)?)),
            }
        } else if !read_level(reader, within, len, &mut named, part).await? {
            return Ok(());
        }
    }
    read_leaves(reader, within, named.leaves, &roots, part).await
}

/// Reads all pages of one length. Returns whether it could.
async fn read_level(
    reader: &TreeReader,
    within: Prefix,
    len: u16,
    named: &mut Named,
    part: &mut TreePart,
) -> Result<bool, CheckError> {
    let pages = reader.pages_below(within, len);
    pin_mut!(pages);
    while let Some(page) = pages.next().await {
        let page = match page {
            Ok(page) => page,
            Err(failure) => {
                let damage = failed(failure)?;
                let prefix = if let TreeDamage::Page(prefix, _) = &damage { Some(*prefix) } else { None };
                part.problems.push(Problem::Tree(damage));
                let Some(prefix) = prefix else { return Ok(false) };
                named.pages.remove(&(prefix.len(), prefix));
                continue;
            }
        };
        let prefix = page.prefix();
        let Some(digest) = named.pages.remove(&(len, prefix)) else { continue };
        part.pages += 1;
        if page.digest() == digest {
            named.by(&page, within);
        } else {
            part.problems.push(Problem::Tree(TreeDamage::Foreign(prefix)));
        }
    }
    let longer = named.pages.split_off(&(len.saturating_add(1), Prefix::WHOLE));
    let missing = std::mem::replace(&mut named.pages, longer).into_keys();
    part.problems.extend(missing.map(|(_, prefix)| Problem::Tree(TreeDamage::NoPage(prefix))));
    Ok(true)
}

async fn read_leaves(
    reader: &TreeReader,
    within: Prefix,
    mut named: BTreeMap<RecordId, Digest>,
    roots: &[(Prefix, Digest)],
    part: &mut TreePart,
) -> Result<(), CheckError> {
    let leaves = reader.leaves_below(within);
    pin_mut!(leaves);
    let mut orphans = 0;
    while let Some(leaf) = leaves.next().await {
        let (id, sealed) = match leaf {
            Ok(leaf) => leaf,
            Err(failure) => {
                part.problems.push(Problem::Tree(failed(failure)?));
                return Ok(());
            }
        };
        part.leaves += 1;
        match named.remove(&id) {
            Some(right) if right == sealed_digest(&sealed) => {}
            Some(_) => part.problems.push(Problem::Tree(TreeDamage::Leaf(id))),
            None => orphans += u64::from(roots.iter().any(|(prefix, _)| prefix.contains(&id))),
        }
    }
    part.problems.extend(named.into_keys().map(|id| Problem::Tree(TreeDamage::NoLeaf(id))));
    // What a damaged page named is no orphan.
    if orphans > 0 && part.problems.is_empty() {
        part.problems.push(Problem::Orphans(orphans));
    }
    Ok(())
}

/// What was found about a log from the stored tree on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogPart {
    /// Sound segments.
    pub segments: u64,
    /// How many of their entries an HSM has vouched for.
    pub authentic: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Reads the log from the segment that the stored tree needs to the entry `reached`, of which it is known that it is stored:
/// whether its hashes lead there, and whether an HSM has made the entries up to `captured`, which its HSM has captured.
///
/// # Errors
/// [`CheckError`].
pub async fn log_part(
    store: &Store,
    tree: &TreeStore,
    group: GroupId,
    reached: (Index, EntryHash),
    captured: Index,
    witness: &mut impl Witness,
) -> Result<LogPart, CheckError> {
    let mut problems = Vec::new();
    let snapshot = match tree.read_snapshot().await {
        Ok(snapshot) => snapshot,
        Err(failure) => {
            problems.push(Problem::Tree(failed(failure)?));
            None
        }
    };
    // The segment that ends there begins no earlier.
    let most = MAX_CAPTURE_ENTRIES as u64;
    let from = snapshot.as_ref().map_or(Index::ZERO, |s| Index((s.entry.index.0 + 1).saturating_sub(most)));
    let own = Some(reached).filter(|(index, _)| *index > Index::ZERO);
    let known = Captured { own, others: Index::ZERO };
    let chain = read_chain_after(store, group, from, snapshot.as_ref(), known, &Unwatched).await?;
    problems.extend(chain.problems.iter().cloned());
    let walk = Walk { store, chain: &chain, progress: &Unwatched };
    let authentic = walk.authenticate(captured, witness, &mut problems).await?;
    Ok(LogPart { segments: chain.sound().count() as u64, authentic, problems })
}
