//! Looking for the captured entry in the log: reading begins at the segment that ends with it.
//!
//! Kept here: a segment is the one looked for only if it ends with the captured entry by its whole hash; a store that
//! lacks it is asked again, often enough, before the entry counts as lost.

use super::interface::{Damage, Fault, ReadOutcome};
use super::log::first_of_segment;
use crate::segment::{BadSegment, Segment, SegmentName};
use std::collections::BTreeSet;
use strongroom_proto::entry::Entry;
use strongroom_proto::ids::{EntryHash, Index};

/// How often in a row a listing may lack what the HSM has captured before the entry counts as lost. With the pauses
/// between, about ten seconds.
const MAX_FRUITLESS: u32 = 8;

/// A search under way.
struct Seek {
    sought: (Index, EntryHash),
    /// Segments that may be the one, the likeliest last; empty until they are listed.
    candidates: Vec<SegmentName>,
    /// Everything that was listed.
    names: BTreeSet<SegmentName>,
    /// The likeliest of the damaged ones.
    damaged: Option<(SegmentName, BadSegment)>,
    /// What to look for if none of them is the one.
    lacking: Option<SegmentName>,
}

/// The search, if one is under way.
#[derive(Default)]
pub(super) struct Search {
    seek: Option<Seek>,
    /// How often in a row the store lacked what the HSM has captured.
    fruitless: u32,
}

/// What a segment that was read means to the search.
pub(super) enum Sought<'a> {
    /// It was not looked for.
    Nothing,
    /// It is the one; these are all that were listed.
    Found { segment: Segment, bytes: &'a [u8], names: BTreeSet<SegmentName> },
    /// It is not the one: the next is to be read.
    Another,
    /// The store did not answer.
    Unavailable,
}

impl Search {
    /// Looks for the entry that the HSM has captured, if it has one.
    pub(super) fn begin(&mut self, captured: (Index, EntryHash)) {
        let seek = |sought| Seek {
            sought,
            candidates: Vec::new(),
            names: BTreeSet::new(),
            damaged: None,
            lacking: None,
        };
        self.seek = Some(captured).filter(|(index, _)| *index > Index::ZERO).map(seek);
    }

    /// Gives up.
    pub(super) fn end(&mut self) {
        self.seek = None;
    }

    /// # Panics
    /// If the invariants above do not hold.
    pub(super) fn assert_invariants(&self) {
        let Some(seek) = &self.seek else { return };
        assert!(seek.sought.0 > Index::ZERO, "nothing is sought");
        let may_be = |name: &SegmentName| name.first <= seek.sought.0 && seek.names.contains(name);
        assert!(
            seek.candidates.last().is_none_or(may_be),
            "the search reads a segment that cannot be the one"
        );
    }

    /// Whether the captured entry is not found yet: until then there is nothing to go on from.
    pub(super) const fn is_on(&self) -> bool {
        self.seek.is_some()
    }

    /// Whether the entry looked for is older than this one.
    pub(super) fn is_for_one_before(&self, index: Index) -> bool {
        self.seek.as_ref().is_some_and(|seek| seek.sought.0 < index)
    }

    /// The lowest first index to list.
    pub(super) fn list_from(&self) -> Option<Index> {
        self.seek.as_ref().map(|seek| first_of_segment(seek.sought.0))
    }

    /// Takes a listing, if a search is under way; if not, returns it.
    pub(super) fn listed(&mut self, names: BTreeSet<SegmentName>) -> Result<(), BTreeSet<SegmentName>> {
        let Some(seek) = &mut self.seek else { return Err(names) };
        seek.candidates = names.iter().copied().filter(|name| name.first <= seek.sought.0).collect();
        seek.names = names;
        seek.damaged = None;
        seek.lacking = None;
        Ok(())
    }

    /// The next segment that may be the one; `None` if nothing that was listed is.
    pub(super) fn next(&self) -> Option<SegmentName> {
        self.seek.as_ref().and_then(|seek| seek.candidates.last()).copied()
    }

