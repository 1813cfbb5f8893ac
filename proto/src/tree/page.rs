//! Pages: a tree cut into pieces of four levels, as a host stores it, and put together again.
//!
//! A page is named by the prefix of its topmost node and reaches to the next depth that is a multiple of four. It
//! opens every inner node above that depth; inner nodes at that depth are stubs, each the top of the next page. Leaves
//! are in the page where they stand, without their sealed bytes. Since leaves are never removed, neither are pages.
//!
//! Only hosts use this: the feature `outside` is off in an HSM. A host is not trusted, but neither does it trust its
//! store: what comes from there is a [`Page`] and counts only under a node that has its digest ([`Tree::open_page`]).

use super::claimed::ClaimedTree;
use super::node::{Leaf, Node};
use super::{Tree, TreeError};
use crate::ids::{Digest, RecordId};
use crate::prefix::{Prefix, bit};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

/// How many levels of inner nodes a page has, if its prefix is a multiple of this long; otherwise fewer.
pub const PAGE_LEVELS: u16 = 4;

/// Up to four levels of a tree, as they are stored.
///
/// Holding one proves that its digest is that of its nodes and that its shape is that of a page. It does not prove
/// whose tree it belongs to. A clone is cheap.
#[derive(Clone, Debug)]
pub struct Page(Tree);

/// Where the path to a record leads from a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Onward {
    /// The record has no leaf.
    Absent,
    /// Its leaf is here; its sealed bytes are stored apart and have this digest.
    Leaf(Digest),
    /// On to this page.
    Page(Prefix),
}

impl Page {
    /// Reads the page stored under `prefix`; `bytes` as [`Self::encode`] makes them.
    ///
    /// # Errors
    /// [`TreeError`]: what is stored there is not a page, or not this one.
    pub fn decode(prefix: Prefix, bytes: &[u8]) -> Result<Self, TreeError> {
        let page = Self(ClaimedTree::decode(bytes)?.assemble(prefix)?);
        if page.leaves().any(|leaf| leaf.sealed().is_some()) {
            // One page has one encoding, and is small.
            return Err(TreeError::Malformed);
        }
        if page.is_whole() { Ok(page) } else { Err(TreeError::NotOpened) }
    }

    /// Its bytes: those of a [`ClaimedTree`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.0.encode()
    }

    /// Its place, by which it is stored.
    #[must_use]
    pub const fn prefix(&self) -> Prefix {
        self.0.prefix
    }

    /// The digest of its topmost node.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.root()
    }

    /// The leaves in it: record ids and the digests of their sealed bytes.
    pub fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.0.leaves()
    }

    /// The pages below it, with the digests that they must have.
    #[must_use]
    pub fn below(&self) -> Vec<(Prefix, Digest)> {
        let mut found = Vec::new();
        let mut open = vec![(self.0.prefix, &self.0.root)];
        while let Some((prefix, node)) = open.pop() {
            match node {
                Node::Stub(digest) => found.push((prefix, *digest)),
                Node::Inner(inner) => {
                    let Some((left, right)) = prefix.children() else { continue };
                    open.extend([(right, inner.right()), (left, inner.left())]);
                }
                Node::Empty | Node::Leaf(_) => {}
            }
        }
        found
    }

    /// Where the path to a record leads.
    ///
    /// # Errors
    /// [`TreeError::NotCovered`].
    pub fn onward(&self, id: &RecordId) -> Result<Onward, TreeError> {
        if !self.0.prefix.contains(id) {
            return Err(TreeError::NotCovered);
        }
        let (node, depth) = self.0.walk(id, Prefix::MAX_LEN);
        Ok(match node {
            Node::Leaf(leaf) if leaf.record_id() == *id => Onward::Leaf(leaf.sealed_digest()),
            Node::Stub(_) => Onward::Page(Prefix::of(id, depth).ok_or(TreeError::TooDeep)?),
            Node::Empty | Node::Leaf(_) | Node::Inner(_) => Onward::Absent,
        })
    }

    /// Whether it opens all that a page must: a page made from a partial tree need not.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let end = end_of_page(self.0.prefix.len());
        let mut open = vec![(self.0.prefix.len(), &self.0.root)];
        while let Some((depth, node)) = open.pop() {
            match node {
                Node::Empty | Node::Leaf(_) => {}
                Node::Stub(_) if depth == end => {}
                Node::Inner(inner) if depth < end => {
                    let below = depth.saturating_add(1);
                    open.extend([(below, inner.left()), (below, inner.right())]);
                }
                Node::Stub(_) | Node::Inner(_) => return false,
            }
        }
        true
    }

    /// Opens, from an older state of the same page or of one above it, what has not changed since. That includes a leaf
    /// that has moved down because another came beside it.
    pub fn complete(&mut self, older: &Self) {
        for leaf in older.leaves() {
            let id = leaf.record_id();
            if self.0.prefix.contains(&id) {
                let leaf = || Node::Leaf(leaf.without_sealed());
                self.0.change_at(&id, Prefix::MAX_LEN, |mine| {
                    matches!(mine, Node::Stub(digest) if *digest == leaf().digest()).then(leaf)
                });
            }
        }
        self.0.open_page(older);
    }

    /// Cuts the page out of a tree, from its topmost node.
    fn cut(prefix: Prefix, top: &Node) -> Self {
        let end = end_of_page(prefix.len());
        Self(Tree { prefix, root: cut(top, prefix.len(), end) })
    }
}

