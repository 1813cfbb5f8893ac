//! A tree as it arrives, before anything about it is proven.

use super::node::{Leaf, Node};
use super::{Tree, TreeError};
use crate::bounded::len_at_most;
use crate::ids::{Digest, RecordId};
use crate::prefix::Prefix;
use alloc::vec;
use alloc::vec::Vec;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

#[cfg(feature = "outside")]
mod claim;

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
/// Arrays of indefinite length are refused. It stays as it was sent, because a node takes as few as 2 bytes on the wire
/// and many times that once decoded; so whoever has little memory counts the [nodes](Self::nodes) first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedTree {
    /// The nodes without the head of their array. All of them decode.
    bytes: Vec<u8>,
    nodes: usize,
}

enum ClaimedNode<'b> {
    Empty,
    Inner,
    Stub(Digest),
    Unread(RecordId, Digest),
    Leaf(RecordId, &'b [u8]),
}

/// The most nodes that the partial trees of one message may claim: the paths of 128 records through 256 levels, an
/// inner node and a side for each level.
pub const MAX_TREE_NODES: usize = 128 * (2 * 256 + 1);

/// What a verification has still to do.
enum Step {
    /// Take the next node, whose leaves all lie at this prefix.
    Take(Prefix),
    /// Join the last two finished nodes.
    Join { depth: u16 },
}

impl ClaimedTree {
    /// Reads a tree that takes up all of `bytes`.
    ///
    /// # Errors
    /// [`TreeError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let mut d = Decoder::new(bytes);
        let tree = d.decode().map_err(|_| TreeError::Malformed)?;
        if d.position() == bytes.len() { Ok(tree) } else { Err(TreeError::Malformed) }
    }

    /// How many nodes it claims.
    #[must_use]
    pub const fn nodes(&self) -> usize {
        self.nodes
    }

    /// Checks that this is the tree at `prefix` with the root `expected`, or a part of it: hashes everything, sealed
    /// bytes too, checks that every leaf lies on the path of its record id, and that the shape is canonical.
    ///
    /// Says nothing of whether `expected` is the newest root, or of whose it is: the caller knows that.
    ///
    /// # Errors
    /// [`TreeError::Malformed`] for an extra or missing node, [`TreeError::TooDeep`], [`TreeError::Misplaced`],
    /// [`TreeError::NotCanonical`], [`TreeError::WrongRoot`].
    pub fn verify(self, prefix: Prefix, expected: &Digest) -> Result<Tree, TreeError> {
        let tree = self.assemble(prefix)?;
        if tree.root() == *expected { Ok(tree) } else { Err(TreeError::WrongRoot) }
    }

    /// [`Self::verify`] without a root: the tree is well formed, and whose it is remains to be seen.
    pub(super) fn assemble(self, prefix: Prefix) -> Result<Tree, TreeError> {
        let mut nodes = Decoder::new(&self.bytes);
        let mut steps = vec![Step::Take(prefix)];
        let mut done = Vec::new();
        while let Some(step) = steps.pop() {
            match step {
                Step::Take(path) => match decode_node(&mut nodes).map_err(|_| TreeError::Malformed)? {
                    ClaimedNode::Inner => {
                        let (left, right) = path.children().ok_or(TreeError::TooDeep)?;
                        steps.extend([Step::Join { depth: path.len() }, Step::Take(right), Step::Take(left)]);
                    }
                    ClaimedNode::Empty => done.push(Node::Empty),
                    ClaimedNode::Stub(Digest::EMPTY) => return Err(TreeError::NotCanonical),
                    ClaimedNode::Stub(digest) => done.push(Node::Stub(digest)),
                    ClaimedNode::Unread(id, _) | ClaimedNode::Leaf(id, _) if !path.contains(&id) => {
                        return Err(TreeError::Misplaced);
                    }
                    ClaimedNode::Unread(id, sealed) => done.push(Node::Leaf(Leaf::unread(id, sealed))),
                    ClaimedNode::Leaf(id, sealed) => done.push(Node::Leaf(Leaf::new(id, sealed.into()))),
                },
                Step::Join { depth } => {
                    let (Some(right), Some(left)) = (done.pop(), done.pop()) else {
                        debug_assert!(false, "both sides are finished before they are joined");
                        return Err(TreeError::Malformed);
                    };
                    if !canonical(&left, &right) {
                        return Err(TreeError::NotCanonical);
                    }
                    done.push(Node::inner(Node::hash(depth, &left, &right), left, right));
                }
            }
        }
        let root = done.pop();
        debug_assert!(root.is_some(), "the root is finished last");
        let root = root.ok_or(TreeError::Malformed)?;
        if nodes.position() < self.bytes.len() {
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

impl<C> Encode<C> for ClaimedTree {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(self.nodes as u64)?;
        e.writer_mut().write_all(&self.bytes).map_err(EncodeError::write)
    }
}

impl<'b, C> Decode<'b, C> for ClaimedTree {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let nodes = len_at_most::<MAX_TREE_NODES>(d)?;
        let from = d.position();
        for _ in 0..nodes {
            decode_node(d)?;
        }
        let bytes = d.input().get(from..d.position()).unwrap_or_default().into();
        Ok(Self { bytes, nodes })
    }
}

fn decode_node<'b>(d: &mut Decoder<'b>) -> Result<ClaimedNode<'b>, DecodeError> {
    let at = d.position();
    Ok(match (d.array()?, d.u8()?) {
        (Some(1), 0) => ClaimedNode::Empty,
        (Some(1), 1) => ClaimedNode::Inner,
        (Some(2), 2) => ClaimedNode::Stub(d.decode()?),
        (Some(3), 3) => ClaimedNode::Unread(d.decode()?, d.decode()?),
        (Some(3), 4) => ClaimedNode::Leaf(d.decode()?, d.bytes()?),
        _ => return Err(DecodeError::message("expected a node of a tree").at(at)),
    })
}
