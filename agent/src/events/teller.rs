//! Tells the tenants of one group what is committed, window by window.

use super::Bug;
use super::streams::{Stream, Streams};
use super::tells::Tells;
use super::window::{CHAIN, Log, Window};
use super::{OwnerKey, TellError, WhoAsked};
use crate::planted::Planted;
use crate::store::{Purpose, Store};
use std::collections::BTreeMap;
use std::time::Duration;
use strongroom_events::page::{PageEntry, Reach};
use strongroom_proto::change::Evidence;
use strongroom_proto::enrolment::RealmPolicy;
use strongroom_proto::entry::Entry;
use strongroom_proto::events::{OwnedEvent, SealedEvents, Settled, Telling};
use strongroom_proto::hsm::Refusal;
use strongroom_proto::ids::{Digest, GroupId, Index, RealmId};
use strongroom_replica::ask::{Told, Unanswered};
use strongroom_replica::segment::SegmentEntry;
use tokio::time::Instant;

/// How often it is looked which tenants have keys.
const LOOKS: Duration = Duration::from_secs(30);
/// How many entries may go by without an event of a tenant before a page says so. As many as go by are read again by the next leader.
const SILENT: u64 = 4096;

/// Tells the tenants of one group, for whoever leads it.
pub struct Teller<H> {
    owners: OwnerKey,
    streams: Streams,
    hsm: H,
    tenants: BTreeMap<String, Stream>,
    looked: Option<Instant>,
    /// Every entry up to this one was told, to all tenants that there are.
    reached: Reach,
}

/// What a tenant is told of a window.
type News = BTreeMap<String, Vec<(Reach, PageEntry)>>;

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
        Self { owners, streams, hsm, tenants, looked: None, reached: Reach::NOTHING }
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
    async fn tell(&self, window: &Window, made: &[SegmentEntry]) -> Result<News, TellError> {
        let mut news = News::new();
        let mut settled = window.settled;
        let mut chain: Vec<Entry> = window.next.iter().cloned().collect();
        for made in made.iter().rev() {
            chain.insert(0, made.entry.clone());
            let mut past = None;
            for (tenant, owned) in self.owned(made) {
                let Some(stream) = self.tenants.get(&tenant) else { continue };
                if made.entry.index <= stream.reach.index {
                    continue;
                }
                let Some((told, events)) = self.tell_one(settled, &chain, stream, made, owned).await? else {
                    continue;
                };
                past = Some(told.past);
                let at = Reach { index: made.entry.index, hash: made.entry.hash() };
                news.entry(tenant).or_default().push((at, events));
            }
            if past.is_none() && chain.len() >= CHAIN {
                let told = self.hsm.tell(settled, chain.clone(), None).await.map_err(TellError::asked)?;
                past = Some(told.past);
            }
            if let Some(past) = past {
                settled = Settled::Past(past);
                chain.truncate(1);
            }
        }
        news.values_mut().for_each(|events| events.reverse());
        Ok(news)
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

    /// Has the HSM seal events of one entry for one tenant. None if it is told nothing of it.
    async fn tell_one(
        &self,
        settled: Settled,
        chain: &[Entry],
        stream: &Stream,
        made: &SegmentEntry,
        mut owned: Vec<OwnedEvent>,
    ) -> Result<Option<(Told, PageEntry)>, TellError> {
        let telling = |owned: &[OwnedEvent]| Telling {
            key: stream.key.key.clone(),
            signatures: stream.key.signatures.clone(),
            events: made.events.clone(),
            owned: owned.to_vec(),
        };
        loop {
            let asked = self.hsm.tell(settled, chain.to_vec(), Some(telling(&owned))).await;
            match asked {
                Ok(mut told) => {
                    let Some(events) = told.sealed.take() else { return Ok(None) };
                    let count = u8::try_from(owned.len()).unwrap_or(u8::MAX);
                    return Ok(Some((told, page_entry(made, count, events))));
                }
                Err(Unanswered::Refused(Refusal::NotApproved)) => return Ok(None),
                // An agent has noted other names than it made the record of, or another build made the event.
                Err(Unanswered::Refused(
                    refusal @ (Refusal::NotCovered | Refusal::BadRecord | Refusal::OtherVersion),
                )) if owned.len() > 1 || refusal == Refusal::NotCovered => {
                    let mut good = Vec::new();
                    for one in owned {
                        let alone = telling(std::slice::from_ref(&one));
                        match self.hsm.tell(settled, chain.to_vec(), Some(alone)).await {
                            Ok(_) => good.push(one),
                            Err(Unanswered::Refused(_)) => {
                                tracing::warn!(index = %made.entry.index, %refusal, "an event is told to nobody");
                            }
                            Err(unanswered) => return Err(TellError::asked(unanswered)),
                        }
                    }
                    if good.is_empty() {
                        return Ok(None);
                    }
                    owned = good;
                }
                Err(Unanswered::Refused(Refusal::BadRecord | Refusal::OtherVersion)) => return Ok(None),
                Err(unanswered) => return Err(TellError::asked(unanswered)),
            }
        }
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

fn page_entry(made: &SegmentEntry, count: u8, events: SealedEvents) -> PageEntry {
    PageEntry { index: made.entry.index, count, events }
}
