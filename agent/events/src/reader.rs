//! Reading a tenant's streams: from pages that anybody may have written, to events in their order, or to an error that says what is wrong.
//!
//! Owns how far it has read. One page is in memory at a time. A call that is dropped before it returns has done nothing: the next one
//! goes on at the same place.

use crate::offsets::{Follows, MAX_GROUPS, Offset, Offsets};
use crate::page::{BadPage, Page};
use crate::tenant::Tenant;
use crate::told::{Told, Untellable, open};
use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::vec::IntoIter;
use strongroom_proto::ids::{GroupId, Index, RealmId};

/// Where the streams of one tenant are. What it gives need not be right: it is checked.
pub trait Source {
    /// The groups in which the tenant has a stream, in any order.
    fn groups(&self) -> impl Future<Output = Result<Vec<GroupId>, Unavailable>> + Send;

    /// The bytes of a page: at most one more than a page may have. `None`: there is no such page.
    fn page(
        &self,
        group: GroupId,
        number: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Unavailable>> + Send;

    /// The lowest number of the pages of a group that are there, of those not below `from`. `None`: there is none.
    fn oldest(
        &self,
        group: GroupId,
        from: u64,
    ) -> impl Future<Output = Result<Option<u64>, Unavailable>> + Send;

    /// The highest number of the pages of a group that are there. `None`: there is none.
    fn newest(&self, group: GroupId) -> impl Future<Output = Result<Option<u64>, Unavailable>> + Send;

    /// Waits for one of these pages, if it can: until one is there, or for a while. `false`: it cannot now, or not at all; look again after a pause.
    fn news(&self, _pages: &[(GroupId, u64)]) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }
}

/// The streams cannot be read now: why, and what to do. Try again: nothing happened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// An error with all its causes.
#[cfg(any(feature = "store", feature = "http"))]
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Many repeat what is below them.
        if !said.contains(&more) {
            said = format!("{said}: {more}");
        }
        cause = error.source();
    }
    said
}

/// Why a stream cannot be read on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// The store, or the agent, does not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// There are more streams than are read.
    #[error(
        "the store names more than {MAX_GROUPS} groups with a stream of this tenant: somebody made folders there; tell the operator"
    )]
    TooManyGroups,
    /// The pages from the offset on were deleted, as old ones are.
    #[error(
        "group {group}: page {} and all up to page {oldest} were deleted, because they were too old; {} lost. To go on with what is \
         left: --from {group}:{oldest}", offset.page, lost.map_or("it is not known how many events are".to_owned(), |lost| format!("{lost} events are"))
    )]
    Gone {
        /// The group.
        group: GroupId,
        /// Where the consumer was.
        offset: Offset,
        /// The oldest page that is left.
        oldest: u64,
        /// How many events were between, if that is known.
        lost: Option<u64>,
    },
    /// A page is not there, while one before it and one after it are.
    #[error(
        "group {group}: page {page} is missing, and later ones are there: somebody deleted it, or keeps it back; tell the operator. To go on \
         without it: --from {group}:{next}"
    )]
    Missing {
        /// The group.
        group: GroupId,
        /// The page.
        page: u64,
        /// The next that is there.
        next: u64,
    },
    /// The offset is further than the stream.
    #[error(
        "group {group}: the offset is at page {page}, and the last one is {newest}: the offsets are of another store, or pages were \
         deleted; tell the operator"
    )]
    Ahead {
        /// The group.
        group: GroupId,
        /// Where the consumer was.
        page: u64,
        /// The newest page that is there.
        newest: u64,
    },
    /// What is there is no page.
    #[error("group {group}: page {page} {why}; if it was changed, tell the operator. To go on without it: --from {group}:{}", page.saturating_add(1))]
    Page {
        /// The group.
        group: GroupId,
        /// The page.
        page: u64,
        /// Why not.
        why: BadPage,
    },
    /// A page does not go on where the one before it ends.
    #[error(
        "group {group}: page {page} does not go on where the one before it ends: one of them was changed, or is of another stream; tell \
         the operator. To go on with it as it is: --from {group}:{page}"
    )]
    NotFollowing {
        /// The group.
        group: GroupId,
        /// The page.
        page: u64,
    },
    /// A page says itself that entries before it were passed over.
    #[error(
        "group {group}: page {page} passes over the entries after {} up to {}: the log no longer had them when it was written, or an agent \
         keeps them back. What happened in them is not told; ask the operator why. To go on: --from {group}:{page}", told.0, index.0
    )]
    NotTold {
        /// The group.
        group: GroupId,
        /// The page.
        page: u64,
        /// The last entry that the pages before cover.
        told: Index,
        /// The last one before those that this page covers.
        index: Index,
    },
    /// The offset is not in its page.
    #[error("group {group}: page {page} has no event {sequence}, only those from {} to below {}; begin at one of these", among.start(), among.end())]
    NoSuchEvent {
        /// The group.
        group: GroupId,
        /// The page.
        page: u64,
        /// The sequence number that was asked for.
        sequence: u64,
        /// Those of the page, and the one after them.
        among: RangeInclusive<u64>,
    },
    /// Events that do not open.
    #[error(
        "group {group}: page {page}, event {sequence}, of entry {}: {why}. To go on after that page: --from {group}:{}", index.0, page.saturating_add(1)
    )]
    Untellable {
        /// The group.
        group: GroupId,
        /// The page.
        page: u64,
        /// The sequence number of the first of them.
        sequence: u64,
        /// Their entry.
        index: Index,
        /// Why not.
        why: Untellable,
    },
    /// An entry does not have as many events as its page says.
    #[error(
        "group {group}: page {page} says that entry {} has {said} events, and {opened} are sealed there: the page was changed; tell the \
         operator. To go on after it: --from {group}:{}", index.0, page.saturating_add(1)
    )]
    Count {
        /// The group.
        group: GroupId,
        /// The page.
        page: u64,
        /// The entry.
        index: Index,
        /// How many the page says.
        said: u8,
        /// How many there are.
        opened: usize,
    },
}

