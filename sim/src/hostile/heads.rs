//! The tree over a group's log: what an attack on it needs, and the oracle's rule on what is signed.
//!
//! The tree, its text, the MAC and the signature are read here as RFC 6962, C2SP's tlog-checkpoint and `docs/protocol.md` have
//! them, apart from the core.

use super::head_step::{HeadForgery, HeadStep};
use super::hunt::{Hunt, recent};
use super::keys::{RealmKeys, hash, mac};
use super::parts::{DEVICES, Sum};
use super::step::{Made, Step};
use super::world::{World, device};
use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signature, SigningKey};
use rand::RngExt;
use rand::seq::IndexedRandom;
use sha2::{Digest as _, Sha256};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{MAX_CAPTURE_ENTRIES, Request};
use strongroom_proto::ids::{Digest, EntryHash, GroupId, Index, Mac};
use strongroom_proto::statement::{Committed, Head};
use strongroom_proto::tlog::CompactRange;

const RULE: &str = "heads are of the log";

/// MTH of RFC 6962, section 2.1.
fn tree_hash(leaves: &[EntryHash]) -> [u8; 32] {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => Sha256::digest([&[0], &leaf.0[..]].concat()).into(),
        more => {
            let k = 1 << (more.len() - 1).ilog2();
            let (left, right) = (tree_hash(&more[..k]), tree_hash(&more[k..]));
            Sha256::digest([&[1], &left[..], &right].concat()).into()
        }
    }
}

/// The trees of as many leaves as a power of two, each as large as it can be, from left to right.
fn subtrees(mut leaves: &[EntryHash]) -> Vec<[u8; 32]> {
    let mut hashes = Vec::new();
    while let Some(bits) = leaves.len().checked_ilog2() {
        let (left, right) = leaves.split_at(1 << bits);
        hashes.push(tree_hash(left));
        leaves = right;
    }
    hashes
}

/// As a message has it: an array of byte strings.
fn range_of(hashes: &[[u8; 32]]) -> CompactRange {
    let hashes: Vec<EntryHash> = hashes.iter().copied().map(EntryHash).collect();
    let bytes = minicbor::to_vec(hashes).expect("a vector takes all bytes");
    minicbor::decode(&bytes).expect("no more hashes than an index has bits")
}

impl RealmKeys {
    /// What an HSM is to state of these entries of a group; there is at least one.
    fn head(&self, group: GroupId, leaves: &[EntryHash]) -> Option<Head> {
        let (index, hash) = (leaves.len() as u64, *leaves.last()?);
        let hashes = subtrees(leaves);
        let fields: [&[u8]; 5] = [&self.realm.0, &group.0, &index.to_be_bytes(), &hash.0, &hashes.concat()];
        let mac = Mac(Digest(mac(&self.statements, "strongroom head 1", &fields)));
        Some(Head { group, index: Index(index), hash, range: range_of(&hashes), mac })
    }

    /// Whether this is the realm's signature of the checkpoint of these entries.
    fn has_signed(&self, group: GroupId, leaves: &[EntryHash], signature: &[u8; 64]) -> bool {
        let (realm, group) = (hex::encode(self.realm.0), hex::encode(group.0));
        let (size, root) = (leaves.len(), Base64::encode_string(&tree_hash(leaves)));
        let body = format!("strongroom/{realm}/{group}\n{size}\n{root}\n");
        let key = SigningKey::from_bytes(&self.checkpoints).verifying_key();
        key.verify_strict(body.as_bytes(), &Signature::from_bytes(signature)).is_ok()
    }
}

impl World {
    pub(super) fn apply_head(&mut self, n: Made, step: &HeadStep) {
        match step {
            HeadStep::Extend { at, head, entries } => {
                let from = head.and_then(|head| self.sums.get(&head)).map(|sum| sum.head.clone());
                if head.is_some() == from.is_some() {
                    let entries = self.entries_of(entries);
                    self.exchange(n, device(*at), step.name(), &Request::ExtendHead { from, entries });
                }
            }
            HeadStep::Sign { at, head, statement } => {
                let committed = self.commit_or_dressed(*statement);
                if let (Some(sum), Some(committed)) = (self.sums.get(head), committed) {
                    let request = Request::SignHead { head: sum.head.clone(), committed };
                    self.exchange(n, device(*at), step.name(), &request);
                }
            }
            HeadStep::Forge { head, entry, how } => self.forge_head(n, *head, *entry, *how),
        }
    }

