//! Reading a group's segments: for its chain, and along it.

use super::chain::{Bad, Captured, Chain, Found, Link};
use super::error::CheckError;
use super::owned::Owned;
use super::problem::Problem;
use super::progress::Progress;
use super::tree::{Digests, LeafDigest, TreeFindings, roots_of, sealed_digest};
use super::witness::Witness;
use crate::store::Store;
use futures::{Stream, StreamExt, pin_mut, stream};
use minicbor::Decoder;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::MAX_CAPTURE_ENTRIES;
use strongroom_proto::ids::{GroupId, Index, RecordId};
use strongroom_replica::ReadOutcome;
use strongroom_replica::segment::{BadSegment, Segment, SegmentEntry, SegmentName};
use strongroom_replica::stored::Snapshot;

/// How many segments are read at once.
const READ_AHEAD: usize = 16;
/// The first and last pause before a segment that does not decode is read again. Each is twice as long as the one
/// before.
const REREAD: Duration = Duration::from_millis(50);
const LAST_REREAD: Duration = Duration::from_millis(800);

enum Read {
    Link(Link),
    Bad(SegmentName, Bad),
    /// Deleted since it was listed.
    Gone(SegmentName),
}

/// Bytes that are not a segment, and why.
struct Damaged {
    damage: BadSegment,
    bytes: Vec<u8>,
}

