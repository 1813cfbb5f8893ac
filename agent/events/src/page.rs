//! Pages: the objects of which a stream consists.
//!
//! The stream of a tenant in a group is a sequence of pages, numbered from 0, each created once and never changed. A page covers the entries after
//! those of the page before, up to one that was committed; so every entry is covered once, whoever leads.

use minicbor::{Decode, Decoder, Encode, Encoder};
use strongroom_proto::events::SealedEvents;
use strongroom_proto::ids::{EntryHash, GroupId, Index, RealmId};

/// The longest page, in bytes.
pub const MAX_PAGE_BYTES: usize = 16 << 20;
/// The most tellings that a page has.
pub const MAX_PAGE_ENTRIES: usize = 65_536;
/// The version of the encoding, its first item.
const VERSION: u8 = 2;

/// Where all that concerns the events of a tenant lies. The name of the tenant is in hexadecimal: it may have any characters.
#[must_use]
pub fn folder(realm: &RealmId, tenant: &str) -> String {
    format!("realms/{realm}/events/{}", hex::encode(tenant))
}

/// Where the pages of a tenant's stream in a group lie.
#[must_use]
pub fn stream(realm: &RealmId, tenant: &str, group: &GroupId) -> String {
    format!("{}/{group}", folder(realm, tenant))
}

/// The name of a page: 16 hexadecimal digits after [`stream`], so that names are in the order of the pages.
#[must_use]
pub fn name(realm: &RealmId, tenant: &str, group: &GroupId, number: u64) -> String {
    format!("{}/{number:016x}", stream(realm, tenant, group))
}

/// The number of the page of this name, or of its last part.
#[must_use]
pub fn number(name: &str) -> Option<u64> {
    let last = name.rsplit('/').next()?;
    let number = u64::from_str_radix(last, 16).ok()?;
    (format!("{number:016x}") == last).then_some(number)
}

/// The last entry that something covers: its index, and its hash. Index 0 and zeros stand for none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub struct Reach {
    /// The entry's place.
    #[n(0)]
    pub index: Index,
    /// Its hash.
    #[n(1)]
    pub hash: EntryHash,
}

impl Reach {
    /// Nothing is covered.
    pub const NOTHING: Self = Self { index: Index::ZERO, hash: EntryHash::ZERO };
}

/// Some of a tenant's events.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Page {
    /// The group in whose log they are.
    #[n(0)]
    pub group: GroupId,
    /// What the pages before cover.
    #[n(1)]
    pub after: Reach,
    /// What the pages up to this one cover.
    #[n(2)]
    pub to: Reach,
    /// The sequence number of the first event; what the pages before it have.
    #[n(3)]
    pub first: u64,
    /// When it was written, in milliseconds since 1970, by the agent's clock.
    #[n(4)]
    pub written: u64,
    /// What was told of which entries, in order. At most [`MAX_PAGE_ENTRIES`].
    #[n(5)]
    pub entries: Vec<PageEntry>,
}

/// What a tenant is told of an entry, or of several that follow each other: a *telling*.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct PageEntry {
    /// The place of the first.
    #[n(0)]
    pub index: Index,
    /// The place of the last. No other telling is of any of them.
    #[n(1)]
    pub last: Index,
    /// How many events are sealed here, as the agent says: the tenant counts them.
    #[n(2)]
    pub count: u8,
    /// The events.
    #[n(3)]
    pub events: SealedEvents,
}

/// Why bytes are no page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPage {
    /// Longer than [`MAX_PAGE_BYTES`], or with more entries than [`MAX_PAGE_ENTRIES`].
    #[error("is longer than a page may be")]
    TooLarge,
    /// Not the encoding of one page of a known version.
    #[error("is not a page of a version that this build reads; install a later one")]
    Malformed,
    /// What it covers makes no sense.
    #[error("has entries that are not in order, or are not among those that it covers")]
    Order,
}