/// One event, and where it is. Group, index and place are its position: no other event has it, wherever it is read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The group.
    pub group: GroupId,
    /// The page.
    pub page: u64,
    /// Its number in the group's stream, from 0 on, without a gap.
    pub sequence: u64,
    /// The entry of the group's log.
    pub index: Index,
    /// What happened.
    pub told: Told,
}

/// Where to begin with streams that are there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// With the oldest page that is kept.
    Start,
    /// After the newest page.
    Now,
    /// With the oldest page that was written at this time or later, in milliseconds since 1970; or [`CLOCKS`] before, because the clocks of agents differ.
    Time(u64),
}

/// By how much the clocks of two agents differ, at most, in milliseconds.
pub const CLOCKS: u64 = 60_000;

/// Reads all streams of a tenant.
#[derive(Debug)]
pub struct Consumer<S> {
    source: S,
    tenant: Tenant,
    /// After what was given out last.
    offsets: Offsets,
    /// The groups that may have more, in this look; `None` between looks.
    turn: Option<VecDeque<GroupId>>,
    /// Groups whose offset is known to be in their stream.
    placed: BTreeSet<GroupId>,
    at_hand: Option<AtHand>,
}

/// The page that is being read.
#[derive(Debug)]
struct AtHand {
    group: GroupId,
    number: u64,
    page: Page,
    follows: Follows,
    /// The next entry to open.
    entry: usize,
    index: Index,
    told: IntoIter<Told>,
    /// The sequence number of what comes next.
    sequence: u64,
}