/// The depth at which a page ends that begins at `depth`.
fn end_of_page(depth: u16) -> u16 {
    depth.saturating_sub(depth % PAGE_LEVELS).saturating_add(PAGE_LEVELS)
}

/// Closes what is below `end`. Recurses through at most [`PAGE_LEVELS`] levels.
fn cut(node: &Node, depth: u16, end: u16) -> Node {
    match node {
        Node::Empty => Node::Empty,
        Node::Stub(digest) => Node::Stub(*digest),
        Node::Leaf(leaf) => Node::Leaf(leaf.without_sealed()),
        Node::Inner(inner) if depth >= end => Node::Stub(inner.digest()),
        Node::Inner(inner) => {
            let below = depth.saturating_add(1);
            let (left, right) = (cut(inner.left(), below, end), cut(inner.right(), below, end));
            Node::inner(inner.digest(), left, right)
        }
    }
}

/// What an opening has still to do.
enum Step {
    Visit(Node, Node),
    Join(Digest),
}

/// `mine`, with everything opened that is open in `theirs` and has the same digest.
fn opened(mine: Node, theirs: Node) -> Node {
    let as_it_was = mine.clone();
    let mut steps = vec![Step::Visit(mine, theirs)];
    let mut done = Vec::new();
    while let Some(step) = steps.pop() {
        match step {
            Step::Visit(Node::Stub(digest), theirs) if theirs.digest() == digest => done.push(theirs),
            Step::Visit(Node::Leaf(mine), Node::Leaf(theirs)) => {
                let adds = mine.sealed().is_none() && mine.digest() == theirs.digest();
                done.push(Node::Leaf(if adds { theirs } else { mine }));
            }
            Step::Visit(Node::Inner(mine), Node::Inner(theirs)) => {
                let ((left, right), (their_left, their_right)) = (mine.children(), theirs.children());
                steps.push(Step::Join(mine.digest()));
                steps.push(Step::Visit(right, their_right));
                steps.push(Step::Visit(left, their_left));
            }
            Step::Visit(mine, _) => done.push(mine),
            Step::Join(digest) => {
                let (Some(right), Some(left)) = (done.pop(), done.pop()) else {
                    debug_assert!(false, "both sides are finished before they are joined");
                    return as_it_was;
                };
                done.push(Node::inner(digest, left, right));
            }
        }
    }
    debug_assert!(done.len() == 1, "the topmost node is finished last");
    done.pop().unwrap_or(as_it_was)
}

impl Tree {
    /// The tree with this root, with nothing opened.
    ///
    /// Proves nothing beyond what its maker knows about the root.
    #[must_use]
    pub fn closed(prefix: Prefix, root: Digest) -> Self {
        let root = if root == Digest::EMPTY { Node::Empty } else { Node::Stub(root) };
        Self { prefix, root }
    }

    /// Opens what a page shows of this tree: only where a closed node has the very digest that the page has there.
    pub fn open_page(&mut self, page: &Page) {
        self.open_tree(&page.0);
    }

    /// Opens what another state, or part, of the same tree shows of this one: only where a closed node has the very
    /// digest that the other has there.
    pub fn open_tree(&mut self, other: &Self) {
        let at = RecordId(*other.prefix.bits());
        if self.prefix.contains(&at) && self.prefix.len() <= other.prefix.len() {
            self.change_at(&at, other.prefix.len(), |mine| Some(opened(mine.clone(), other.root.clone())));
        } else if let Some(theirs) = other.at(&self.prefix) {
            self.root = opened(self.root.clone(), theirs.clone());
        }
    }

