//! The streams of one group: which tenants have a key, and how far each was told.

use super::{Bug, TellError};
use crate::planted::Planted;
use crate::store::Store;
use bytes::Bytes;
use std::collections::BTreeMap;
use strongroom_events::page::{self, Page, PageEntry, Reach};
use strongroom_events::tenant::{SignedKey, key_object};
use strongroom_proto::enrolment::RealmPolicy;
use strongroom_proto::ids::{GroupId, RealmId};
use strongroom_replica::{CreateOutcome, ReadOutcome};

/// The most tenants that are told.
const MAX_TENANTS: usize = 512;
/// Every how many pages it is noted how many there are.
const NOTED: u64 = 64;
/// The longest page that is written, but for the events of one entry, in bytes.
const PAGE_BYTES: usize = 4 << 20;

/// A tenant's stream in a group.
pub(super) struct Stream {
    /// The tenant's key.
    pub(super) key: SignedKey,
    /// What its pages cover.
    pub(super) reach: Reach,
    /// The number of the next page.
    number: u64,
    /// The sequence number of the next event.
    next: u64,
}

/// Where the streams of a group are written.
pub(super) struct Streams {
    pub(super) realm: RealmId,
    pub(super) group: GroupId,
    pub(super) policy: RealmPolicy,
    pub(super) store: Store,
    pub(super) planted: Planted<Bug>,
}

impl Streams {
    /// The tenants with keys that count, each with how far it was told; those of which that is known already stay as they are.
    pub(super) async fn look(
        &self,
        mut known: BTreeMap<String, Stream>,
        oldest: Reach,
    ) -> Result<BTreeMap<String, Stream>, TellError> {
        let folders = self.store.folders(&format!("realms/{}/events", self.realm)).await;
        let mut streams = BTreeMap::new();
        for folder in folders.map_err(|_| TellError::Store)?.into_iter().take(MAX_TENANTS) {
            let name = hex::decode(&folder).ok().and_then(|name| String::from_utf8(name).ok());
            let Some(tenant) = name.filter(|name| hex::encode(name) == folder) else { continue };
            let Some(key) = self.key(&tenant).await? else { continue };
            let mut stream = match known.remove(&tenant) {
                Some(stream) => Stream { key, ..stream },
                None => self.open(&tenant, key, oldest).await?,
            };
            if stream.reach.index < oldest.index {
                let (told, first) = (stream.reach.index, oldest.index.next());
                tracing::warn!(group = %self.group, %told, ?first, "entries are gone of which a tenant was not told");
                stream.reach = oldest;
            }
            streams.insert(tenant, stream);
        }
        Ok(streams)
    }

    /// A tenant's key, if enough custodians have signed it.
    async fn key(&self, tenant: &str) -> Result<Option<SignedKey>, TellError> {
        let name = key_object(&self.realm, tenant);
        let bytes = match self.store.read(&name).await {
            ReadOutcome::Found(bytes) => bytes,
            ReadOutcome::Absent => return Ok(None),
            ReadOutcome::Unavailable => return Err(TellError::Store),
        };
        let key = SignedKey::decode(tenant, &bytes).filter(|key| key.is_signed(&self.realm, &self.policy));
        if key.is_none() {
            tracing::warn!(
                object = name,
                "too few custodians have signed this tenant's key: it is told nothing"
            );
        }
        Ok(key)
    }

    /// Finds the end of a tenant's stream. One that is new begins with the oldest entry that is there.
    async fn open(&self, tenant: &str, key: SignedKey, oldest: Reach) -> Result<Stream, TellError> {
        let folder = page::stream(&self.realm, tenant, &self.group);
        let hint = match self.store.read(&self.note(tenant)).await {
            ReadOutcome::Found(bytes) => String::from_utf8(bytes).ok().and_then(|text| page::number(&text)),
            ReadOutcome::Absent => None,
            ReadOutcome::Unavailable => return Err(TellError::Store),
        };
        // The note may be old, and pages before it deleted.
        let from = format!("{folder}/{:016x}", hint.unwrap_or(0));
        let names = self.store.list(&folder, &from).await.map_err(|_| TellError::Store)?;
        let at_hint = hint.map(|number| page::name(&self.realm, tenant, &self.group, number));
        let Some(last) = names.iter().rev().find(|name| page::number(name).is_some()).or(at_hint.as_ref())
        else {
            return self.first_of(tenant, key, oldest).await;
        };
        let page = match self.store.read(last).await {
            ReadOutcome::Found(bytes) => {
                Page::decode(&bytes).map_err(|_| TellError::Damaged(last.clone()))?
            }
            ReadOutcome::Absent | ReadOutcome::Unavailable => return Err(TellError::Store),
        };
        if page.group != self.group {
            return Err(TellError::Damaged(last.clone()));
        }
        let number = page::number(last).and_then(|number| number.checked_add(1));
        let number = number.ok_or_else(|| TellError::Damaged(last.clone()))?;
        Ok(Stream { key, reach: page.to, number, next: page.next() })
    }