impl<S: Source> Consumer<S> {
    /// Begins with the streams that are there. Streams that come later are read whole.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn begin(
        source: S,
        tenant: Tenant,
        mut none: Offsets,
        begin: Begin,
    ) -> Result<Self, ReadError> {
        none.groups.clear();
        for group in groups(&source).await? {
            let offset = match begin {
                Begin::Start => source.oldest(group, 0).await?.map(beginning_of),
                Begin::Now => match source.newest(group).await? {
                    Some(number) => Some(after(&source, group, number).await?),
                    None => None,
                },
                Begin::Time(time) => {
                    let from = time.saturating_sub(CLOCKS);
                    find(&source, group, |page| page.written < from).await?
                }
            };
            none.groups.extend(offset.map(|offset| (group, offset)));
        }
        Ok(Self::resume(source, tenant, none))
    }

    /// Where the event of this number is in a group's stream, or will be.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn at(source: &S, group: GroupId, sequence: u64) -> Result<Offset, ReadError> {
        let found = find(source, group, |page| page.next() <= sequence).await?;
        let page = found.map_or(0, |offset| offset.page);
        Ok(Offset { page, sequence: Some(sequence), follows: None })
    }

    /// Waits until one of the streams may have more, if the source can. `false`: look again after a pause.
    pub async fn news(&self) -> bool {
        let next = self.offsets.groups.iter().map(|(group, offset)| (*group, offset.page));
        self.source.news(&next.collect::<Vec<_>>()).await
    }

    /// Goes on from these offsets.
    #[must_use]
    pub fn resume(source: S, tenant: Tenant, offsets: Offsets) -> Self {
        Self { source, tenant, offsets, turn: None, placed: BTreeSet::new(), at_hand: None }
    }

    /// How far it is: after the event that was given out last. Keep them once that was dealt with, and it does not come again.
    #[must_use]
    pub const fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// The next event, in the order of its group. `None`: all that was there was read; what comes later is found by calling again.
    ///
    /// # Errors
    /// [`ReadError`]. What is wrong with one group does not keep back the others: called again, it goes on with them, and fails
    /// for that group again in the next look, after it has returned `None`.
    pub async fn next(&mut self) -> Result<Option<Event>, ReadError> {
        loop {
            let event = self.next_of_page();
            if event.is_err() {
                self.give_up();
            }
            if let Some(event) = event? {
                return Ok(Some(event));
            }
            let Some(turn) = &self.turn else {
                let found = groups(&self.source).await?;
                self.look_at(found)?;
                continue;
            };
            let Some(group) = turn.front().copied() else {
                self.turn = None;
                return Ok(None);
            };
            let offset = self.offsets.groups.get(&group).copied().unwrap_or(Offset::FIRST);
            let found = self.fetch(group, offset).await;
            match found {
                Ok(Some(at_hand)) => {
                    self.placed.insert(group);
                    self.at_hand = Some(at_hand);
                    // A page of each in turn.
                    self.turn.iter_mut().for_each(|turn| turn.rotate_left(1));
                }
                Ok(None) => {
                    self.placed.insert(group);
                    self.done(group);
                }
                Err(error) => {
                    // What does not answer for one group does not for the next.
                    match &error {
                        ReadError::Unavailable(_) => self.turn = None,
                        _ => self.done(group),
                    }
                    return Err(error);
                }
            }
        }
    }

    fn look_at(&mut self, found: BTreeSet<GroupId>) -> Result<(), ReadError> {
        let new: Vec<GroupId> =
            found.into_iter().filter(|group| !self.offsets.groups.contains_key(group)).collect();
        if self.offsets.groups.len().saturating_add(new.len()) > MAX_GROUPS {
            return Err(ReadError::TooManyGroups);
        }
        self.offsets.groups.extend(new.into_iter().map(|group| (group, Offset::FIRST)));
        self.turn = Some(self.offsets.groups.keys().copied().collect());
        Ok(())
    }

    /// This look has nothing more of the group.
    fn done(&mut self, group: GroupId) {
        self.turn.iter_mut().for_each(|turn| turn.retain(|other| *other != group));
    }

    fn give_up(&mut self) {
        if let Some(AtHand { group, .. }) = self.at_hand.take() {
            self.done(group);
        }
    }

    /// The page at this offset, checked. `None`: the stream ends there.
    async fn fetch(&self, group: GroupId, offset: Offset) -> Result<Option<AtHand>, ReadError> {
        let number = offset.page;
        let bytes = match self.source.page(group, number).await? {
            Some(bytes) => bytes,
            None if self.ends(group, offset).await? => return Ok(None),
            // It came in between.
            None => self.source.page(group, number).await?.ok_or_else(|| {
                Unavailable(format!("page {number} of group {group} is listed, and is not there; try again"))
            })?,
        };
        let page = decode(group, number, &bytes)?;
        let follows = Follows { first: page.first, after: page.after };
        check(group, number, &page, offset.follows)?;
        let among = page.first..=page.next();
        let sequence = offset.sequence.unwrap_or(page.first);
        if !among.contains(&sequence) {
            return Err(ReadError::NoSuchEvent { group, page: number, sequence, among });
        }
        let (mut entry, mut at) = (0, page.first);
        // What was given out before is not opened again.
        while let Some(count) = page.entries.get(entry).map(|entry| u64::from(entry.count)) {
            if at.saturating_add(count) > sequence {
                break;
            }
            (at, entry) = (at.saturating_add(count), entry + 1);
        }
        let index = Index::ZERO;
        let mut at_hand =
            AtHand { group, number, page, follows, entry, index, told: Vec::new().into_iter(), sequence: at };
        if at < sequence {
            at_hand.open(&self.tenant, &self.offsets.realm)?;
            let given_out = usize::try_from(sequence - at).unwrap_or(usize::MAX);
            at_hand.told = at_hand.told.skip(given_out).collect::<Vec<_>>().into_iter();
            at_hand.sequence = sequence;
        }
        Ok(Some(at_hand))
    }

    /// Whether a stream ends before a page that is not there. If not, it came in between.
    async fn ends(&self, group: GroupId, offset: Offset) -> Result<bool, ReadError> {
        let page = offset.page;
        let Some(next) = self.source.oldest(group, page).await? else {
            let newest =
                if self.is_placed(group, page).await? { None } else { self.source.newest(group).await? };
            return match newest {
                Some(newest) if newest < page => Err(ReadError::Ahead { group, page, newest }),
                _ => Ok(true),
            };
        };
        if next <= page {
            return Ok(false);
        }
        if self.source.oldest(group, 0).await?.is_some_and(|oldest| oldest < page) {
            return Err(ReadError::Missing { group, page, next });
        }
        let left = self.source.page(group, next).await?.and_then(|bytes| Page::decode(&bytes).ok());
        let lost = left.zip(offset.sequence).and_then(|(left, sequence)| left.first.checked_sub(sequence));
        Err(ReadError::Gone { group, offset, oldest: next, lost })
    }

    /// Whether a stream is known to reach up to this page.
    async fn is_placed(&self, group: GroupId, page: u64) -> Result<bool, ReadError> {
        let Some(before) = page.checked_sub(1) else { return Ok(true) };
        // The newest page is never deleted.
        Ok(self.placed.contains(&group) || self.source.page(group, before).await?.is_some())
    }

    /// The next event of the page at hand. `None`: it has no more, and is gone.
    fn next_of_page(&mut self) -> Result<Option<Event>, ReadError> {
        while let Some(at_hand) = &mut self.at_hand {
            if let Some(told) = at_hand.told.next() {
                let AtHand { group, number, index, sequence, .. } = *at_hand;
                at_hand.sequence = sequence.saturating_add(1);
                self.offsets.groups.insert(group, at_hand.offset());
                let index = Index(index.0.saturating_add(told.after.into()));
                return Ok(Some(Event { group, page: number, sequence, index, told }));
            }
            if at_hand.entry < at_hand.page.entries.len() {
                at_hand.open(&self.tenant, &self.offsets.realm)?;
            } else {
                self.offsets.groups.insert(at_hand.group, at_hand.offset());
                self.at_hand = None;
            }
        }
        Ok(None)
    }
}

