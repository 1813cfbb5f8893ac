//! A tree as it arrives, before anything about it is proven.

use super::node::{Leaf, Node};
use super::{Tree, TreeError};
use crate::ids::{Digest, RecordId};
use crate::prefix::Prefix;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

/// A tree, or a part of one, as somebody sent it. Holding one proves nothing; [`ClaimedTree::verify`] does.
///
/// CBOR: an array of nodes, each before its left side and that before its right side. A node is one of
///
/// | | |
/// |---|---|
/// | `[0]` | empty |
/// | `[1]` | an inner node; its two sides follow |
/// | `[2, digest]` | a stub |
/// | `[3, record id, sealed digest]` | a leaf without its sealed bytes |
/// | `[4, record id, sealed]` | a leaf |
///
/// Arrays of indefinite length are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedTree(Vec<ClaimedNode>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum ClaimedNode {
    Empty,
    Inner,
    Stub(Digest),
    Unread(RecordId, Digest),
    Leaf(RecordId, Arc<[u8]>),
}

/// The most nodes that the partial trees of one message may claim: the paths of 128 records through 256 levels, an inner node and a side
/// for each level. A node takes 72 bytes in memory and as few as 2 on the wire, so this bounds a tree at 4.8 MB.
pub(crate) const MAX_NODES: usize = 128 * (2 * 256 + 1);

/// What a verification has still to do.
enum Step {
    /// Take the next node, whose leaves all lie at this prefix.
    Take(Prefix),
    /// Join the last two finished nodes.
    Join { depth: u16 },
}

impl ClaimedTree {
    /// Reads a tree that is all of `bytes`.
    ///
    /// # Errors
    /// [`TreeError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let mut d = Decoder::new(bytes);
        let tree = d.decode().map_err(|_| TreeError::Malformed)?;
        if d.position() == bytes.len() { Ok(tree) } else { Err(TreeError::Malformed) }
    }

    /// How many nodes it claims.
    pub(crate) const fn nodes(&self) -> usize {
        self.0.len()
    }

    /// Its bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a vector takes all bytes")
    }

    /// Checks that this is the tree at `prefix` with the root `expected`, or a part of it: hashes everything, sealed
    /// bytes too, checks that every leaf lies on the path of its record id, and that the shape is canonical.
    ///
    /// Says nothing of whether `expected` is the newest root, or of whose it is: the caller knows that.
    ///
    /// # Errors
    /// [`TreeError::Malformed`] for a node too many or too few, [`TreeError::TooDeep`], [`TreeError::Misplaced`],
    /// [`TreeError::NotCanonical`], [`TreeError::WrongRoot`].
    pub fn verify(self, prefix: Prefix, expected: &Digest) -> Result<Tree, TreeError> {
        self.verify_with(prefix, expected, |path| path.children().ok_or(TreeError::TooDeep))
    }

    /// [`Self::verify`] without the bound on depth, for a planted bug.
    ///
    /// # Errors
    /// As [`Self::verify`].
    #[cfg(feature = "planted-bugs")]
    pub fn verify_without_bound(self, prefix: Prefix, expected: &Digest) -> Result<Tree, TreeError> {
        self.verify_with(prefix, expected, |path| Ok(path.children().unwrap_or((path, path))))
    }

    /// [`Self::verify`] without a root to compare with, for a planted bug.
    ///
    /// # Errors
    /// As [`Self::verify`].
    #[cfg(feature = "planted-bugs")]
    pub fn verify_without_root(self, prefix: Prefix) -> Result<Tree, TreeError> {
        self.assemble(prefix)
    }

    fn verify_with(
        self,
        prefix: Prefix,
        expected: &Digest,
        below: impl Fn(Prefix) -> Result<(Prefix, Prefix), TreeError>,
    ) -> Result<Tree, TreeError> {
        let tree = self.assemble_with(prefix, below)?;
        if tree.root() == *expected { Ok(tree) } else { Err(TreeError::WrongRoot) }
    }

    /// [`Self::verify`] without a root: the tree is well formed, and whose it is remains to be seen.
    pub(super) fn assemble(self, prefix: Prefix) -> Result<Tree, TreeError> {
        self.assemble_with(prefix, |path| path.children().ok_or(TreeError::TooDeep))
    }

    fn assemble_with(
        self,
        prefix: Prefix,
        below: impl Fn(Prefix) -> Result<(Prefix, Prefix), TreeError>,
    ) -> Result<Tree, TreeError> {
        let mut nodes = self.0.into_iter();
        let mut steps = vec![Step::Take(prefix)];
        let mut done = Vec::new();
        while let Some(step) = steps.pop() {
            match step {
                Step::Take(path) => match nodes.next().ok_or(TreeError::Malformed)? {
                    ClaimedNode::Inner => {
                        let (left, right) = below(path)?;
                        steps.extend([Step::Join { depth: path.len() }, Step::Take(right), Step::Take(left)]);
                    }
                    ClaimedNode::Empty => done.push(Node::Empty),
                    ClaimedNode::Stub(Digest::EMPTY) => return Err(TreeError::NotCanonical),
                    ClaimedNode::Stub(digest) => done.push(Node::Stub(digest)),
                    ClaimedNode::Unread(id, _) | ClaimedNode::Leaf(id, _) if !path.contains(&id) => {
                        return Err(TreeError::Misplaced);
                    }
                    ClaimedNode::Unread(id, sealed) => done.push(Node::Leaf(Leaf::unread(id, sealed))),
                    ClaimedNode::Leaf(id, sealed) => done.push(Node::Leaf(Leaf::new(id, sealed))),
                },
                Step::Join { depth } => {
                    let (Some(right), Some(left)) = (done.pop(), done.pop()) else {
                        unreachable!("both sides are finished before they are joined");
                    };
                    if !canonical(&left, &right) {
                        return Err(TreeError::NotCanonical);
                    }
                    done.push(Node::inner(Node::hash(depth, &left, &right), left, right));
                }
            }
        }
        let root = done.pop().expect("the root is finished last");
        if nodes.next().is_some() {
            return Err(TreeError::Malformed);
        }
        Ok(Tree { prefix, root })
    }
}

