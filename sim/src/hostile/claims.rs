//! Partial trees made by hand, and the oracle's own reading of them.
//!
//! Written from `docs/protocol.md` section 4, apart from the tree that cores and hosts share, so that what a core
//! accepted can be told from what it should have accepted.

use super::keys::{hash, node_hash};
use super::step::Shape;
use strongroom_proto::hsm::PrefixTree;
use strongroom_proto::ids::{Digest, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::Tree;

#[derive(Clone)]
enum Node {
    Empty,
    Inner,
    Stub([u8; 32]),
    Unread([u8; 32], [u8; 32]),
    Leaf([u8; 32], Vec<u8>),
}

/// A partial tree as a host sends it: a prefix, and nodes in preorder.
#[derive(Clone)]
pub(super) struct Claim {
    prefix: Prefix,
    nodes: Vec<Node>,
}

/// What a subtree is to the one above it.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Empty,
    Leaf,
    Other,
}

impl Claim {
    pub(super) fn of(tree: &Tree) -> Option<Self> {
        let bytes = tree.encode();
        let mut d = minicbor::Decoder::new(&bytes);
        let mut nodes = Vec::new();
        for _ in 0..d.array().ok()?? {
            d.array().ok()?;
            let kind = d.u8().ok()?;
            let mut field = || d.bytes().ok();
            nodes.push(match kind {
                0 => Node::Empty,
                1 => Node::Inner,
                2 => Node::Stub(field()?.try_into().ok()?),
                3 => Node::Unread(field()?.try_into().ok()?, field()?.try_into().ok()?),
                _ => Node::Leaf(field()?.try_into().ok()?, field()?.to_vec()),
            });
        }
        Some(Self { prefix: tree.prefix(), nodes })
    }

    pub(super) fn to_request(&self) -> Option<PrefixTree> {
        let mut bytes = Vec::new();
        let mut e = minicbor::Encoder::new(&mut bytes);
        e.array(self.nodes.len() as u64).ok()?;
        for node in &self.nodes {
            match node {
                Node::Empty => e.array(1).ok()?.u8(0).ok()?,
                Node::Inner => e.array(1).ok()?.u8(1).ok()?,
                Node::Stub(digest) => e.array(2).ok()?.u8(2).ok()?.bytes(digest).ok()?,
                Node::Unread(id, digest) => {
                    e.array(3).ok()?.u8(3).ok()?.bytes(id).ok()?.bytes(digest).ok()?
                }
                Node::Leaf(id, sealed) => e.array(3).ok()?.u8(4).ok()?.bytes(id).ok()?.bytes(sealed).ok()?,
            };
        }
        Some(PrefixTree { prefix: self.prefix, tree: minicbor::decode(&bytes).ok()? })
    }

    /// Where the subtree ends that begins at a node.
    fn end(&self, from: usize) -> usize {
        let (mut at, mut open) = (from, 1_usize);
        while open > 0 && at < self.nodes.len() {
            open = if matches!(self.nodes[at], Node::Inner) { open + 1 } else { open - 1 };
            at += 1;
        }
        at
    }

    /// The node at the end of a record's path.
    fn place(&self, record: &RecordId) -> usize {
        let (mut at, mut depth) = (0, self.prefix.len());
        while matches!(self.nodes.get(at), Some(Node::Inner)) && depth < 256 {
            at = if bit(&record.0, depth) { self.end(at + 1) } else { at + 1 };
            depth += 1;
        }
        at
    }

    /// The root of these nodes, if they are a tree of this prefix at all.
    pub(super) fn root(&self) -> Option<Digest> {
        let mut next = 0;
        let (_, root) = self.subtree(&mut next, self.prefix)?;
        (next == self.nodes.len()).then_some(Digest(root))
    }

    /// Recursion is bounded by the length of a record id; this is not a core.
    fn subtree(&self, next: &mut usize, path: Prefix) -> Option<(Kind, [u8; 32])> {
        let node = self.nodes.get(*next)?;
        *next += 1;
        let leaf = |id: &[u8; 32], digest: &[u8; 32]| {
            let on_its_path = path.contains(&RecordId(*id));
            on_its_path.then(|| (Kind::Leaf, leaf_hash(id, digest)))
        };
        match node {
            Node::Empty => Some((Kind::Empty, [0; 32])),
            Node::Stub(digest) => (*digest != [0; 32]).then_some((Kind::Other, *digest)),
            Node::Unread(id, digest) => leaf(id, digest),
            Node::Leaf(id, sealed) => leaf(id, &hash("strongroom sealed 1", &[sealed])),
            Node::Inner => {
                let (left, right) = path.children()?;
                let left = self.subtree(next, left)?;
                let right = self.subtree(next, right)?;
                let both = [left.0, right.0];
                let canonical = !both.contains(&Kind::Empty) || both.contains(&Kind::Other);
                canonical.then(|| (Kind::Other, node_hash(path.len(), &left.1, &right.1)))
            }
        }
    }

    /// The same, of which only the root is opened.
    pub(super) fn opened_once(&self) -> Option<Self> {
        if !matches!(self.nodes.first()?, Node::Inner) {
            return Some(self.clone());
        }
        let (left, right) = self.prefix.children()?;
        let mut next = 1;
        let both = [self.subtree(&mut next, left)?, self.subtree(&mut next, right)?];
        let side = |(kind, digest)| if kind == Kind::Empty { Node::Empty } else { Node::Stub(digest) };
        let nodes = std::iter::once(Node::Inner).chain(both.map(side)).collect();
        Some(Self { prefix: self.prefix, nodes })
    }

