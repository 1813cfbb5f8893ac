//! The chain of a group's segments, put together from what is in the store.

use super::tree::{TreeFindings, sealed_digest};
use super::{CheckError, Problem, Progress, Witness};
use crate::store::Store;
use futures::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::MAX_CAPTURE_ENTRIES;
use strongroom_proto::ids::{EntryHash, GroupId, Index};
use strongroom_replica::ReadOutcome;
use strongroom_replica::segment::{BadSegment, Segment, SegmentName};
use strongroom_replica::stored::Snapshot;

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

/// What HSMs of a group have captured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Captured {
    /// The one that is asked; `None` if none is, or it is no member.
    pub own: Option<(Index, EntryHash)>,
    /// The furthest of the others that are known of, 0 for none.
    pub others: Index,
}

impl Captured {
    /// Nobody was asked.
    pub const UNKNOWN: Self = Self { own: None, others: Index::ZERO };

    /// What one of them has captured is in the log.
    fn reached(&self) -> Index {
        self.own.map_or(self.others, |(own, _)| own.max(self.others))
    }
}

/// A group's chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its segments, in order.
    pub links: Vec<Link>,
    /// How many others there are: what deposed leaders left, and what is being deleted.
    pub unnecessary: usize,
    /// The least first index of all segments, 0 for none.
    pub oldest: Index,
    /// The greatest.
    pub newest: Index,
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
    Gone(SegmentName),
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
        None => Read::Gone(name),
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
    captured: Captured,
    progress: &impl Progress,
) -> Result<Chain, CheckError> {
    let names = names(store, group).await?;
    progress.begin("segments", Some(names.len() as u64));
    let mut reads = stream::iter(&names).map(|name| read_link(store, *name)).buffered(READ_AHEAD);
    let mut found = Found::default();
    while let Some(read) = reads.next().await {
        progress.done(1);
        match read? {
            Read::Link(link) => found.insert(link),
            Read::Bad(name, problem) => drop(found.bad.insert(name, problem)),
            Read::Gone(name) => found.gone = found.gone.max(Some(name.first)),
        }
    }
    let anchor = snapshot.map(|snapshot| (snapshot.entry.index, snapshot.entry.hash()));
    Ok(found.chain(group, anchor, captured))
}