/// Whether an inner node can have these two sides. A stub beside an empty side may hide a lone leaf, but then no HSM
/// has made this root.
fn canonical(left: &Node, right: &Node) -> bool {
    match (left, right) {
        (Node::Empty, other) | (other, Node::Empty) => matches!(other, Node::Inner(_) | Node::Stub(_)),
        _ => true,
    }
}

impl From<&Tree> for ClaimedTree {
    fn from(tree: &Tree) -> Self {
        let mut nodes = Vec::new();
        let mut open = vec![&tree.root];
        while let Some(node) = open.pop() {
            nodes.push(match node {
                Node::Empty => ClaimedNode::Empty,
                Node::Stub(digest) => ClaimedNode::Stub(*digest),
                Node::Leaf(leaf) => match leaf.sealed() {
                    Some(sealed) => ClaimedNode::Leaf(leaf.record_id(), sealed.clone()),
                    None => ClaimedNode::Unread(leaf.record_id(), leaf.sealed_digest()),
                },
                Node::Inner(inner) => {
                    open.extend([inner.right(), inner.left()]);
                    ClaimedNode::Inner
                }
            });
        }
        Self(nodes)
    }
}

impl<C> Encode<C> for ClaimedTree {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(self.0.len() as u64)?;
        for node in &self.0 {
            match node {
                ClaimedNode::Empty => e.array(1)?.u8(0)?,
                ClaimedNode::Inner => e.array(1)?.u8(1)?,
                ClaimedNode::Stub(digest) => e.array(2)?.u8(2)?.bytes(&digest.0)?,
                ClaimedNode::Unread(id, digest) => e.array(3)?.u8(3)?.bytes(&id.0)?.bytes(&digest.0)?,
                ClaimedNode::Leaf(id, sealed) => e.array(3)?.u8(4)?.bytes(&id.0)?.bytes(sealed)?,
            };
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for ClaimedTree {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let at = d.position();
        let len =
            d.array()?.ok_or_else(|| DecodeError::message("expected an array of known length").at(at))?;
        // Grows with the nodes that are really there: the length is only claimed.
        let mut nodes = Vec::new();
        for _ in 0..len {
            if nodes.len() >= MAX_NODES {
                return Err(DecodeError::message("more nodes than the largest batch needs").at(at));
            }
            nodes.push(decode_node(d)?);
        }
        Ok(Self(nodes))
    }
}

fn decode_node(d: &mut Decoder<'_>) -> Result<ClaimedNode, DecodeError> {
    let at = d.position();
    Ok(match (d.array()?, d.u8()?) {
        (Some(1), 0) => ClaimedNode::Empty,
        (Some(1), 1) => ClaimedNode::Inner,
        (Some(2), 2) => ClaimedNode::Stub(d.decode()?),
        (Some(3), 3) => ClaimedNode::Unread(d.decode()?, d.decode()?),
        (Some(3), 4) => ClaimedNode::Leaf(d.decode()?, d.bytes()?.into()),
        _ => return Err(DecodeError::message("expected a node of a tree").at(at)),
    })
}
