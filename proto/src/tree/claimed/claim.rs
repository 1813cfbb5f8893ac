//! How a host claims a tree: its nodes, one after the other.

use super::{ClaimedNode, ClaimedTree};
use crate::tree::Tree;
use crate::tree::node::Node;
use alloc::vec;
use alloc::vec::Vec;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Encode, Encoder};

impl ClaimedTree {
    /// Its bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let written = minicbor::to_vec(self);
        debug_assert!(written.is_ok(), "a vector takes every byte");
        written.unwrap_or_default()
    }
}

impl Tree {
    /// Its bytes, as [`ClaimedTree::decode`] reads them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        ClaimedTree::from(self).to_bytes()
    }
}

impl From<&Tree> for ClaimedTree {
    fn from(tree: &Tree) -> Self {
        let mut e = Encoder::new(Vec::new());
        let mut nodes = 0_usize;
        let mut open = vec![&tree.root];
        while let Some(node) = open.pop() {
            let written = e.encode(ClaimedNode::from(node)).is_ok();
            debug_assert!(written, "a vector takes every byte");
            nodes = nodes.saturating_add(1);
            if let Node::Inner(inner) = node {
                open.extend([inner.right(), inner.left()]);
            }
        }
        Self { bytes: e.into_writer(), nodes }
    }
}

impl<'a> From<&'a Node> for ClaimedNode<'a> {
    /// Without what is below it.
    fn from(node: &'a Node) -> Self {
        match node {
            Node::Empty => Self::Empty,
            Node::Inner(_) => Self::Inner,
            Node::Stub(digest) => Self::Stub(*digest),
            Node::Leaf(leaf) => match leaf.sealed() {
                Some(sealed) => Self::Leaf(leaf.record_id(), sealed),
                None => Self::Unread(leaf.record_id(), leaf.sealed_digest()),
            },
        }
    }
}

impl<C> Encode<C> for ClaimedNode<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        match self {
            Self::Empty => e.array(1)?.u8(0)?,
            Self::Inner => e.array(1)?.u8(1)?,
            Self::Stub(digest) => e.array(2)?.u8(2)?.bytes(&digest.0)?,
            Self::Unread(id, digest) => e.array(3)?.u8(3)?.bytes(&id.0)?.bytes(&digest.0)?,
            Self::Leaf(id, sealed) => e.array(3)?.u8(4)?.bytes(&id.0)?.bytes(sealed)?,
        };
        Ok(())
    }
}