async fn read_segment(
    store: &Store,
    name: SegmentName,
) -> Result<Option<Result<Segment, Damaged>>, CheckError> {
    let mut pause = REREAD;
    loop {
        match store.read(&name.to_string()).await {
            ReadOutcome::Found(bytes) => match Segment::decode(&bytes) {
                // One bad read is not damage: a store may truncate what it sends, and be well a moment later.
                Err(_) if pause <= LAST_REREAD => {}
                Err(damage) => return Ok(Some(Err(Damaged { damage, bytes }))),
                Ok(segment) => return Ok(Some(Ok(segment))),
            },
            ReadOutcome::Absent => return Ok(None),
            ReadOutcome::Unavailable => return Err(CheckError::Store),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// How many entries a damaged segment has: the number at its beginning, unless its entries contradict it.
fn entries_of(bytes: &[u8]) -> Option<u64> {
    let mut d = Decoder::new(bytes);
    let (Ok(Some(2)), Ok(_)) = (d.array(), d.u8()) else { return None };
    let count = d.array().ok()??;
    if count == 0 || count > MAX_CAPTURE_ENTRIES as u64 {
        return None;
    }
    let readable = (0..count).all(|_| d.decode::<SegmentEntry>().is_ok());
    // All are read, and there is more: so the number itself was damaged.
    (!readable || d.position() == bytes.len()).then_some(count)
}

async fn read_link(store: &Store, name: SegmentName) -> Result<Read, CheckError> {
    Ok(match read_segment(store, name).await? {
        None => Read::Gone(name),
        Some(Err(Damaged { damage, bytes })) => {
            let problem = Problem::Segment { object: name, damage };
            Read::Bad(name, Bad { problem, entries: entries_of(&bytes) })
        }
        Some(Ok(segment)) if segment.name() != name => {
            Read::Bad(name, Bad { problem: Problem::Misnamed { object: name }, entries: None })
        }
        Some(Ok(segment)) => {
            let last = segment.last();
            Read::Link(Link { name, prev: segment.first().prev, last: (last.index, last.hash()) })
        }
    })
}

/// Reads every segment of a group and puts its chain together: from the snapshot, if there is one, back as far as
/// segments still exist, and forward to the end.
///
/// # Errors
/// [`CheckError::Store`].
pub async fn read_chain(
    store: &Store,
    group: GroupId,
    snapshot: Option<&Snapshot>,
    captured: Captured,
    progress: &impl Progress,
) -> Result<Chain, CheckError> {
    read_chain_after(store, group, Index::ZERO, snapshot, captured, progress).await
}

/// The same, of the segments that begin at an entry or after it.
pub(super) async fn read_chain_after(
    store: &Store,
    group: GroupId,
    from: Index,
    snapshot: Option<&Snapshot>,
    captured: Captured,
    progress: &impl Progress,
) -> Result<Chain, CheckError> {
    let names = names(store, group, from).await?;
    progress.begin("segments", Some(names.len() as u64));
    let mut reads =
        stream::iter(names.iter().copied()).map(|name| read_link(store, name)).buffered(READ_AHEAD);
    let mut found = Found::default();
    while let Some(read) = reads.next().await {
        progress.done(1);
        match read? {
            Read::Link(link) => found.insert(link),
            Read::Bad(name, bad) => found.insert_bad(name, bad),
            Read::Gone(name) => found.gone = found.gone.max(Some(name.first)),
        }
    }
    let anchor = snapshot.map(|snapshot| (snapshot.entry.index, snapshot.entry.hash()));
    Ok(found.chain(group, anchor, captured))
}

async fn names(store: &Store, group: GroupId, from: Index) -> Result<Vec<SegmentName>, CheckError> {
    let folder = SegmentName::folder(&group);
    let listed = store.list(&folder, &SegmentName::offset(&group, from)).await;
    Ok(listed.map_err(|_| CheckError::Store)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// The highest first index of a group's segments, 0 for none.
pub(super) async fn newest(store: &Store, group: GroupId) -> Result<Index, CheckError> {
    Ok(names(store, group, Index::ZERO).await?.iter().map(|name| name.first).max().unwrap_or(Index::ZERO))
}

/// The newest segment of a group, and whether it can be read; `None` if the group has none.
///
/// # Errors
/// [`CheckError::Store`].
pub async fn newest_segment(
    store: &Store,
    group: GroupId,
) -> Result<Option<(SegmentName, Result<(), BadSegment>)>, CheckError> {
    for name in names(store, group, Index::ZERO).await?.into_iter().rev() {
        // One that is gone was older than the stored tree.
        if let Some(read) = read_segment(store, name).await? {
            return Ok(Some((name, read.map(drop).map_err(|bad| bad.damage))));
        }
    }
    Ok(None)
}

/// The entry up to the stored tree that last wrote each record.
pub(super) type Newest = BTreeMap<RecordId, Index>;

/// The work along a chain.
pub(super) struct Walk<'a, P> {
    pub(super) store: &'a Store,
    pub(super) chain: &'a Chain,
    pub(super) progress: &'a P,
}

impl<P: Progress> Walk<'_, P> {
    /// The segments, in order; those that are gone or damaged meanwhile are left out.
    fn segments<'a>(
        &'a self,
        names: Vec<SegmentName>,
        what: &'static str,
    ) -> impl Stream<Item = Result<Option<(SegmentName, Segment)>, CheckError>> + 'a {
        self.progress.begin(what, Some(names.len() as u64));
        let reads = stream::iter(names).map(move |name| async move {
            Ok(read_segment(self.store, name).await?.and_then(Result::ok).map(|segment| (name, segment)))
        });
        reads.buffered(READ_AHEAD).inspect(|_| self.progress.done(1))
    }

    /// Asks an HSM about each entry up to what it has captured whether an HSM of the realm made it. Returns how many it
    /// asked about.
    pub(super) async fn authenticate(
        &self,
        captured: Index,
        witness: &mut impl Witness,
        problems: &mut Vec<Problem>,
    ) -> Result<u64, CheckError> {
        let sound = self.chain.sound().filter(|link| link.last.0 <= captured);
        let segments = self.segments(sound.map(|link| link.name).collect(), "entries, asking the HSM");
        pin_mut!(segments);
        let mut vouched = 0;
        while let Some(read) = segments.next().await {
            let Some((object, segment)) = read? else { continue };
            let entries: Vec<Entry> = segment.entries().iter().map(|made| made.entry.clone()).collect();
            debug_assert!(entries.len() <= MAX_CAPTURE_ENTRIES);
            let count = entries.len() as u64;
            if witness.vouches(entries).await.map_err(CheckError::Hsm)? {
                vouched += count;
            } else {
                problems.push(Problem::Forged { object });
            }
        }
        Ok(vouched)
    }

    /// Compares what the segments up to the stored tree last made of each record with what the stored tree holds for
    /// it: the tree would be rebuilt from these segments.
    pub(super) async fn compare(
        &self,
        stored: &TreeFindings,
        problems: &mut Vec<Problem>,
    ) -> Result<Newest, CheckError> {
        let Some(snapshot) = &stored.snapshot else { return Ok(Newest::new()) };
        let links = self.chain.links.iter().filter(|link| link.last.0 <= snapshot.entry.index);
        let segments =
            self.segments(links.map(|link| link.name).collect(), "segments, comparing their leaves");
        pin_mut!(segments);
        let mut newest = BTreeMap::new();
        let mut owned = Owned::default();
        while let Some(read) = segments.next().await {
            let Some((object, segment)) = read? else { continue };
            for made in segment.entries() {
                let at = (object, made.entry.index);
                // Of what has come from another group, nothing older here is the newest.
                if let Some(come) = owned.come(&made.entry) {
                    newest.retain(|id, _| !come.contains(id));
                }
                newest.extend(made.leaves.iter().map(|l| (l.record, (at, sealed_digest(&l.sealed)))));
            }
        }
        // What has left for good is another group's, and needs no spare here.
        let roots = roots_of(&snapshot.entry);
        newest.retain(|id, _| roots.iter().any(|(prefix, _)| prefix.contains(id)));
        let other = newest.iter().filter(|(id, (_, digest))| stored.leaves.get(id) != Some(digest));
        // Once each: which records are affected does not matter.
        let places: BTreeSet<(SegmentName, Index)> = other.map(|(_, (place, _))| *place).collect();
        problems.extend(places.into_iter().map(|(object, index)| Problem::Spare { object, index }));
        Ok(newest.into_iter().map(|(id, ((_, index), _))| (id, index)).collect())
    }

    /// Applies the leaves of all entries or, if the first ones are gone, of those after the stored tree. Returns how
    /// many of them gave the roots. Leaves that the stored tree has are taken from there, so that an altered one does
    /// not hide any after it.
    pub(super) async fn replay(
        &self,
        stored: &TreeFindings,
        newest: &Newest,
        problems: &mut Vec<Problem>,
    ) -> Result<u64, CheckError> {
        let whole = TreeFindings::default();
        let from = if self.chain.begins_at() == Index(1) { &whole } else { stored };
        let snapshot = stored.snapshot.as_ref().map(|snapshot| snapshot.entry.index);
        let start = from.snapshot.as_ref().and(snapshot).unwrap_or(Index::ZERO);
        let links = self.chain.links.iter().filter(|link| link.name.first > start);
        let segments = self.segments(links.map(|link| link.name).collect(), "segments, hashing their leaves");
        pin_mut!(segments);
        let Some(trees) = from.trees() else { return Ok(0) };
        let mut replay = Replay { trees, doubt: None, replayed: 0, problems };
        while let Some(read) = segments.next().await {
            let Some((object, segment)) = read? else { break };
            for made in segment.entries() {
                let index = made.entry.index;
                let leaves = made.leaves.iter().map(|leaf| {
                    let stored = stored.leaves.get(&leaf.record);
                    let known = stored.filter(|_| newest.get(&leaf.record) == Some(&index));
                    (leaf.record, known.copied().unwrap_or_else(|| sealed_digest(&leaf.sealed)))
                });
                replay.apply(object, &made.entry, &leaves.collect::<Vec<_>>());
                if Some(index) == snapshot && replay.doubt.is_some() {
                    let Some(trees) = stored.trees() else { continue };
                    replay.trees = trees;
                    replay.settle();
                }
            }
        }
        replay.settle();
        Ok(replay.replayed)
    }
}

/// Entries applied one after another.
struct Replay<'a> {
    trees: Digests,
    doubt: Option<Doubt>,
    replayed: u64,
    problems: &'a mut Vec<Problem>,
}