    /// The same, of which nothing is opened.
    pub(super) fn hidden(&self) -> Option<Self> {
        if matches!(self.nodes.first()?, Node::Empty) {
            return Some(self.clone());
        }
        Some(Self { prefix: self.prefix, nodes: vec![Node::Stub(self.root()?.0)] })
    }

    /// Whether these nodes show a record's sealed bytes, or that it has none.
    pub(super) fn opens(&self, record: &RecordId) -> bool {
        self.prefix.contains(record)
            && match self.nodes.get(self.place(record)) {
                Some(Node::Empty | Node::Leaf(..)) => true,
                Some(Node::Unread(id, _)) => *id != record.0,
                _ => false,
            }
    }

    pub(super) const fn prefix(&self) -> Prefix {
        self.prefix
    }

    fn sealed(&self, record: &RecordId) -> Option<Vec<u8>> {
        match self.nodes.get(self.place(record)) {
            Some(Node::Leaf(id, sealed)) if *id == record.0 => Some(sealed.clone()),
            _ => None,
        }
    }

    fn with(&self, at: usize, nodes: &[Node]) -> Self {
        let mut changed = self.clone();
        let end = changed.end(at);
        changed.nodes.splice(at..end, nodes.iter().cloned());
        changed
    }
}

/// What a host makes from the right partial tree, an older one, and another record.
pub(super) fn shaped(
    shape: Shape,
    right: &Claim,
    older: &Claim,
    record: &RecordId,
    other: &RecordId,
) -> Vec<Claim> {
    let place = right.place(record);
    let sealed = right.sealed(record).unwrap_or_default();
    let old = older.sealed(record).unwrap_or_default();
    let put = |node| vec![right.with(place, &[node])];
    let digest = |sealed: &[u8]| hash("strongroom sealed 1", &[sealed]);
    match shape {
        Shape::Right => vec![right.clone()],
        Shape::LeafLeftOut => put(Node::Empty),
        Shape::OlderLeaf => put(Node::Leaf(record.0, old)),
        Shape::OlderDigest => put(Node::Unread(record.0, digest(&old))),
        Shape::LeafUnread => put(Node::Unread(record.0, digest(&sealed))),
        Shape::OtherBytes => put(Node::Leaf(record.0, older.sealed(other).unwrap_or(old))),
        Shape::OtherId => put(Node::Leaf(other.0, sealed)),
        Shape::LeafHidden => put(Node::Stub(leaf_hash(&record.0, &digest(&sealed)))),
        Shape::AllHidden => {
            let root = right.root().map_or([7; 32], |root| root.0);
            vec![right.with(0, &[Node::Stub(root)])]
        }
        Shape::Deeper => {
            vec![right.with(place, &[Node::Inner, Node::Leaf(record.0, sealed), Node::Empty])]
        }
        Shape::Doubled => {
            let nodes = [&[Node::Inner][..], &right.nodes, &right.nodes].concat();
            vec![Claim { nodes, ..right.clone() }]
        }
        Shape::Exchanged => {
            let middle = right.end(1).min(right.nodes.len());
            let end = right.end(middle).min(right.nodes.len());
            let first = right.nodes.get(..1).unwrap_or_default();
            let (left, rest) = (right.nodes.get(1..middle), right.nodes.get(middle..end));
            let nodes = [first, rest.unwrap_or_default(), left.unwrap_or_default()].concat();
            vec![Claim { nodes, ..right.clone() }]
        }
        Shape::Part => {
            let from = if bit(&record.0, right.prefix.len()) { right.end(1) } else { 1 };
            let nodes = right.nodes.get(from..right.end(from)).unwrap_or_default().to_vec();
            longer(right, record, 1).map(|claim| Claim { nodes, ..claim }).into_iter().collect()
        }
        Shape::LongerPrefix => longer(right, record, 1).into_iter().collect(),
        Shape::WholeId => longer(right, record, 256).into_iter().collect(),
        Shape::OlderSecond => vec![right.clone(), older.clone()],
        Shape::OlderFirst => vec![older.clone(), right.clone()],
        Shape::OneMore => {
            let nodes = [&right.nodes[..], &[Node::Empty]].concat();
            vec![Claim { nodes, ..right.clone() }]
        }
        Shape::OneLess => {
            let mut less = right.clone();
            less.nodes.pop();
            vec![less]
        }
        Shape::None => Vec::new(),
    }
}

/// The same nodes under a longer prefix of the record.
fn longer(claim: &Claim, record: &RecordId, bits: u16) -> Option<Claim> {
    let len = claim.prefix.len().saturating_add(bits).min(Prefix::MAX_LEN);
    Some(Claim { prefix: Prefix::of(record, len)?, nodes: claim.nodes.clone() })
}

fn leaf_hash(id: &[u8; 32], sealed_digest: &[u8; 32]) -> [u8; 32] {
    hash("strongroom leaf 1", &[id, sealed_digest])
}

fn bit(id: &[u8; 32], depth: u16) -> bool {
    id.get(usize::from(depth >> 3)).is_some_and(|byte| byte << (depth & 7) & 0x80 != 0)
}