    /// A stream without pages; or page 0, which a list from its own name on leaves out.
    async fn first_of(&self, tenant: &str, key: SignedKey, oldest: Reach) -> Result<Stream, TellError> {
        let name = page::name(&self.realm, tenant, &self.group, 0);
        match self.store.read(&name).await {
            ReadOutcome::Absent => Ok(Stream { key, reach: oldest, number: 0, next: 0 }),
            ReadOutcome::Unavailable => Err(TellError::Store),
            ReadOutcome::Found(bytes) => {
                let page = Page::decode(&bytes).ok().filter(|page| page.group == self.group);
                let page = page.ok_or(TellError::Damaged(name))?;
                Ok(Stream { key, reach: page.to, number: 1, next: page.next() })
            }
        }
    }

    fn note(&self, tenant: &str) -> String {
        format!("{}/newest", page::stream(&self.realm, tenant, &self.group))
    }

    /// Writes what a tenant is told of the entries up to this one, in as many pages as it takes.
    pub(super) async fn write(
        &self,
        tenant: &str,
        stream: &mut Stream,
        (to, mut entries): (Reach, Vec<(Reach, PageEntry)>),
        now: u64,
    ) -> Result<(), TellError> {
        while !entries.is_empty() {
            let rest = entries.split_off(fitting(&entries));
            let end = match (rest.is_empty(), entries.last()) {
                (false, Some((last, _))) => *last,
                _ => to,
            };
            let told = entries.into_iter().map(|(_, entry)| entry).collect();
            self.page(tenant, stream, end, told, now).await?;
            entries = rest;
        }
        if stream.reach.index < to.index {
            self.page(tenant, stream, to, Vec::new(), now).await?;
        }
        Ok(())
    }

    async fn page(
        &self,
        tenant: &str,
        stream: &mut Stream,
        to: Reach,
        entries: Vec<PageEntry>,
        now: u64,
    ) -> Result<(), TellError> {
        let page =
            Page { group: self.group, after: stream.reach, to, first: stream.next, written: now, entries };
        let name = page::name(&self.realm, tenant, &self.group, stream.number);
        let bytes = page.encode().map_err(|_| TellError::Damaged(name.clone()))?;
        match self.store.create(&name, bytes.into()).await {
            CreateOutcome::Created => {}
            CreateOutcome::Lost if self.planted.has(Bug::OthersPageIsOwn) => {}
            CreateOutcome::Unknown if self.planted.has(Bug::PageUnsettled) => {}
            CreateOutcome::Lost => return Err(TellError::Overtaken(name)),
            CreateOutcome::Unknown => return Err(TellError::Store),
        }
        (stream.reach, stream.next) = (to, page.next());
        stream.number = stream.number.saturating_add(1);
        if stream.number.is_multiple_of(NOTED) {
            // Only saves listing: whoever reads it goes on from there.
            let number = format!("{:016x}", stream.number.saturating_sub(1));
            let note = self.note(tenant);
            if let Ok(seen) = self.store.see(&note).await {
                let _ = self.store.replace(&note, seen.as_ref(), Bytes::from(number)).await;
            }
        }
        Ok(())
    }

    /// Deletes the pages of a stream that were written before this time, but never the last. Returns how many.
    pub(super) async fn expire(&self, tenant: &str, before: u64) -> Result<usize, TellError> {
        let folder = page::stream(&self.realm, tenant, &self.group);
        let mut deleted = 0;
        let names = self.store.list(&folder, &folder).await.map_err(|_| TellError::Store)?;
        let pages: Vec<&String> = names.iter().filter(|name| page::number(name).is_some()).collect();
        for name in pages.iter().take(pages.len().saturating_sub(1)) {
            let written = match self.store.read(name).await {
                ReadOutcome::Found(bytes) => Page::decode(&bytes).map_or(u64::MAX, |page| page.written),
                ReadOutcome::Absent => continue,
                ReadOutcome::Unavailable => return Err(TellError::Store),
            };
            if written >= before {
                break;
            }
            self.store.delete(name).await.map_err(|_| TellError::Store)?;
            deleted += 1;
        }
        Ok(deleted)
    }
}

/// How many of these fit into a page; at least one.
fn fitting(entries: &[(Reach, PageEntry)]) -> usize {
    let mut bytes = 0;
    let more = entries.iter().take_while(|(_, entry)| {
        bytes += entry.events.sealed.len() + 160;
        bytes <= PAGE_BYTES
    });
    more.count().max(1)
}
