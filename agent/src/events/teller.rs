//! Tells the tenants of one group what is committed, window by window.

use super::Bug;
use super::streams::{Stream, Streams};
use super::tells::Tells;
use super::window::{Log, Window};
use super::{OwnerKey, TellError, WhoAsked};
use crate::planted::Planted;
use crate::store::{Purpose, Store};
use std::collections::BTreeMap;
use std::time::Duration;
use strongroom_events::page::{PageEntry, Reach};
use strongroom_proto::change::Evidence;
use strongroom_proto::enrolment::RealmPolicy;
use strongroom_proto::entry::Entry;
use strongroom_proto::events::{
    EntryEvents, MAX_EVENTS, MAX_TOLD_ENTRIES, OwnedEvent, SealedEvents, Settled, Telling,
};
use strongroom_proto::hsm::Refusal;
use strongroom_proto::ids::{Digest, GroupId, Index, RealmId};
use strongroom_proto::statement::Past;
use strongroom_replica::ask::{Told, Unanswered};
use strongroom_replica::segment::SegmentEntry;
use tokio::time::Instant;

/// How often it is looked which tenants have keys.
const LOOKS: Duration = Duration::from_secs(30);
/// How many entries may go by without an event of a tenant before a page says so. As many as go by are read again by the next leader.
const SILENT: u64 = 4096;
/// How many entries are told at once, at most: there is room for the next one in the request.
const SPAN: usize = MAX_TOLD_ENTRIES - 1;
/// How many bytes entries, events and names may have that are told at once: with the rest of a request, less than the frame of the smallest HSM.
const SPAN_BYTES: usize = 56 << 10;

/// Tells the tenants of one group, for whoever leads it.
pub struct Teller<H> {
    owners: OwnerKey,
    streams: Streams,
    hsm: H,
    tenants: BTreeMap<String, Stream>,
    /// How many events the HSM is asked to open at once, at most, as far as is known.
    most_events: usize,
    looked: Option<Instant>,
    /// Every entry up to this one was told, to all tenants that there are.
    reached: Reach,
}

/// What tenants are told of a window.
type News = BTreeMap<String, Vec<(Reach, PageEntry)>>;
/// What tenants are told at once.
type Tellings = Vec<(String, (Reach, PageEntry))>;

impl<H: Tells> Teller<H> {
    /// Asks nothing of the store yet.
    #[must_use]
    pub fn new(
        (realm, group): (RealmId, GroupId),
        policy: RealmPolicy,
        record_id_key: &Digest,
        store: &Store,
        hsm: H,
    ) -> Self {
        let store = store.with_purpose(Purpose::Events);
        let streams = Streams { realm, group, policy, store, planted: Planted::none() };
        let (owners, tenants) = (OwnerKey::of(record_id_key), BTreeMap::new());
        Self { owners, streams, hsm, tenants, most_events: MAX_EVENTS, looked: None, reached: Reach::NOTHING }
    }

    /// Leaves this rule out.
    #[cfg(feature = "planted-bugs")]
    pub const fn plant(&mut self, bug: Bug) {
        self.streams.planted.bug = Some(bug);
    }

    /// Forgets how far it had come: another may go on.
    pub fn forget(&mut self) {
        self.tenants.clear();
        (self.looked, self.reached) = (None, Reach::NOTHING);
    }

    /// The last entry of which was told what there is to tell.
    #[must_use]
    pub const fn reached(&self) -> Index {
        self.reached.index
    }

    /// How many tenants are told.
    #[must_use]
    pub fn tenants(&self) -> usize {
        self.tenants.len()
    }

    /// The last entry that no segment need be kept for: pages say so.
    #[must_use]
    pub fn durable(&self) -> Index {
        let least = self.tenants.values().map(|stream| stream.reach.index).min();
        least.unwrap_or(self.reached.index)
    }

    /// Tells tenants of what comes before and with a committed entry, while `leads` says so. With `all`, a page covers also what none of its events is in.
    ///
    /// # Errors
    /// [`TellError`]: the next call goes on from where this one came to.
    pub async fn go_on(
        &mut self,
        shown: &Evidence,
        (now, all): (u64, bool),
        leads: impl Fn() -> bool,
    ) -> Result<(), TellError> {
        self.look().await?;
        let end = Reach { index: shown.committed.index, hash: shown.committed.hash };
        let Some(least) = self.tenants.values().map(|stream| stream.reach).min_by_key(|reach| reach.index)
        else {
            self.reached = end;
            return Ok(());
        };
        let from = if self.reached.index > least.index { self.reached } else { least };
        if from.index >= end.index {
            self.reached = from;
            return self.write(end, News::new(), (now, all)).await;
        }
        let (store, group) = (self.streams.store.clone(), self.streams.group);
        let log = Log { store: &store, group };
        for window in log.windows(&self.hsm, from, shown).await? {
            if !leads() {
                return Err(TellError::Deposed);
            }
            let made = log.window(window.after, window.last).await?;
            let news = self.tell(&window, &made).await?;
            let Some(last) = made.last() else { continue };
            let to = Reach { index: last.entry.index, hash: last.entry.hash() };
            if self.streams.planted.has(Bug::ReadIsTold) {
                self.tenants.values_mut().for_each(|stream| stream.reach = stream.reach.max(to));
            }
            self.write(to, news, (now, all)).await?;
            self.reached = to;
        }
        Ok(())
    }

