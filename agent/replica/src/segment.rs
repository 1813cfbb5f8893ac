//! The segment: consecutive entries with their leaves and sealed events, as one object in the store.
//!
//! Owns the object's name and bytes. Bytes from a store or a peer are claims: [`Segment::decode`] proves that the
//! entries follow each other, belong to one group, and that each has the events it was made with. It cannot prove that
//! an HSM made them, nor that the leaves are the ones of their roots; the HSM checks the first when it captures,
//! [`crate::Replica`] the second when it applies them to a tree.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Decoder, Encode, Encoder};
use std::fmt;
use std::str::FromStr;
use strongroom_proto::entry::{Entry, events_hash};
use strongroom_proto::hsm::{MAX_CAPTURE_ENTRIES, Made, SealedLeaf};
use strongroom_proto::ids::{EntryHash, GroupId, Index};

/// The longest segment, in bytes.
pub const MAX_SEGMENT_BYTES: usize = 3 * 1024 * 1024;
/// The version of the encoding, its first item. In version 1, the roots of the entries were of trees hashed otherwise.
const VERSION: u8 = 2;

/// The name of a segment: its group, the index of its first entry, and the beginning of the hash of the entry before.
///
/// For every last entry of a segment, exactly one name can follow: that makes the log one chain. The text is
/// `groups/<group>/log/<first, 16 hex digits>-<prev, first 16 hex digits>`; readers compare the whole `prev` inside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The group whose log it is.
    pub group: GroupId,
    /// The index of the first entry.
    pub first: Index,
    /// The first 8 bytes of the hash of the entry before the first.
    pub prev: [u8; 8],
}

impl SegmentName {
    /// The name of the segment whose first entry is `first` and follows the entry with the hash `prev`.
    #[must_use]
    pub fn new(group: GroupId, first: Index, prev: &EntryHash) -> Self {
        let mut start = [0; 8];
        for (to, from) in start.iter_mut().zip(prev.0) {
            *to = from;
        }
        Self { group, first, prev: start }
    }

    /// What every name of a group's log begins with, without a slash at the end.
    #[must_use]
    pub fn folder(group: &GroupId) -> String {
        format!("groups/{group}/log")
    }

    /// A text that sorts after every name in [`Self::folder`] with a first index below `from`, and before all others.
    #[must_use]
    pub fn offset(group: &GroupId, from: Index) -> String {
        format!("{}/{:016x}", Self::folder(group), from.0)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", Self::offset(&self.group, self.first), u64::from_be_bytes(self.prev))
    }
}

impl fmt::Debug for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentName({self})")
    }
}

/// A text that is not the name of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a log segment")]
pub struct BadSegmentName;

impl FromStr for SegmentName {
    type Err = BadSegmentName;

    /// Parses exactly what [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, BadSegmentName> {
        let mut parts = text.split('/');
        let (Some("groups"), Some(group), Some("log"), Some(file), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadSegmentName);
        };
        let (first, prev) = file.split_once('-').ok_or(BadSegmentName)?;
        let number = |digits: &str| u64::from_str_radix(digits, 16).map_err(|_| BadSegmentName);
        let name = Self {
            group: group.parse().map_err(|_| BadSegmentName)?,
            first: Index(number(first)?),
            prev: number(prev)?.to_be_bytes(),
        };
        // One name has one text: signs, short numbers and upper case would parse, and are refused here.
        if name.to_string() == text { Ok(name) } else { Err(BadSegmentName) }
    }
}

/// One entry with what belongs to it in the store.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct SegmentEntry {
    /// The entry.
    #[n(0)]
    pub entry: Entry,
    /// Every record that it changed, newly sealed, once each.
    #[n(1)]
    pub leaves: Vec<SealedLeaf>,
    /// Its sealed events, in order.
    #[n(2)]
    pub events: Vec<ByteVec>,
    /// Whose each event is, sealed by agents for agents; none where that is not kept. Nothing vouches for them but that seal.
    #[cbor(n(3), default, skip_if = "Vec::is_empty")]
    pub owners: Vec<ByteVec>,
}

impl From<Made> for SegmentEntry {
    fn from(made: Made) -> Self {
        Self { entry: made.entry, leaves: made.leaves, events: made.events, owners: Vec::new() }
    }
}

/// Consecutive entries of one group, 1 to [`MAX_CAPTURE_ENTRIES`] of them.
///
/// Holding one proves that they follow each other and that each has its own events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment(Vec<SegmentEntry>);