    fn forge_head(&mut self, n: Made, head: Made, entry: Made, how: HeadForgery) {
        let (Some(sum), Some(known)) = (self.sums.get(&head), self.entries.get(&entry)) else { return };
        let mut head = sum.head.clone();
        match how {
            HeadForgery::OtherTree => {}
            HeadForgery::OtherEntry => (head.index, head.hash) = (known.entry.index, known.hash),
            HeadForgery::OtherGroup => {
                let others = self.groups.iter().map(|group| group.id);
                head.group = others.rev().find(|id| *id != head.group).unwrap_or(GroupId([5; 16]));
            }
            HeadForgery::EntrysMac => head.mac = known.entry.mac,
            HeadForgery::HostsMac => head.mac = Mac(Digest(hash("strongroom head 1", &[&head.hash.0]))),
        }
        // Of as many hashes as there must be: a core asserts that of what it takes for a head.
        let fits = head.range.to_bytes().len() == 32 * head.index.0.count_ones() as usize;
        if !fits || !matches!(how, HeadForgery::OtherEntry | HeadForgery::OtherGroup) {
            head.range = range_of(&vec![[0x68; 32]; head.index.0.count_ones() as usize]);
        }
        self.sums.insert(n, Sum { head, leaves: Vec::new(), is_forged: true });
    }

    /// What was summed up before and now; or why it should not have been.
    fn summed(&self, from: Option<&Head>, entries: &[Entry]) -> Result<(GroupId, Vec<EntryHash>), String> {
        let mut leaves = Vec::new();
        let mut group = entries.first().map(|first| first.group);
        if let Some(head) = from {
            let stated = self.sums.values().find(|sum| !sum.is_forged && sum.head == *head);
            let Some(stated) = stated else { return Err("carried on a head that no HSM stated".into()) };
            (group, leaves) = (Some(head.group), stated.leaves.clone());
        }
        for entry in entries {
            let before = leaves.last().copied().unwrap_or(EntryHash([0; 32]));
            if entry.index.0 != leaves.len() as u64 + 1 || entry.prev != before {
                return Err(format!("summed up what does not follow the {} entries before it", leaves.len()));
            }
            leaves.push(entry.hash());
        }
        Ok((group.ok_or("summed up nothing")?, leaves))
    }

    /// A head is of what was brought, whoever made that.
    pub(super) fn judge_head(
        &mut self,
        n: Made,
        at: usize,
        from: Option<&Head>,
        entries: &[Entry],
        head: Head,
    ) {
        if self.hosts_own[at] {
            // In this realm, one more that nobody stated.
            self.sums.insert(n, Sum { head, leaves: Vec::new(), is_forged: true });
            return;
        }
        let (group, leaves) = match self.summed(from, entries) {
            Ok(summed) => summed,
            Err(what) => return self.violate(RULE, format!("HSM {at} {what}")),
        };
        if self.founding.keys.head(group, &leaves).as_ref() != Some(&head) {
            let what = format!("HSM {at} stated of {} entries what is not so", leaves.len());
            return self.violate(RULE, what);
        }
        self.sums.insert(n, Sum { head, leaves, is_forged: false });
    }

    /// What is signed is the tree over as many entries of a group's one committed chain as it says.
    pub(super) fn judge_checkpoint(
        &mut self,
        at: usize,
        head: &Head,
        committed: &Committed,
        signature: &[u8; 64],
    ) {
        // It is a majority by itself, and states what it likes: that some HSM believes it is judged where it costs something.
        let strange = self.broken.is_some_and(|broken| self.statuses[broken].hsm == committed.hsm);
        if self.hosts_own[at] || strange {
            return;
        }
        let size = head.index;
        let Some(group) = self.group_index(&head.group) else {
            return self.violate(RULE, format!("HSM {at} signed a tree of no group"));
        };
        let of_log = (1..=size.0).map(|index| self.committed.get(&(group, Index(index))).copied());
        let Some(leaves) = of_log.collect::<Option<Vec<EntryHash>>>() else {
            let what =
                format!("HSM {at} signed a tree of {size} entries of group {group}, not all committed");
            return self.violate(RULE, what);
        };
        if !self.founding.keys.has_signed(head.group, &leaves, signature) {
            let what = format!("HSM {at} signed another tree than that of {size} entries of group {group}");
            return self.violate(RULE, what);
        }
        self.traffic(group, "SignHead");
    }
}

impl Hunt {
    /// All entries that lead to one, and that.
    pub(super) fn chain(&self, to: Made) -> Vec<Made> {
        let mut chain = Vec::new();
        let mut next = Some(to);
        while let Some((made, known)) = next.and_then(|made| Some((made, self.world.entries.get(&made)?))) {
            chain.push(made);
            next = known.parent;
        }
        chain.reverse();
        chain
    }

    pub(super) fn extend(&mut self, at: u8, head: Option<Made>, entries: &[Made]) -> Made {
        self.go(Step::Head(HeadStep::Extend { at, head, entries: entries.to_vec() }))
    }

    pub(super) fn sign(&mut self, at: u8, head: Made, statement: Made) {
        self.go(Step::Head(HeadStep::Sign { at, head, statement }));
    }