/// What cannot be decided because of altered leaves.
struct Doubt {
    /// Where they are.
    object: SegmentName,
    /// The records whose leaf in the trees is wrong until an entry writes it again.
    records: BTreeSet<RecordId>,
    /// The first and last segment since, in which any leaf may be wrong.
    unproven: Option<(SegmentName, SegmentName)>,
    /// Whether another altered one is among them, so that nothing shows when the trees are right again.
    twice: bool,
}

impl Replay<'_> {
    fn apply(&mut self, object: SegmentName, entry: &Entry, leaves: &[LeafDigest]) {
        let fits = self.trees.apply(entry, leaves);
        let Some(doubt) = &mut self.doubt else {
            if fits {
                self.replayed += 1;
            } else {
                self.problems.push(Problem::Roots { object, index: entry.index });
                let records = leaves.iter().map(|(id, _)| *id).collect();
                self.doubt = Some(Doubt { object, records, unproven: None, twice: false });
            }
            return;
        };
        for (id, _) in leaves {
            doubt.records.remove(id);
        }
        if doubt.records.is_empty() && fits && !doubt.twice {
            self.replayed += 1;
            self.settle();
            return;
        }
        doubt.twice |= doubt.records.is_empty();
        // The segment that is named must be restored in any case.
        if doubt.object != object {
            let first = doubt.unproven.map_or(object, |(first, _)| first);
            doubt.unproven = Some((first, object));
        }
    }

    /// The trees are right again, or nothing can make them right any more.
    fn settle(&mut self) {
        let Some(Doubt { object, unproven, .. }) = self.doubt.take() else { return };
        let unproven = unproven.map(|(first, last)| Problem::Unproven { object, first, last });
        self.problems.extend(unproven);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minicbor::bytes::ByteVec;
    use strongroom_proto::entry::events_hash;
    use strongroom_proto::hsm::SealedLeaf;
    use strongroom_proto::ids::{Digest, EntryHash, HsmId, Mac, RealmId, Term};

    fn segment(count: u64) -> Vec<u8> {
        let mut prev = EntryHash([9; 32]);
        let entries = (10..10 + count).map(|index| {
            let events = vec![ByteVec::from(vec![7; 30])];
            let entry = Entry {
                realm: RealmId([1; 16]),
                group: GroupId([2; 16]),
                index: Index(index),
                prev,
                leader: HsmId([3; 16]),
                term: Term([4; 16]),
                partitions: Vec::new(),
                transfers: 0,
                open: Vec::new(),
                last: false,
                events_hash: events_hash(events.iter().map(|event| event.as_slice())),
                mac: Mac(Digest([5; 32])),
            };
            prev = entry.hash();
            let leaves = vec![SealedLeaf { record: RecordId([6; 32]), sealed: vec![7; 20].into() }];
            SegmentEntry { entry, leaves, events, owners: Vec::new() }
        });
        Segment::new(entries.collect()).unwrap().encode().unwrap()
    }

    #[test]
    fn wherever_one_byte_is_damaged_the_number_of_entries_is_right_or_unknown() {
        for count in [1, 3, 23] {
            let bytes = segment(count);
            let mut told = 0;
            for at in 0..bytes.len() {
                for mask in [1, 0x80, 0xff] {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= mask;
                    // The number itself is at the third byte; if it is too great, what follows the segment tells.
                    let entries = entries_of(&damaged).filter(|_| at != 2);
                    assert!(entries.is_none_or(|entries| entries == count), "{at}: {entries:?}");
                    told += u64::from(entries.is_some());
                }
            }
            assert!(told > bytes.len() as u64 * 2, "told {told} times in {} bytes", bytes.len());
            assert_eq!(entries_of(&bytes[..bytes.len() / 2]), Some(count));
        }
        for bytes in [&b""[..], b"\x82", b"<html>no</html>", &[0x82, 1, 0x80], &[0x82, 1, 0x98, 65]] {
            assert_eq!(entries_of(bytes), None);
        }
    }
}