/// Why bytes are not a segment. Read the object from another copy of the store; a healthy store never causes this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSegment {
    /// Longer than [`MAX_SEGMENT_BYTES`].
    #[error("is longer than a segment may be")]
    TooLarge,
    /// Not the encoding of one segment of a known version.
    #[error("is not a segment of a version that this agent reads")]
    Malformed,
    /// No entry, or more than [`MAX_CAPTURE_ENTRIES`].
    #[error("holds no entry, or more than a segment may hold")]
    Length,
    /// Entries of several groups, or not one after the other.
    #[error("holds entries that do not follow one another")]
    NotConsecutive,
    /// The events are not those that the entry was made with.
    #[error("holds events that are not those of their entry")]
    Events,
}

impl Segment {
    /// The segment of these entries.
    ///
    /// # Errors
    /// All of [`BadSegment`] except `Malformed` and `TooLarge`.
    pub fn new(entries: Vec<SegmentEntry>) -> Result<Self, BadSegment> {
        if entries.is_empty() || entries.len() > MAX_CAPTURE_ENTRIES {
            return Err(BadSegment::Length);
        }
        for pair in entries.windows(2) {
            let [before, after] = pair else { continue };
            let (before, after) = (&before.entry, &after.entry);
            let follows = before.group == after.group
                && before.realm == after.realm
                && before.index.next() == Some(after.index)
                && before.hash() == after.prev;
            if !follows {
                return Err(BadSegment::NotConsecutive);
            }
        }
        let own_events = |e: &SegmentEntry| {
            events_hash(e.events.iter().map(|event| event.as_slice())) == e.entry.events_hash
        };
        if entries.iter().all(own_events) { Ok(Self(entries)) } else { Err(BadSegment::Events) }
    }

    /// Its entries, in order; at least one.
    #[must_use]
    pub fn entries(&self) -> &[SegmentEntry] {
        &self.0
    }

    /// Its first entry.
    ///
    /// # Panics
    /// Never: a segment has an entry.
    #[must_use]
    pub fn first(&self) -> &Entry {
        &self.0.first().expect("a segment has an entry").entry
    }

    /// Its last entry: the only one that may be captured or led from.
    ///
    /// # Panics
    /// Never: a segment has an entry.
    #[must_use]
    pub fn last(&self) -> &Entry {
        &self.0.last().expect("a segment has an entry").entry
    }

    /// The name under which it belongs in the store.
    #[must_use]
    pub fn name(&self) -> SegmentName {
        let first = self.first();
        SegmentName::new(first.group, first.index, &first.prev)
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`BadSegment::TooLarge`]: nobody would read it.
    ///
    /// # Panics
    /// Never: a vector takes all bytes.
    pub fn encode(&self) -> Result<Vec<u8>, BadSegment> {
        let mut e = Encoder::new(Vec::new());
        e.array(2)
            .and_then(|e| e.u8(VERSION))
            .and_then(|e| e.encode(&self.0))
            .expect("a vector takes all bytes");
        let bytes = e.into_writer();
        if bytes.len() > MAX_SEGMENT_BYTES { Err(BadSegment::TooLarge) } else { Ok(bytes) }
    }