    pub(super) fn forge_head(&mut self, head: Made, entry: Made, how: HeadForgery) -> Made {
        self.go(Step::Head(HeadStep::Forge { head, entry, how }))
    }

    /// The newest head of an entry on this chain, and how many entries it is of.
    fn summed(&self, chain: &[Made]) -> Option<(Made, usize)> {
        let known = self.world.sums.iter().rev().filter(|(_, sum)| !sum.is_forged);
        let on_chain = |sum: &Sum| {
            let at = sum.leaves.len();
            let end = chain.get(at.checked_sub(1)?).and_then(|made| self.world.entries.get(made))?;
            (end.hash == sum.head.hash).then_some(at)
        };
        known.filter_map(|(made, sum)| Some((*made, on_chain(sum)?))).max_by_key(|(_, size)| *size)
    }

    /// Has any HSMs sum up the chain to an entry in a few pieces, now and then from the first on: its head.
    pub(super) fn sum_up(&mut self, to: Made) -> Option<Made> {
        let chain = self.chain(to);
        let again = self.rng.random_ratio(1, 8);
        let (mut head, size) = self.summed(&chain).filter(|_| !again).unzip();
        let rest = &chain[size.unwrap_or(0)..];
        let piece = self.rng.random_range(rest.len() / 3..=rest.len()).clamp(1, MAX_CAPTURE_ENTRIES);
        for entries in rest.chunks(piece) {
            let at = self.any_hsm();
            head = Some(self.extend(at, head, entries));
        }
        head.filter(|head| self.world.sums.contains_key(head))
    }

    /// What was stated of exactly this entry as committed.
    pub(super) fn said(&self, entry: Made) -> Option<Made> {
        let hash = self.world.entries.get(&entry)?.hash;
        let about = |(_, (_, committed)): &(&Made, &(usize, Committed))| committed.hash == hash;
        self.world.commits.iter().find(about).map(|(statement, _)| *statement)
    }

    pub(super) fn any_head(&mut self) -> Option<Step> {
        let at = self.rng.random_range(0..DEVICES as u8);
        let head = recent(&mut self.rng, self.world.sums.keys());
        let entry = recent(&mut self.rng, self.world.entries.keys())?;
        Some(Step::Head(match self.rng.random_range(0..8) {
            0 => HeadStep::Forge { head: head?, entry, how: *HeadForgery::ALL.choose(&mut self.rng)? },
            1..=3 => {
                let other = recent(&mut self.rng, self.world.statements.keys());
                let lie = recent(&mut self.rng, self.world.lies.keys());
                let about = head.and_then(|head| self.world.by_hash.get(&self.world.sums[&head].head.hash));
                let about = about.copied().and_then(|entry| self.said(entry));
                let any = recent(&mut self.rng, self.world.commits.keys());
                let statement = match self.rng.random_range(0..6) {
                    0 => other.or(lie),
                    1 => any,
                    2 => lie.or(any),
                    _ => about.or(any),
                };
                HeadStep::Sign { at, head: head?, statement: statement? }
            }
            _ => self.any_extension(at, head, entry),
        }))
    }

    /// Entries that follow a head, or that might.
    fn any_extension(&mut self, at: u8, head: Option<Made>, entry: Made) -> HeadStep {
        let chain = self.chain(entry);
        let (newest, size) = self.summed(&chain).unzip();
        let head = if self.rng.random_ratio(1, 6) { head } else { newest };
        let mut entries: Vec<Made> = chain[size.unwrap_or(0)..].to_vec();
        if self.rng.random_ratio(1, 8) {
            entries.extend(recent(&mut self.rng, self.world.entries.keys()));
        }
        if self.rng.random_ratio(1, 8) && !entries.is_empty() {
            entries.remove(self.rng.random_range(0..entries.len()));
        }
        if self.rng.random_ratio(1, 8) {
            entries.reverse();
        }
        entries.truncate(MAX_CAPTURE_ENTRIES + usize::from(self.rng.random_ratio(1, 8)));
        HeadStep::Extend { at, head, entries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree of seven leaves that RFC 6962 draws in section 2.1.3.
    #[test]
    fn the_tree_is_the_one_that_the_rfc_draws() {
        let leaves: Vec<EntryHash> = (0..7).map(|n| EntryHash([n; 32])).collect();
        let [a, b, c, d, e, f, j] = [0, 1, 2, 3, 4, 5, 6].map(|n| tree_hash(&leaves[n..=n]));
        let node = |left: [u8; 32], right: [u8; 32]| -> [u8; 32] {
            Sha256::digest([&[1], &left[..], &right[..]].concat()).into()
        };
        let (k, i) = (node(node(a, b), node(c, d)), node(e, f));
        assert_eq!(tree_hash(&leaves), node(k, node(i, j)));
        assert_eq!(subtrees(&leaves), [k, i, j]);
        assert_eq!(subtrees(&[]), <[[u8; 32]; 0]>::default());
    }
}
