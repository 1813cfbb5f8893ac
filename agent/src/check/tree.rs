//! The whole stored tree: every page under the digest that the page above gives it, every leaf under the one that its
//! page gives it.

use super::error::{CheckError, failed};
use super::problem::Problem;
use super::progress::Progress;
use crate::tree::{TreeReader, TreeStore};
use futures::{StreamExt, pin_mut};
use std::collections::BTreeMap;
use strongroom_proto::entry::{Entry, Partition};
use strongroom_proto::hash::{hash, label};
use strongroom_proto::ids::{Digest, Index, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;
use strongroom_proto::tree::{PAGE_LEVELS, Page, Tree};
use strongroom_replica::stored::{Snapshot, TreeDamage, TreeFailure};

/// A record with the digest of its sealed bytes.
pub(super) type LeafDigest = (RecordId, Digest);

/// What was found about a stored tree.
#[derive(Clone, Debug, Default)]
pub struct TreeFindings {
    /// What it reaches.
    pub snapshot: Option<Snapshot>,
    /// How many pages it has.
    pub pages: u64,
    /// The digests of the sealed bytes of all leaves.
    pub leaves: BTreeMap<RecordId, Digest>,
    /// How many pages and leaves there are of prefixes that the group does not have: what it had, or what was copied and
    /// has not come.
    pub beside: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Trees that hold only digests, for the roots; `None` for one that has come from another group since the snapshot: what is
/// below it is in no segment of this group.
pub(super) struct Digests(BTreeMap<Prefix, Option<Tree>>);

impl Digests {
    /// Applies the leaves of an entry. Returns whether that gives its roots, as far as they are known.
    pub(super) fn apply(&mut self, entry: &Entry, leaves: &[LeafDigest]) -> bool {
        if entry.index == Index(1) {
            self.0 = entry.partitions.iter().map(|p| (p.prefix, Some(Tree::new(p.prefix)))).collect();
        }
        let owned = self.own_as(entry);
        let updated = self.0.iter_mut().filter_map(|(prefix, tree)| Some((prefix, tree.as_mut()?)));
        let updated = updated.map(|(prefix, tree)| {
            let covered = leaves.iter().copied().filter(|(id, _)| prefix.contains(id));
            tree.update_unread(covered).is_ok()
        });
        // Each is brought up to date, whatever became of another.
        let updated = !updated.collect::<Vec<_>>().contains(&false);
        let is_root = |p: &Partition| match self.0.get(&p.prefix) {
            Some(Some(tree)) => tree.root() == p.root,
            known => known.is_some(),
        };
        owned && updated && self.0.len() == entry.partitions.len() && entry.partitions.iter().all(is_root)
    }

    /// Owns what an entry says, if a split, a merge, or a step of one transfer leads there.
    fn own_as(&mut self, entry: &Entry) -> bool {
        let stays = |prefix: &Prefix| entry.partitions.iter().any(|p| p.prefix == *prefix);
        let left: Vec<Prefix> = self.0.keys().copied().filter(|prefix| !stays(prefix)).collect();
        let new = entry.partitions.iter().map(|p| p.prefix).filter(|prefix| !self.0.contains_key(prefix));
        let new: Vec<Prefix> = new.collect();
        let mut gone: Vec<Option<Tree>> = left.iter().filter_map(|prefix| self.0.remove(prefix)).collect();
        match (left.as_slice(), new.as_slice()) {
            ([], []) | ([_], []) => {}
            ([whole], [left, right]) if whole.children() == Some((*left, *right)) => {
                let halves = gone.pop().flatten().and_then(|tree| tree.split().ok());
                let (of_left, of_right) = halves.unzip();
                self.0.extend([(*left, of_left), (*right, of_right)]);
            }
            ([left, right], [whole]) if whole.children() == Some((*left, *right)) => {
                let (right, left) = (gone.pop().flatten(), gone.pop().flatten());
                let both = left.zip(right).and_then(|(left, right)| Tree::join(&left, &right).ok());
                self.0.insert(*whole, both);
            }
            ([], [come]) if self.0.keys().all(|prefix| !prefix.overlaps(come)) => {
                self.0.insert(*come, None);
            }
            _ => return false,
        }
        true
    }
}

/// Below which roots something is stored for this group: what it owns, and what it has let go of and must keep until it has
/// arrived.
pub(super) fn roots_of(entry: &Entry) -> Vec<(Prefix, Digest)> {
    let owned = entry.partitions.iter().map(|p| (p.prefix, p.root));
    let left = entry.open.iter().filter_map(|transfer| match transfer {
        Transfer::Outgoing { prefix, root, .. } => Some((*prefix, *root)),
        Transfer::Incoming { .. } => None,
    });
    owned.chain(left).collect()
}

impl TreeFindings {
    /// The trees at the snapshot, if its leaves give them; empty ones before any.
    pub(super) fn trees(&self) -> Option<Digests> {
        let Some(snapshot) = &self.snapshot else { return Some(Digests(BTreeMap::new())) };
        trees_at(snapshot, &self.leaves)
    }
}

/// The trees that leaves give, if they have the roots of the entry.
pub(super) fn trees_at(snapshot: &Snapshot, leaves: &BTreeMap<RecordId, Digest>) -> Option<Digests> {
    let mut trees = BTreeMap::new();
    for partition in &snapshot.entry.partitions {
        let mut tree = Tree::new(partition.prefix);
        let covered = leaves.iter().filter(|(id, _)| partition.prefix.contains(id));
        tree.update_unread(covered.map(|(id, digest)| (*id, *digest))).ok()?;
        if tree.root() != partition.root {
            return None;
        }
        trees.insert(partition.prefix, Some(tree));
    }
    Some(Digests(trees))
}

pub(super) fn sealed_digest(sealed: &[u8]) -> Digest {
    hash(label::SEALED, &[sealed])
}

/// How often to read a tree that a leader goes on with, until one reading was faster than its files went.
pub(super) const ATTEMPTS: u32 = 5;

/// Reads a whole stored tree.
///
/// Nothing is written, unless a leader has deleted files before they were read: from then on, it is told to keep them.
pub(super) async fn read(tree: &TreeStore, progress: &impl Progress) -> Result<TreeFindings, CheckError> {
    for attempt in 0..ATTEMPTS {
        let mut findings = TreeFindings::default();
        let held = match reader(tree, attempt > 0).await {
            Ok(Some(reader)) => {
                let read = read_with(&reader, &mut findings, progress).await;
                let held = reader.release().await;
                read?;
                held
            }
            Ok(None) => false,
            Err(failure) => {
                findings.problems.push(Problem::Tree(failed(failure)?));
                false
            }
        };
        if findings.problems.is_empty() || held {
            return Ok(findings);
        }
        // What is gone may have been merged into others and deleted in between.
        let now = tree.read_snapshot().await.ok().flatten();
        if now.is_none() || now == findings.snapshot {
            return Ok(findings);
        }
    }
    Err(CheckError::Moving)
}

/// Who may not write reads without a hold, and may be in time.
pub(super) async fn reader(tree: &TreeStore, hold: bool) -> Result<Option<TreeReader>, TreeFailure> {
    match if hold { tree.held_reader().await } else { tree.reader().await } {
        Err(TreeFailure::Unavailable) if hold => tree.reader().await,
        read => read,
    }
}

async fn read_with(
    reader: &TreeReader,
    findings: &mut TreeFindings,
    progress: &impl Progress,
) -> Result<(), CheckError> {
    findings.snapshot = reader.snapshot().cloned();
    let Some(snapshot) = &findings.snapshot else {
        // A leader has opened it and taken no snapshot yet: then there is nothing at all.
        let pages = reader.pages();
        pin_mut!(pages);
        if pages.next().await.is_some() {
            findings.problems.push(Problem::Tree(TreeDamage::Snapshot));
        }
        return Ok(());
    };
    let mut named = Named::default();
    let roots = roots_of(&snapshot.entry);
    for (prefix, root) in roots.iter().filter(|(_, root)| *root != Digest::EMPTY) {
        named.pages.insert((prefix.len(), *prefix), *root);
    }
    read_pages(reader, findings, &mut named, &roots, progress).await?;
    read_leaves(reader, findings, named.leaves, &roots, progress).await
}

/// What pages name but has not been seen yet.
#[derive(Default)]
struct Named {
    /// By length first, as pages are stored.
    pages: BTreeMap<(u16, Prefix), Digest>,
    leaves: BTreeMap<RecordId, Digest>,
}

async fn read_pages(
    reader: &TreeReader,
    findings: &mut TreeFindings,
    named: &mut Named,
    roots: &[(Prefix, Digest)],
    progress: &impl Progress,
) -> Result<(), CheckError> {
    progress.begin("pages", None);
    let pages = reader.pages();
    pin_mut!(pages);
    while let Some(page) = pages.next().await {
        let page = match page {
            Ok(page) => page,
            Err(failure) => {
                let damage = failed(failure)?;
                let page = if let TreeDamage::Page(prefix, _) = &damage { Some(*prefix) } else { None };
                findings.problems.push(Problem::Tree(damage));
                let Some(prefix) = page else { return Ok(()) };
                named.pages.remove(&(prefix.len(), prefix));
                continue;
            }
        };
        findings.pages += 1;
        progress.done(1);
        let prefix = page.prefix();
        // What other groups have now, or what was copied and has not come, is not this group's to check.
        let is_in = |root: &Prefix| root.len() <= prefix.len() && root.overlaps(&prefix);
        if !roots.iter().any(|(root, _)| is_in(root)) {
            findings.beside += 1;
            continue;
        }
        let empty = page.digest() == Digest::EMPTY && roots.contains(&(prefix, Digest::EMPTY));
        if empty || named.pages.remove(&(prefix.len(), prefix)) == Some(page.digest()) {
            named
                .pages
                .extend(page.below().into_iter().map(|(below, digest)| ((below.len(), below), digest)));
            named.leaves.extend(page.leaves().map(|leaf| (leaf.record_id(), leaf.sealed_digest())));
        } else if (prefix.len() % PAGE_LEVELS != 0 || holds_one_at_most(&page))
            && !roots.iter().any(|(root, _)| *root == prefix)
        {
            // The top of a tree that the group had once, and that came back as part of another.
            findings.beside += 1;
        } else {
            findings.problems.push(Problem::Tree(TreeDamage::Foreign(prefix)));
        }
    }
    let missing = std::mem::take(&mut named.pages).into_keys();
    findings.problems.extend(missing.map(|(_, prefix)| Problem::Tree(TreeDamage::NoPage(prefix))));
    Ok(())
}

/// Whether there is such a page only where a tree has its top.
fn holds_one_at_most(page: &Page) -> bool {
    page.below().is_empty() && page.leaves().count() <= 1
}

async fn read_leaves(
    reader: &TreeReader,
    findings: &mut TreeFindings,
    mut named: BTreeMap<RecordId, Digest>,
    roots: &[(Prefix, Digest)],
    progress: &impl Progress,
) -> Result<(), CheckError> {
    progress.begin("leaves", Some(named.len() as u64));
    let leaves = reader.leaves();
    pin_mut!(leaves);
    let mut orphans = 0;
    while let Some(leaf) = leaves.next().await {
        let (id, sealed) = match leaf {
            Ok(leaf) => leaf,
            Err(failure) => {
                // Named once; its pages know which leaves are lost with it.
                findings.problems.push(Problem::Tree(failed(failure)?));
                return Ok(());
            }
        };
        progress.done(1);
        let digest = sealed_digest(&sealed);
        findings.leaves.insert(id, digest);
        match named.remove(&id) {
            Some(right) if right == digest => {}
            Some(_) => findings.problems.push(Problem::Tree(TreeDamage::Leaf(id))),
            None if roots.iter().any(|(prefix, _)| prefix.contains(&id)) => orphans += 1,
            None => findings.beside += 1,
        }
    }
    findings.problems.extend(named.into_keys().map(|id| Problem::Tree(TreeDamage::NoLeaf(id))));
    if orphans > 0 {
        findings.problems.push(Problem::Orphans(orphans));
    }
    if let Some(snapshot) = &findings.snapshot
        && findings.problems.is_empty()
        && trees_at(snapshot, &findings.leaves).is_none()
    {
        findings.problems.push(Problem::TreeRoots(snapshot.entry.index));
    }
    Ok(())
}