impl AtHand {
    /// Opens the next entry.
    fn open(&mut self, tenant: &Tenant, realm: &RealmId) -> Result<(), ReadError> {
        let (group, page, sequence) = (self.group, self.number, self.sequence);
        let Some(entry) = self.page.entries.get(self.entry) else { return Ok(()) };
        let index = entry.index;
        let told = open(tenant, realm, (&group, index), &entry.events)
            .map_err(|why| ReadError::Untellable { group, page, sequence, index, why })?;
        // No event is of an entry that another telling may be of.
        if told.iter().any(|told| index.0.saturating_add(told.after.into()) > entry.last.0) {
            return Err(ReadError::Page { group, page, why: BadPage::Order });
        }
        if told.len() != usize::from(entry.count) {
            return Err(ReadError::Count { group, page, index, said: entry.count, opened: told.len() });
        }
        (self.told, self.index, self.entry) = (told.into_iter(), index, self.entry + 1);
        Ok(())
    }

    /// After what was given out of it.
    fn offset(&self) -> Offset {
        if self.told.len() == 0 && self.entry == self.page.entries.len() {
            return past(self.number, &self.page);
        }
        Offset { page: self.number, sequence: Some(self.sequence), follows: Some(self.follows) }
    }
}

/// With the first event of a page.
const fn beginning_of(page: u64) -> Offset {
    Offset { page, sequence: None, follows: None }
}