impl Page {
    /// The sequence number of the first event of the next page.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.entries.iter().fold(self.first, |next, entry| next.saturating_add(entry.count.into()))
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`BadPage::TooLarge`]: nobody would read it; [`BadPage::Order`].
    ///
    /// # Panics
    /// Never: a vector takes all bytes.
    pub fn encode(&self) -> Result<Vec<u8>, BadPage> {
        self.check()?;
        let mut e = Encoder::new(Vec::new());
        e.array(2)
            .and_then(|e| e.u8(VERSION))
            .and_then(|e| e.encode(self))
            .expect("a vector takes all bytes");
        let bytes = e.into_writer();
        if bytes.len() > MAX_PAGE_BYTES { Err(BadPage::TooLarge) } else { Ok(bytes) }
    }

    /// Reads a page that takes up all of `bytes`.
    ///
    /// # Errors
    /// [`BadPage`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BadPage> {
        if bytes.len() > MAX_PAGE_BYTES {
            return Err(BadPage::TooLarge);
        }
        let mut d = Decoder::new(bytes);
        let head = d.array().ok() == Some(Some(2)) && d.u8().ok() == Some(VERSION);
        let page: Option<Self> = if head { d.decode().ok() } else { None };
        let page = page.filter(|_| d.position() == bytes.len()).ok_or(BadPage::Malformed)?;
        page.check()?;
        Ok(page)
    }

    fn check(&self) -> Result<(), BadPage> {
        if self.entries.len() > MAX_PAGE_ENTRIES {
            return Err(BadPage::TooLarge);
        }
        let mut before = self.after.index;
        for entry in &self.entries {
            if entry.index <= before || entry.last < entry.index || entry.count == 0 {
                return Err(BadPage::Order);
            }
            before = entry.last;
        }
        if before <= self.to.index { Ok(()) } else { Err(BadPage::Order) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_proto::ids::X25519Public;

    fn page() -> Page {
        let reach = |index| Reach { index: Index(index), hash: EntryHash([index as u8; 32]) };
        let entry = |index, last, count| PageEntry {
            index: Index(index),
            last: Index(last),
            count,
            events: SealedEvents {
                ephemeral: X25519Public([1; 32]),
                sealed: vec![2; 72].into(),
                signature: [3; 64].into(),
            },
        };
        Page {
            group: GroupId([3; 16]),
            after: reach(4),
            to: reach(9),
            first: 100,
            written: 5,
            entries: vec![entry(5, 7, 2), entry(9, 9, 1)],
        }
    }

    #[test]
    fn a_page_is_read_as_it_was_written_and_says_where_the_next_begins() {
        let page = page();
        let bytes = page.encode().unwrap();
        assert_eq!(Page::decode(&bytes), Ok(page.clone()));
        assert_eq!(page.next(), 103);
        for cut in 0..bytes.len() {
            assert_eq!(Page::decode(&bytes[..cut]), Err(BadPage::Malformed), "{cut} bytes");
        }
        assert_eq!(Page::decode(&[&bytes[..], &[0]].concat()), Err(BadPage::Malformed));
    }

    #[test]
    fn a_page_has_events_of_what_it_covers_and_in_order() {
        let changes: [fn(&mut Page); 9] = [
            |page| page.entries[0].index = Index(4),
            |page| page.entries[1].index = Index(5),
            |page| page.entries[1].index = Index(10),
            |page| page.entries[1].index = Index(7),
            |page| page.entries[0].last = Index(4),
            |page| page.entries[0].last = Index(9),
            |page| page.entries[1].last = Index(10),
            |page| page.entries[0].count = 0,
            |page| page.to.index = Index(3),
        ];
        for change in changes {
            let mut changed = page();
            change(&mut changed);
            assert_eq!(changed.encode(), Err(BadPage::Order));
        }
    }

    #[test]
    fn names_are_in_the_order_of_pages_and_have_one_spelling() {
        let (realm, group) = (RealmId([1; 16]), GroupId([2; 16]));
        let names: Vec<String> =
            [0, 9, 10, 255, 256, u64::MAX].map(|n| name(&realm, "a/b", &group, n)).into();
        assert!(names.is_sorted() && names[0].contains("/events/612f62/"));
        assert_eq!(number(&names[3]), Some(255));
        for wrong in ["ff", "00000000000000FF", "+0000000000000ff", "00000000000000ff0", ""] {
            assert_eq!(number(wrong), None, "{wrong:?}");
        }
    }
}