async fn names(store: &Store, group: GroupId) -> Result<Vec<SegmentName>, CheckError> {
    let folder = SegmentName::folder(&group);
    let listed = store.list(&folder, &SegmentName::offset(&group, Index::ZERO)).await;
    Ok(listed.map_err(|_| CheckError::Store)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// The greatest first index of a group's segments, 0 for none.
pub(super) async fn newest(store: &Store, group: GroupId) -> Result<Index, CheckError> {
    Ok(names(store, group).await?.iter().map(|name| name.first).max().unwrap_or(Index::ZERO))
}

#[derive(Default)]
struct Found {
    links: BTreeMap<SegmentName, Link>,
    by_end: BTreeMap<(Index, [u8; 32]), SegmentName>,
    bad: BTreeMap<SegmentName, Problem>,
    /// The first index of the newest segment that was deleted meanwhile: older ones are about to be.
    gone: Option<Index>,
}

impl Found {
    fn insert(&mut self, link: Link) {
        self.by_end.insert((link.last.0, link.last.1.0), link.name);
        self.links.insert(link.name, link);
    }

    fn ending_with(&self, (index, hash): (Index, EntryHash)) -> Option<Link> {
        self.by_end.get(&(index, hash.0)).and_then(|name| self.links.get(name)).copied()
    }

    fn chain(self, group: GroupId, anchor: Option<(Index, EntryHash)>, captured: Captured) -> Chain {
        let mut problems: Vec<Problem> = Vec::new();
        let mut links = Vec::new();
        if let Some(anchor) = anchor {
            let mut end = anchor;
            while let Some(link) = self.ending_with(end) {
                links.push(link);
                end = (Index(link.name.first.0.saturating_sub(1)), link.prev);
            }
            links.reverse();
            let begins = links.first().map_or(anchor.0.next(), |link: &Link| Some(link.name.first));
            let holes = self.holes(group, begins.unwrap_or(anchor.0));
            if links.is_empty() && holes.is_empty() && self.bad.is_empty() {
                problems.push(Problem::NoAnchor(anchor.0));
            }
            problems.extend(holes);
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
            // A damaged one is reported on its own.
            (Some(object), _) if self.bad.contains_key(&object) => {}
            (Some(object), _) if captured.reached() > end.0 => {
                problems.push(Problem::Missing { object, before: last });
            }
            (_, Some(object)) if captured.own.is_none() && end.0 > Index::ZERO => {
                problems.push(Problem::Beyond { object: *object, end: end.0, last });
            }
            _ => {}
        }
        let on_chain = |at: (Index, EntryHash)| links.iter().any(|link| link.last == at);
        let begins = links.first().map_or(Index::ZERO, |link| link.name.first);
        if let Some(captured) =
            captured.own.filter(|(index, _)| *index >= begins && *index <= end.0 && index.0 > 0)
            && !on_chain(captured)
        {
            problems.push(Problem::Forked(captured.0));
        }
        let unnecessary = (self.links.len() + self.bad.len()).saturating_sub(links.len());
        let goes_on = self.links.keys().chain(self.bad.keys()).any(|name| name.first > end.0);
        let oldest = self.links.keys().chain(self.bad.keys()).map(|name| name.first).min();
        let newest = self.links.keys().chain(self.bad.keys()).map(|name| name.first).max();
        problems.extend(self.bad.into_values());
        let newest = newest.unwrap_or(Index::ZERO);
        Chain { links, unnecessary, oldest: oldest.unwrap_or(Index::ZERO), newest, goes_on, problems }
    }

    /// What is missing or altered below the chain from the snapshot, where older segments are still kept: leaders delete the
    /// oldest first, so that what is kept begins somewhere and is whole from there on.
    fn holes(&self, group: GroupId, chain_begins: Index) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut begins = chain_begins;
        // One that overlaps what is known lost its place in the log: a deposed leader left it.
        let below = |begins: Index| {
            let kept = self.links.values().filter(|link| Some(link.name.first) > self.gone);
            let kept = kept.filter(|link| link.last.0 < begins);
            kept.max_by_key(|link| (link.last.0, self.leads_back(link)))
        };
        while let Some(link) = below(begins) {
            let (last, hash) = link.last;
            let first = Index(last.0.saturating_add(1));
            let missing = SegmentName::new(group, first, &hash);
            if first == begins {
                problems.push(Problem::Astray { object: link.name, end: last });
            } else if !self.bad.contains_key(&missing) {
                let last = Index(begins.0.saturating_sub(1));
                problems.push(Problem::Hole { object: missing, last });
            }
            begins = self.begin_of(link);
        }
        problems
    }

    /// Whether the segment before it is there.
    fn leads_back(&self, link: &Link) -> bool {
        self.ending_with((Index(link.name.first.0.saturating_sub(1)), link.prev)).is_some()
    }

    /// The first entry of the segments that lead to this one.
    fn begin_of(&self, link: &Link) -> Index {
        let mut link = *link;
        while let Some(before) = self.ending_with((Index(link.name.first.0.saturating_sub(1)), link.prev)) {
            link = before;
        }
        link.name.first
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

    /// Compares what the segments up to the stored tree last made of each record with what the stored tree has of it: they
    /// are what it would be made again from. For where the log does not go back to its beginning, so that roots do not tell.
    pub(super) async fn compare(
        &self,
        stored: &TreeFindings,
        problems: &mut Vec<Problem>,
    ) -> Result<(), CheckError> {
        let Some(snapshot) = &stored.snapshot else { return Ok(()) };
        let links = || self.chain.links.iter().filter(|link| link.last.0 <= snapshot.entry.index);
        self.progress.begin("segments, comparing their leaves", Some(links().count() as u64));
        let mut newest = BTreeMap::new();
        for link in links() {
            let Some(Ok(segment)) = read_segment(self.store, link.name).await? else { continue };
            for made in segment.entries() {
                let at = (link.name, made.entry.index);
                newest.extend(made.leaves.iter().map(|l| (l.record, (at, sealed_digest(&l.sealed)))));
            }
            self.progress.done(1);
        }
        let other = newest.into_iter().filter(|(id, (_, digest))| stored.leaves.get(id) != Some(digest));
        // Once each: nobody needs to know which records are meant.
        let places: BTreeSet<(SegmentName, Index)> = other.map(|(_, (place, _))| place).collect();
        problems.extend(places.into_iter().map(|(object, index)| Problem::Spare { object, index }));
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId([2; 16]);

    /// The hash of an entry on the branch `branch` of the log; 0 is the log.
    fn hash(index: u64, branch: u8) -> EntryHash {
        let mut hash = [branch; 32];
        hash[1..9].copy_from_slice(&index.to_be_bytes());
        if index == 0 { EntryHash::ZERO } else { EntryHash(hash) }
    }

    /// A segment of two entries on a branch.
    fn link(first: u64, branch: u8) -> Link {
        let prev = hash(first - 1, branch);
        Link {
            name: SegmentName::new(GROUP, Index(first), &prev),
            prev,
            last: (Index(first + 1), hash(first + 1, branch)),
        }
    }

    /// What is found of the log to its entry 20 when the segments that begin with `lacks` are gone and those that begin with
    /// `bad` are damaged, and `more` are there.
    fn found(lacks: &[u64], bad: &[u64], more: &[Link]) -> Found {
        let mut found = Found::default();
        for first in (1..20).step_by(2).filter(|first| !lacks.contains(first)) {
            let link = link(first, 0);
            if bad.contains(&first) {
                let problem = Problem::Misnamed { object: link.name };
                found.bad.insert(link.name, problem);
            } else {
                found.insert(link);
            }
        }
        more.iter().for_each(|link| found.insert(*link));
        found
    }

    /// The problems when the stored tree reaches entry 16.
    fn problems(found: Found) -> Vec<Problem> {
        let captured = Captured { own: Some((Index(20), hash(20, 0))), others: Index::ZERO };
        found.chain(GROUP, Some((Index(16), hash(16, 0))), captured).problems
    }

    #[test]
    fn a_hole_behind_the_stored_tree_is_told_by_whichever_hsm_has_captured_more() {
        let missing = |own, others| {
            let captured = Captured { own: Some((Index(own), hash(own, 0))), others: Index(others) };
            found(&[17], &[], &[]).chain(GROUP, Some((Index(16), hash(16, 0))), captured).problems
        };
        assert_eq!(missing(16, 16), [], "what follows may be a deposed leader's");
        for (own, others) in [(20, 0), (16, 20), (20, 16)] {
            let problems = missing(own, others);
            let [Problem::Missing { object, .. }] = problems[..] else { panic!("{problems:?}") };
            assert_eq!(object, link(17, 0).name, "{own} {others}");
        }
    }

    #[test]
    fn a_log_that_begins_somewhere_and_is_whole_from_there_is_well() {
        assert_eq!(problems(found(&[], &[], &[])), []);
        assert_eq!(problems(found(&[1, 3, 5], &[], &[])), []);
        assert_eq!(problems(found(&[1, 3, 5, 7, 9, 11, 13], &[], &[])), []);
    }

    #[test]
    fn each_hole_below_the_stored_tree_is_named_by_what_is_missing_first() {
        let hole = |first, last| Problem::Hole { object: link(first, 0).name, last: Index(last) };
        for lacks in (3..17).step_by(2) {
            assert_eq!(problems(found(&[lacks], &[], &[])), [hole(lacks, lacks + 1)], "{lacks}");
        }
        assert_eq!(problems(found(&[5, 7], &[], &[])), [hole(5, 8)]);
        assert_eq!(problems(found(&[1, 5, 9, 11], &[], &[])), [hole(9, 12), hole(5, 6)]);
    }

    #[test]
    fn without_any_segment_up_to_the_stored_tree_its_entry_is_named() {
        let lacks: Vec<u64> = (1..17).step_by(2).collect();
        assert_eq!(problems(found(&lacks, &[], &[])), [Problem::NoAnchor(Index(16))]);
    }

    #[test]
    fn a_damaged_segment_below_the_stored_tree_is_named_once() {
        for bad in (1..17).step_by(2) {
            let object = link(bad, 0).name;
            assert_eq!(problems(found(&[], &[bad], &[])), [Problem::Misnamed { object }], "{bad}");
        }
    }

    #[test]
    fn a_segment_that_was_altered_so_that_it_leads_elsewhere_is_named() {
        let altered = Link { last: (Index(8), hash(8, 7)), ..link(7, 0) };
        let problems = problems(found(&[7], &[], &[altered]));
        assert_eq!(problems, [Problem::Astray { object: altered.name, end: Index(8) }]);
    }

    #[test]
    fn what_deposed_leaders_left_is_no_problem_and_hides_none() {
        let left = [link(7, 1), link(8, 1), link(10, 2)];
        assert_eq!(problems(found(&[], &[], &left)), []);
        assert_eq!(problems(found(&[1, 3, 5], &[], &left)), []);
        let hole = Problem::Hole { object: link(5, 0).name, last: Index(6) };
        assert_eq!(problems(found(&[5], &[], &left)), [hole]);
    }

    #[test]
    fn what_is_deleted_while_it_is_looked_at_leaves_no_hole() {
        let mut found = found(&[5, 7], &[], &[]);
        found.gone = Some(Index(7));
        assert_eq!(problems(found), []);
    }
}
