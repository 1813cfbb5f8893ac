//! The chain of a group's segments, put together from what is in the store.

use super::tree::TreeFindings;
use super::{CheckError, Problem, Progress, Witness};
use crate::replica::ReadOutcome;
use crate::segment::{BadSegment, Segment, SegmentName};
use crate::store::Store;
use crate::tree::Snapshot;
use futures::{StreamExt, stream};
use std::collections::BTreeMap;
use std::time::Duration;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::MAX_CAPTURE_ENTRIES;
use strongroom_proto::ids::{EntryHash, GroupId, Index};

/// How many segments are read at once.
const READ_AHEAD: usize = 16;
/// First and last pause before a segment that does not decode is read again; each is twice as long.
const REREAD: Duration = Duration::from_millis(50);
const LAST_REREAD: Duration = Duration::from_millis(800);

/// A segment on the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its name.
    pub name: SegmentName,
    /// The hash of the entry before it.
    pub prev: EntryHash,
    /// Its last entry.
    pub last: (Index, EntryHash),
}

/// A group's chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its segments, in order.
    pub links: Vec<Link>,
    /// How many others there are.
    pub unnecessary: usize,
    /// The least first index of all segments, 0 for none.
    pub oldest: Index,
    /// Whether there are segments that begin after its end.
    pub goes_on: bool,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

impl Chain {
    /// The index of its first entry, or where nothing tells which that is, of the oldest that there is; 0 for none.
    #[must_use]
    pub fn begins_at(&self) -> Index {
        self.links.first().map_or(self.oldest, |link| link.name.first)
    }

    /// Its last entry, zero for none.
    #[must_use]
    pub fn ends_at(&self) -> (Index, EntryHash) {
        self.links.last().map_or((Index::ZERO, EntryHash::ZERO), |link| link.last)
    }
}

enum Read {
    Link(Link),
    Bad(SegmentName, Problem),
    /// Deleted since it was listed.
    Gone,
}