    /// The topmost node below a prefix that is longer than the tree's, if it is open.
    fn at(&self, prefix: &Prefix) -> Option<&Node> {
        let id = RecordId(*prefix.bits());
        if prefix.len() < self.prefix.len() || !self.prefix.contains(&id) {
            return None;
        }
        let (node, depth) = self.walk(&id, prefix.len());
        match node {
            Node::Leaf(leaf) if depth < prefix.len() => prefix.contains(&leaf.record_id()).then_some(node),
            node => (depth == prefix.len()).then_some(node),
        }
    }

    /// Adds the sealed bytes of a leaf that is open without them. Returns whether they are those of the leaf.
    pub fn open_leaf(&mut self, id: &RecordId, sealed: Arc<[u8]>) -> bool {
        let leaf = Leaf::new(*id, sealed);
        let mut fits = false;
        if self.prefix.contains(id) {
            self.change_at(id, Prefix::MAX_LEN, |mine| {
                fits = matches!(mine, Node::Leaf(mine) if mine.digest() == leaf.digest());
                fits.then(|| Node::Leaf(leaf))
            });
        }
        fits
    }

    /// The pages between the root and the roots of trees that this one was merged from, as far as they are open. As
    /// incomplete as those of [`Self::pages`].
    #[must_use]
    pub fn pages_above(&self, merged: &[Prefix]) -> Vec<Page> {
        let mut pages = BTreeMap::new();
        for tree in merged.iter().filter(|tree| self.at(tree).is_some()) {
            for len in (self.prefix.len()..tree.len()).filter(|len| len % PAGE_LEVELS == 0) {
                if let Some(prefix) = Prefix::of(&RecordId(*tree.bits()), len)
                    && let Some(top @ Node::Inner(_)) = self.at(&prefix)
                {
                    pages.insert(prefix, top);
                }
            }
        }
        pages.into_iter().map(|(prefix, top)| Page::cut(prefix, top)).collect()
    }

    /// The pages on the paths to these records. Those made from a partial tree may lack what was not on a path: see
    /// [`Page::complete`].
    ///
    /// # Errors
    /// [`TreeError::NotCovered`], [`TreeError::NotOpened`].
    pub fn pages(&self, ids: impl IntoIterator<Item = RecordId>) -> Result<Vec<Page>, TreeError> {
        let mut pages = BTreeMap::new();
        pages.insert(self.prefix, &self.root);
        for id in ids {
            if !self.prefix.contains(&id) {
                return Err(TreeError::NotCovered);
            }
            let (mut node, mut depth) = (&self.root, self.prefix.len());
            while let Node::Inner(inner) = node {
                node = inner.side(&id, depth);
                depth = depth.saturating_add(1);
                if depth % PAGE_LEVELS == 0
                    && matches!(node, Node::Inner(_))
                    && let Some(prefix) = Prefix::of(&id, depth)
                {
                    pages.insert(prefix, node);
                }
            }
            if matches!(node, Node::Stub(_)) {
                return Err(TreeError::NotOpened);
            }
        }
        Ok(pages.into_iter().map(|(prefix, top)| Page::cut(prefix, top)).collect())
    }

    /// Replaces the node where the path to `id` ends, at `depth` at the latest, by one with the same digest.
    fn change_at(&mut self, id: &RecordId, depth: u16, change: impl FnOnce(&Node) -> Option<Node>) {
        let mut above = Vec::new();
        let (mut node, mut at) = (&self.root, self.prefix.len());
        while let Node::Inner(inner) = node
            && at < depth
        {
            above.push((inner.clone(), at));
            node = inner.side(id, at);
            at = at.saturating_add(1);
        }
        let reached = at == depth || depth == Prefix::MAX_LEN;
        let Some(mut node) = change(node).filter(|_| reached) else { return };
        while let Some((inner, at)) = above.pop() {
            let (left, right) = inner.children();
            let (left, right) = if bit(id, at) { (left, node) } else { (node, right) };
            node = Node::inner(inner.digest(), left, right);
        }
        self.root = node;
    }

    /// Where the path to `id` ends, at `depth` at the latest, and how deep that is.
    fn walk(&self, id: &RecordId, depth: u16) -> (&Node, u16) {
        let (mut node, mut at) = (&self.root, self.prefix.len());
        while let Node::Inner(inner) = node
            && at < depth
        {
            node = inner.side(id, at);
            at = at.saturating_add(1);
        }
        (node, at)
    }
}