    /// Reads a segment that takes up all of `bytes`.
    ///
    /// # Errors
    /// All of [`BadSegment`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BadSegment> {
        if bytes.len() > MAX_SEGMENT_BYTES {
            return Err(BadSegment::TooLarge);
        }
        let mut d = Decoder::new(bytes);
        let entries = Self::decode_entries(&mut d).map_err(|_| BadSegment::Malformed)?;
        if d.position() != bytes.len() {
            return Err(BadSegment::Malformed);
        }
        Self::new(entries)
    }

    fn decode_entries(d: &mut Decoder<'_>) -> Result<Vec<SegmentEntry>, minicbor::decode::Error> {
        if d.array()? != Some(2) || d.u8()? != VERSION {
            return Err(minicbor::decode::Error::message("not a segment of this version"));
        }
        d.decode()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use strongroom_proto::ids::{Digest, HsmId, Mac, RealmId, RecordId, Term};

    fn entry(index: u64, prev: EntryHash, event: u8) -> SegmentEntry {
        let events = vec![ByteVec::from(vec![event; 8])];
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
        let leaves = vec![SealedLeaf { record: RecordId([6; 32]), sealed: vec![7; 20].into() }];
        SegmentEntry { entry, leaves, events, owners: Vec::new() }
    }

    /// The name of a segment that begins with this entry.
    pub(crate) fn named(first: u64) -> SegmentName {
        SegmentName::new(GroupId([2; 16]), Index(first), &EntryHash([first as u8; 32]))
    }

    /// Consecutive entries from index 10, each of which changes one record.
    pub(crate) fn entries(count: u64) -> Vec<SegmentEntry> {
        let mut prev = EntryHash([9; 32]);
        let mut chain = |index| {
            let made = entry(index, prev, index as u8);
            prev = made.entry.hash();
            made
        };
        (10..10 + count).map(&mut chain).collect()
    }

    #[test]
    fn a_segment_reads_as_it_was_written() {
        for count in [1, 2, MAX_CAPTURE_ENTRIES as u64] {
            let segment = Segment::new(entries(count)).unwrap();
            assert_eq!(Segment::decode(&segment.encode().unwrap()), Ok(segment));
        }
    }

    #[test]
    fn every_truncation_and_a_trailing_byte_are_refused() {
        let mut bytes = Segment::new(entries(2)).unwrap().encode().unwrap();
        for len in 0..bytes.len() {
            assert_eq!(Segment::decode(&bytes[..len]), Err(BadSegment::Malformed), "{len} bytes");
        }
        bytes.push(0);
        assert_eq!(Segment::decode(&bytes), Err(BadSegment::Malformed));
    }

    #[test]
    fn another_version_is_refused() {
        let mut bytes = Segment::new(entries(1)).unwrap().encode().unwrap();
        bytes[1] = VERSION + 1;
        assert_eq!(Segment::decode(&bytes), Err(BadSegment::Malformed));
    }

    #[test]
    fn no_entry_and_too_many_are_refused() {
        assert_eq!(Segment::new(Vec::new()), Err(BadSegment::Length));
        assert_eq!(Segment::new(entries(MAX_CAPTURE_ENTRIES as u64 + 1)), Err(BadSegment::Length));
    }

    #[test]
    fn entries_out_of_order_of_another_group_or_off_the_chain_are_refused() {
        let healthy = entries(3);
        let mut swapped = healthy.clone();
        swapped.swap(0, 1);
        let gap = vec![healthy[0].clone(), healthy[2].clone()];
        let mut foreign = healthy.clone();
        foreign[1].entry.group = GroupId([8; 16]);
        let mut other_realm = healthy.clone();
        other_realm[2].entry.realm = RealmId([8; 16]);
        let mut off_chain = healthy;
        off_chain[1].entry.prev = EntryHash([8; 32]);
        for wrong in [swapped, gap, foreign, other_realm, off_chain] {
            assert_eq!(Segment::new(wrong), Err(BadSegment::NotConsecutive));
        }
    }

    #[test]
    fn events_that_are_not_those_of_the_entry_are_refused() {
        let mut swapped = entries(2);
        let events = swapped[0].events.clone();
        swapped[1].events = events;
        assert_eq!(Segment::new(swapped), Err(BadSegment::Events));
    }

    #[test]
    fn an_oversize_segment_is_neither_written_nor_read() {
        let mut large = entries(1);
        large[0].leaves[0].sealed = vec![0; MAX_SEGMENT_BYTES].into();
        assert_eq!(Segment::new(large).unwrap().encode(), Err(BadSegment::TooLarge));
        assert_eq!(Segment::decode(&vec![0; MAX_SEGMENT_BYTES + 1]), Err(BadSegment::TooLarge));
    }

    #[test]
    fn an_array_that_claims_to_be_huge_is_refused_at_once() {
        let bytes = [0x82, VERSION, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Segment::decode(&bytes), Err(BadSegment::Malformed));
    }

    #[test]
    fn a_name_reads_as_it_was_written_and_sorts_by_index() {
        let name = SegmentName::new(GroupId([0xab; 16]), Index(0x1f), &EntryHash([0xcd; 32]));
        let text = name.to_string();
        assert_eq!(text, format!("groups/{}/log/000000000000001f-cdcdcdcdcdcdcdcd", "ab".repeat(16)));
        assert_eq!(text.parse(), Ok(name));
        assert!(SegmentName::offset(&name.group, Index(0x1f)) < text);
        assert!(SegmentName::offset(&name.group, Index(0x20)) > text);
    }

    #[test]
    fn every_other_text_is_refused_as_a_name() {
        let text = SegmentName::new(GroupId([0xab; 16]), Index(0x1f), &EntryHash([0xcd; 32])).to_string();
        for at in 0..text.len() {
            assert!(text[..at].parse::<SegmentName>().is_err(), "{}", &text[..at]);
        }
        let others = [
            text.to_uppercase(),
            format!("{text}0"),
            format!("/{text}"),
            format!("{text}/"),
            text.replace("log/0", "log/+"),
            text.replace("001f", "001F"),
        ];
        for other in others {
            assert!(other.parse::<SegmentName>().is_err(), "{other}");
        }
    }
}