/// The first page that is not before something, of pages of which the first ones are; or after all of them. `None`: there are none.
async fn find(
    source: &impl Source,
    group: GroupId,
    is_before: impl Fn(&Page) -> bool,
) -> Result<Option<Offset>, ReadError> {
    let (Some(oldest), Some(newest)) = (source.oldest(group, 0).await?, source.newest(group).await?) else {
        return Ok(None);
    };
    // What is below `low` is before it, what is not below `high` is not.
    let (mut low, mut high) = (oldest, newest.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        match source.page(group, middle).await? {
            Some(bytes) if is_before(&decode(group, middle, &bytes)?) => low = middle.saturating_add(1),
            Some(_) => high = middle,
            // It became too old meanwhile; or it is missing, and whoever reads up to there is told so.
            None => match source.oldest(group, 0).await? {
                Some(oldest) if oldest > middle => low = oldest.min(high),
                _ => high = middle,
            },
        }
    }
    if low > newest { after(source, group, newest).await.map(Some) } else { Ok(Some(beginning_of(low))) }
}

/// After all of a page.
fn past(number: u64, page: &Page) -> Offset {
    let follows = Follows { first: page.next(), after: page.to };
    Offset { page: number.saturating_add(1), sequence: Some(follows.first), follows: Some(follows) }
}

/// After all of a page that is there.
async fn after(source: &impl Source, group: GroupId, number: u64) -> Result<Offset, ReadError> {
    let bytes = source.page(group, number).await?;
    let bytes =
        bytes.ok_or_else(|| Unavailable(format!("page {number} of group {group} went away; try again")))?;
    let page = decode(group, number, &bytes)?;
    if page.group == group {
        Ok(past(number, &page))
    } else {
        Err(ReadError::NotFollowing { group, page: number })
    }
}

/// Whether a page is of this group and goes on where the one before it ended, if that is known.
fn check(group: GroupId, number: u64, page: &Page, expected: Option<Follows>) -> Result<(), ReadError> {
    let begins = if number == 0 { Some(0) } else { expected.map(|expected| expected.first) };
    if page.group != group || begins.is_some_and(|first| first != page.first) {
        return Err(ReadError::NotFollowing { group, page: number });
    }
    match expected.map(|expected| expected.after) {
        Some(after) if after.index < page.after.index => {
            let (told, index) = (after.index, page.after.index);
            Err(ReadError::NotTold { group, page: number, told, index })
        }
        Some(after) if after != page.after => Err(ReadError::NotFollowing { group, page: number }),
        _ => Ok(()),
    }
}

fn decode(group: GroupId, page: u64, bytes: &[u8]) -> Result<Page, ReadError> {
    Page::decode(bytes).map_err(|why| ReadError::Page { group, page, why })
}

async fn groups(source: &impl Source) -> Result<BTreeSet<GroupId>, ReadError> {
    let found: BTreeSet<GroupId> = source.groups().await?.into_iter().collect();
    if found.len() > MAX_GROUPS { Err(ReadError::TooManyGroups) } else { Ok(found) }
}