    /// Handles a segment that may be the one.
    pub(super) fn read<'a>(&mut self, name: SegmentName, result: &'a ReadOutcome) -> Sought<'a> {
        let Some(seek) = &mut self.seek else { return Sought::Nothing };
        if seek.candidates.pop_if(|candidate| *candidate == name).is_none() {
            return Sought::Nothing;
        }
        let bytes = match result {
            ReadOutcome::Found(bytes) => bytes,
            ReadOutcome::Absent => return Sought::Another,
            ReadOutcome::Unavailable => return Sought::Unavailable,
        };
        let ends_there = |segment: &Segment| {
            let last = segment.last();
            segment.name() == name && (last.index, last.hash()) == seek.sought
        };
        // A segment that is damaged or off the chain is not the one; if it should have been, that one counts as
        // missing.
        let segment = Segment::decode(bytes);
        if let Err(damage) = &segment {
            seek.damaged.get_or_insert((name, *damage));
        }
        let after = |last: &Entry| {
            let first = last.index.next().filter(|first| *first <= seek.sought.0)?;
            Some(SegmentName::new(name.group, first, &last.hash()))
        };
        let lacking = segment.as_ref().ok().and_then(|segment| after(segment.last()));
        seek.lacking = seek.lacking.or(lacking);
        let Some(segment) = segment.ok().filter(ends_there) else { return Sought::Another };
        let names = std::mem::take(&mut seek.names);
        self.seek = None;
        self.fruitless = 0;
        Sought::Found { segment, bytes, names }
    }

    /// What to look for if no segment was the one.
    pub(super) fn lacking(&self) -> Option<SegmentName> {
        self.seek.as_ref().and_then(|seek| seek.lacking)
    }

    /// The HSM now has captured something else, which it reached through the stored tree.
    pub(super) const fn has_jumped(&mut self) {
        self.fruitless = 0;
    }

    /// The store lacks what the HSM has captured. Returns whether it has done so often enough for the entry to be lost.
    pub(super) const fn missed(&mut self) -> bool {
        self.fruitless += 1;
        self.fruitless >= MAX_FRUITLESS
    }

    /// How often in a row it has lacked it.
    pub(super) const fn fruitless(&self) -> u32 {
        self.fruitless
    }

    /// What is wrong if the captured entry is lost, and this segment should have held it or led to it.
    pub(super) fn fault(&self, (index, hash): (Index, EntryHash), object: Option<SegmentName>) -> Fault {
        match self.seek.as_ref().and_then(|seek| seek.damaged) {
            Some((object, damage)) => {
                Fault::Damaged { object, index: object.first, damage: Damage::Segment(damage) }
            }
            None => Fault::Missing { index, hash, object },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::tests::{entries, named};

    fn segment() -> Segment {
        Segment::new(entries(2)).expect("it is one")
    }

    /// Looks for the segment's last entry, by this hash; the segment is listed.
    fn search(hash: EntryHash) -> Search {
        let mut search = Search::default();
        search.begin((Index(11), hash));
        assert!(search.listed(BTreeSet::from([segment().name()])).is_ok());
        search.assert_invariants();
        search
    }

    #[test]
    fn a_segment_is_the_one_only_if_it_ends_with_the_captured_entry_by_its_whole_hash() {
        let hash = segment().last().hash();
        let mut other = hash;
        other.0[31] ^= 1;
        let read = ReadOutcome::Found(segment().encode().expect("it is short"));
        let found = |hash| matches!(search(hash).read(segment().name(), &read), Sought::Found { .. });
        assert!(found(hash) && !found(other));
    }

    #[test]
    fn a_store_that_lacks_the_captured_entry_is_asked_again_before_it_has_lost_it() {
        let mut search = search(EntryHash([1; 32]));
        let missed: Vec<bool> = (1..=MAX_FRUITLESS).map(|_| search.missed()).collect();
        assert!(missed.iter().take(7).all(|lost| !lost) && missed[7]);
    }

    #[test]
    #[should_panic(expected = "the search reads a segment that cannot be the one")]
    fn looking_at_a_later_segment_is_noticed() {
        let mut search = search(EntryHash([1; 32]));
        search.seek.as_mut().expect("it is on").candidates.push(named(12));
        search.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "nothing is sought")]
    fn looking_for_nothing_is_noticed() {
        let mut search = search(EntryHash([1; 32]));
        search.seek.as_mut().expect("it is on").sought.0 = Index::ZERO;
        search.assert_invariants();
    }
}