    /// Deletes the pages that were written before this time, but never the last of a stream.
    ///
    /// # Errors
    /// [`TellError::Store`].
    pub async fn expire(&self, before: u64) -> Result<(), TellError> {
        for tenant in self.tenants.keys() {
            self.streams.expire(tenant, before).await?;
        }
        Ok(())
    }

    /// Looks which tenants have keys, if that was long ago.
    async fn look(&mut self) -> Result<(), TellError> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOKS) {
            return Ok(());
        }
        let (store, group) = (&self.streams.store, self.streams.group);
        let oldest = Log { store, group }.oldest().await?;
        let known = std::mem::take(&mut self.tenants);
        let before: Vec<String> = known.keys().cloned().collect();
        self.tenants = self.streams.look(known, oldest).await?;
        if self.tenants.keys().any(|tenant| !before.contains(tenant)) {
            // Of what was read before, a new tenant has heard nothing.
            self.reached = Reach::NOTHING;
        }
        self.looked = Some(Instant::now());
        Ok(())
    }

    /// Seals what each tenant is told of a window, from its end to its beginning.
    async fn tell(&mut self, window: &Window, made: &[SegmentEntry]) -> Result<News, TellError> {
        let mut news = News::new();
        let (mut settled, mut next, mut left) = (window.settled, window.next.clone(), made);
        while !left.is_empty() {
            let (rest, span) = left.split_at(left.len() - self.fitting(left));
            let needs_past = !rest.is_empty();
            let (told, past) = match self.tell_span(settled, next.as_ref(), span, needs_past).await {
                // Of an HSM that takes less at once, the next ones are told in smaller parts.
                Err(TellError::Hsm(Unanswered::Refused(Refusal::TooLarge))) if span.len() > 1 => {
                    self.most_events = events_of(span).min(self.most_events) / 2;
                    continue;
                }
                done => done?,
            };
            told.into_iter().for_each(|(tenant, told)| news.entry(tenant).or_default().push(told));
            if let Some(past) = past {
                settled = Settled::Past(past);
            }
            (next, left) = (span.first().map(|made| made.entry.clone()), rest);
        }
        news.values_mut().for_each(|events| events.reverse());
        Ok(news)
    }

    /// How many of the last of these entries are told at once: at least one.
    fn fitting(&self, made: &[SegmentEntry]) -> usize {
        let (mut events, mut bytes) = (0, 0);
        let fit = made.iter().rev().take(SPAN).take_while(|made| {
            events += made.events.len();
            bytes += minicbor::to_vec(&made.entry).map_or(SPAN_BYTES, |entry| entry.len());
            bytes += made.events.iter().map(|event| event.len()).sum::<usize>();
            bytes += made.owners.iter().map(|owner| owner.len()).sum::<usize>();
            events <= self.most_events && bytes <= SPAN_BYTES
        });
        fit.count().max(1)
    }

    /// Seals what each tenant is told of entries that follow each other; and has the HSM state that the first of them is in the past of what is
    /// committed, if that is needed.
    async fn tell_span(
        &self,
        settled: Settled,
        next: Option<&Entry>,
        span: &[SegmentEntry],
        needs_past: bool,
    ) -> Result<(Tellings, Option<Past>), TellError> {
        let chain: Vec<Entry> = span.iter().map(|made| &made.entry).chain(next).cloned().collect();
        let Some(last) = span.last().map(|made| Reach { index: made.entry.index, hash: made.entry.hash() })
        else {
            return Ok((Vec::new(), None));
        };
        let (mut news, mut past) = (Vec::new(), None);
        for (tenant, of) in self.owned_of(span) {
            let Some(stream) = self.tenants.get(&tenant) else { continue };
            // A telling begins with the first entry of which there is something to tell.
            let Some(first) = of.iter().position(|of| !of.owned.is_empty()) else { continue };
            let (Some(chain), Some(of)) = (chain.get(first..), of.get(first..)) else { continue };
            let Some((told, count, events)) = self.tell_one(settled, chain, stream, of.to_vec()).await?
            else {
                continue;
            };
            if first == 0 {
                past = Some(told);
            }
            let Some(index) = chain.first().map(|entry| entry.index) else { continue };
            news.push((tenant, (last, PageEntry { index, last: last.index, count, events })));
        }
        if past.is_none() && needs_past {
            past = Some(self.hsm.tell(settled, chain, None).await.map_err(TellError::Hsm)?.past);
        }
        Ok((news, past))
    }

    /// For each tenant, which events of each of these entries it has to be told.
    fn owned_of(&self, span: &[SegmentEntry]) -> BTreeMap<String, Vec<EntryEvents>> {
        let mut all: BTreeMap<String, Vec<EntryEvents>> = BTreeMap::new();
        for (at, made) in span.iter().enumerate() {
            for (tenant, owned) in self.owned(made) {
                if self.tenants.get(&tenant).is_none_or(|stream| made.entry.index <= stream.reach.index) {
                    continue;
                }
                let of = all.entry(tenant).or_default();
                // Nothing is told of those between.
                of.resize(at, EntryEvents { events: Vec::new(), owned: Vec::new() });
                of.push(EntryEvents { events: made.events.clone(), owned });
            }
        }
        all
    }

    /// Whose the events of an entry are.
    fn owned(&self, made: &SegmentEntry) -> BTreeMap<String, Vec<OwnedEvent>> {
        let mut owned: BTreeMap<String, Vec<OwnedEvent>> = BTreeMap::new();
        if made.owners.len() != made.events.len() {
            return owned;
        }
        for (place, note) in (0..=u8::MAX).zip(&made.owners) {
            let Some(WhoAsked { tenant, user, time }) = self.owners.open(note) else { continue };
            let event = OwnedEvent { place, user: user.into_bytes().into(), time };
            owned.entry(tenant).or_default().push(event);
        }
        owned
    }

    /// Has the HSM seal events of the first of these entries for one tenant. None if it is told nothing of them.
    async fn tell_one(
        &self,
        settled: Settled,
        chain: &[Entry],
        stream: &Stream,
        mut of: Vec<EntryEvents>,
    ) -> Result<Option<(Past, u8, SealedEvents)>, TellError> {
        let telling = |entries: Vec<EntryEvents>| Telling {
            key: stream.key.key.clone(),
            signatures: stream.key.signatures.clone(),
            entries,
        };
        let mut sifted = false;
        loop {
            let count: usize = of.iter().map(|of| of.owned.len()).sum();
            let (Ok(count), true) = (u8::try_from(count), count > 0) else { return Ok(None) };
            match self.hsm.tell(settled, chain.to_vec(), Some(telling(of.clone()))).await {
                Ok(Told { past, sealed }) => return Ok(sealed.map(|sealed| (past, count, sealed))),
                Err(Unanswered::Refused(Refusal::NotApproved)) => return Ok(None),
                // An agent has noted other names than it made the record of, or another build made the event.
                Err(Unanswered::Refused(
                    refusal @ (Refusal::NotCovered | Refusal::BadRecord | Refusal::OtherVersion),
                )) if !sifted => {
                    let group = self.streams.group;
                    tracing::warn!(%group, %refusal, "some events are told to nobody");
                    of = self.sift(settled, chain, of, telling).await?;
                    sifted = true;
                }
                Err(unanswered) => return Err(TellError::Hsm(unanswered)),
            }
        }
    }

    /// Those events that the HSM seals if they are all.
    async fn sift(
        &self,
        settled: Settled,
        chain: &[Entry],
        of: Vec<EntryEvents>,
        telling: impl Fn(Vec<EntryEvents>) -> Telling,
    ) -> Result<Vec<EntryEvents>, TellError> {
        let mut good = Vec::new();
        for (at, EntryEvents { events, owned }) in of.into_iter().enumerate() {
            let mut kept = Vec::new();
            for one in owned {
                let mut alone = vec![EntryEvents { events: Vec::new(), owned: Vec::new() }; at];
                alone.push(EntryEvents { events: events.clone(), owned: vec![one.clone()] });
                match self.hsm.tell(settled, chain.to_vec(), Some(telling(alone))).await {
                    Ok(_) => kept.push(one),
                    Err(Unanswered::Refused(_)) => {}
                    Err(unanswered) => return Err(TellError::Hsm(unanswered)),
                }
            }
            good.push(EntryEvents { events, owned: kept });
        }
        Ok(good)
    }

    /// Writes the pages of a window.
    async fn write(&mut self, to: Reach, mut news: News, (now, all): (u64, bool)) -> Result<(), TellError> {
        for (tenant, stream) in &mut self.tenants {
            if stream.reach.index >= to.index {
                continue;
            }
            let events = news.remove(tenant).unwrap_or_default();
            let silent = to.index.0.saturating_sub(stream.reach.index.0) >= SILENT;
            if events.is_empty() && !silent && !all {
                continue;
            }
            if let Err(error) = self.streams.write(tenant, stream, (to, events), now).await {
                // How far it came is read again.
                self.forget();
                return Err(error);
            }
        }
        Ok(())
    }
}

/// How many events these entries have.
fn events_of(span: &[SegmentEntry]) -> usize {
    span.iter().map(|made| made.events.len()).sum()
}