async fn read_segment(
    store: &Store,
    name: SegmentName,
) -> Result<Option<Result<Segment, BadSegment>>, CheckError> {
    let mut pause = REREAD;
    loop {
        match store.read(&name.to_string()).await {
            ReadOutcome::Found(bytes) => match Segment::decode(&bytes) {
                // One bad read is no damage: a store may cut what it sends, and be well a moment later.
                Err(_) if pause <= LAST_REREAD => {}
                segment => return Ok(Some(segment)),
            },
            ReadOutcome::Absent => return Ok(None),
            ReadOutcome::Unavailable => return Err(CheckError::Store),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

async fn read_link(store: &Store, name: SegmentName) -> Result<Read, CheckError> {
    Ok(match read_segment(store, name).await? {
        None => Read::Gone,
        Some(Err(damage)) => Read::Bad(name, Problem::Segment { object: name, damage }),
        Some(Ok(segment)) if segment.name() != name => Read::Bad(name, Problem::Misnamed { object: name }),
        Some(Ok(segment)) => {
            let last = segment.last();
            Read::Link(Link { name, prev: segment.first().prev, last: (last.index, last.hash()) })
        }
    })
}

/// Reads every segment of a group and puts its chain together: back from the snapshot, where there is one, as far as
/// segments still exist, and on from there to the end.
///
/// # Errors
/// [`CheckError::Store`].
pub async fn read_chain(
    store: &Store,
    group: GroupId,
    snapshot: Option<&Snapshot>,
    captured: Option<(Index, EntryHash)>,
    progress: &impl Progress,
) -> Result<Chain, CheckError> {
    let folder = SegmentName::folder(&group);
    let listed = store.list(&folder, &SegmentName::offset(&group, Index::ZERO)).await;
    let names: Vec<SegmentName> =
        listed.map_err(|_| CheckError::Store)?.iter().filter_map(|name| name.parse().ok()).collect();
    progress.begin("segments", Some(names.len() as u64));
    let mut reads = stream::iter(&names).map(|name| read_link(store, *name)).buffered(READ_AHEAD);
    let mut found = Found::default();
    while let Some(read) = reads.next().await {
        progress.done(1);
        match read? {
            Read::Link(link) => found.insert(link),
            Read::Bad(name, problem) => drop(found.bad.insert(name, problem)),
            Read::Gone => {}
        }
    }
    Ok(found.chain(group, snapshot, captured))
}

#[derive(Default)]
struct Found {
    links: BTreeMap<SegmentName, Link>,
    by_end: BTreeMap<(Index, [u8; 32]), SegmentName>,
    bad: BTreeMap<SegmentName, Problem>,
}

impl Found {
    fn insert(&mut self, link: Link) {
        self.by_end.insert((link.last.0, link.last.1.0), link.name);
        self.links.insert(link.name, link);
    }

    fn ending_with(&self, (index, hash): (Index, EntryHash)) -> Option<Link> {
        self.by_end.get(&(index, hash.0)).and_then(|name| self.links.get(name)).copied()
    }

    fn chain(
        self,
        group: GroupId,
        snapshot: Option<&Snapshot>,
        captured: Option<(Index, EntryHash)>,
    ) -> Chain {
        let anchor = snapshot.map(|snapshot| (snapshot.entry.index, snapshot.entry.hash()));
        let mut problems: Vec<Problem> = Vec::new();
        let mut links = Vec::new();
        if let Some(anchor) = anchor {
            let mut end = anchor;
            while let Some(link) = self.ending_with(end) {
                links.push(link);
                end = (Index(link.name.first.0.saturating_sub(1)), link.prev);
            }
            if links.is_empty() {
                problems.push(Problem::NoAnchor(anchor.0));
            }
            links.reverse();
        }
        let mut end = anchor.unwrap_or((Index::ZERO, EntryHash::ZERO));
        let missing = loop {
            let Some(first) = end.0.next() else { break None };
            let name = SegmentName::new(group, first, &end.1);
            match self.links.get(&name).filter(|link| link.prev == end.1) {
                Some(link) => {
                    links.push(*link);
                    end = link.last;
                }
                None => break Some(name),
            }
        };
        let last = links.last().map_or("the stored tree".into(), |link: &Link| link.name.to_string());
        let beyond = self.links.keys().find(|name| name.first > end.0);
        match (missing, beyond) {
            // A damaged one says so itself.
            (Some(object), _) if self.bad.contains_key(&object) => {}
            (Some(object), _) if captured.is_some_and(|(index, _)| index > end.0) => {
                problems.push(Problem::Missing { object, before: last });
            }
            (_, Some(object)) if captured.is_none() && end.0 > Index::ZERO => {
                problems.push(Problem::Beyond { object: *object, end: end.0, last });
            }
            _ => {}
        }
        let on_chain = |at: (Index, EntryHash)| links.iter().any(|link| link.last == at);
        let begins = links.first().map_or(Index::ZERO, |link| link.name.first);
        if let Some(captured) =
            captured.filter(|(index, _)| *index >= begins && *index <= end.0 && index.0 > 0)
            && !on_chain(captured)
        {
            problems.push(Problem::Forked(captured.0));
        }
        let unnecessary = (self.links.len() + self.bad.len()).saturating_sub(links.len());
        let goes_on = self.links.keys().chain(self.bad.keys()).any(|name| name.first > end.0);
        let oldest = self.links.keys().chain(self.bad.keys()).map(|name| name.first).min();
        problems.extend(self.bad.into_values());
        Chain { links, unnecessary, oldest: oldest.unwrap_or(Index::ZERO), goes_on, problems }
    }
}

/// What is done along a chain.
pub(super) struct Walk<'a, P> {
    pub(super) store: &'a Store,
    pub(super) chain: &'a Chain,
    pub(super) progress: &'a P,
}

impl<P: Progress> Walk<'_, P> {
    /// Asks an HSM for each entry up to what it has captured whether one of the realm made it. Returns for how many.
    pub(super) async fn authenticate(
        &self,
        captured: Index,
        witness: &mut impl Witness,
        problems: &mut Vec<Problem>,
    ) -> Result<u64, CheckError> {
        let links = || self.chain.links.iter().filter(|link| link.last.0 <= captured);
        self.progress.begin("entries, asking the HSM", Some(links().count() as u64));
        let mut vouched = 0;
        for link in links() {
            let Some(Ok(segment)) = read_segment(self.store, link.name).await? else { continue };
            let entries: Vec<Entry> = segment.entries().iter().map(|made| made.entry.clone()).collect();
            debug_assert!(entries.len() <= MAX_CAPTURE_ENTRIES);
            let count = entries.len() as u64;
            if witness.vouches(entries).await.map_err(CheckError::Hsm)? {
                vouched += count;
            } else {
                problems.push(Problem::Forged { object: link.name });
            }
            self.progress.done(1);
        }
        Ok(vouched)
    }

    /// Applies the leaves of all entries, or where the first ones are gone, of those after the stored tree. Returns for
    /// how many they gave the roots.
    pub(super) async fn replay(
        &self,
        stored: &TreeFindings,
        problems: &mut Vec<Problem>,
    ) -> Result<u64, CheckError> {
        let whole = TreeFindings::default();
        let stored = if self.chain.begins_at() == Index(1) { &whole } else { stored };
        let after = stored.snapshot.as_ref().map_or(Index::ZERO, |snapshot| snapshot.entry.index);
        let links = || self.chain.links.iter().filter(|link| link.name.first > after);
        self.progress.begin("segments, hashing their leaves", Some(links().count() as u64));
        let Some(mut trees) = stored.trees() else { return Ok(0) };
        let mut replayed = 0;
        for link in links() {
            let Some(Ok(segment)) = read_segment(self.store, link.name).await? else { return Ok(replayed) };
            for made in segment.entries() {
                if !trees.apply(made) {
                    problems.push(Problem::Roots { object: link.name, index: made.entry.index });
                    return Ok(replayed);
                }
                replayed += 1;
            }
            self.progress.done(1);
        }
        Ok(replayed)
    }
}
