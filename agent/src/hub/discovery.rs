//! How agents find each other: each says in the store where it is, and looks there for the others.
//!
//! Nothing rests on it. What the store holds is a hint, read within bounds; who an agent is, is in its certificate. Both
//! are seldom: the store is listed when somebody is missing, less and less often while that finds nothing new, and
//! otherwise every few minutes; and of what is listed only what is new is read.

use super::Hub;
use crate::peers::{
    AnnouncedGroup, Announcement, AnnouncementName, Identity, MAX_AGENTS, MAX_ANNOUNCEMENT_BYTES, PeerUrl,
    announcements,
};
use crate::store::{Hint, LIST_PAGE, Purpose, Store};
use futures::StreamExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::ids::{HsmId, RealmId};
use strongroom_replica::CreateOutcome;
use tokio::time::{Instant, timeout};

/// How often it is looked whether something is to be done.
const TICK: Duration = Duration::from_secs(1);
/// How often the store is listed when nobody is missing, for each page of the listing.
const CALM: Duration = Duration::from_secs(5 * 60);
/// The pause between two listings when somebody is missing: at first, and at most.
const HURRY: Duration = Duration::from_secs(1);
const MAX_HURRY: Duration = Duration::from_secs(30);
/// How often an announcement is renewed that says the same.
const RENEWED: Duration = Duration::from_secs(10 * 60);
/// The pause between two of its own, and after one that could not be written.
const WRITE_PAUSE: Duration = Duration::from_secs(2);
const FAILED_PAUSE: Duration = Duration::from_secs(30);
/// How many announcements are read at once, and how many of its own are deleted after one listing.
const READING: usize = 16;
const DELETIONS: usize = 16;
/// How far ahead of the clock the number of an announcement of its own may be that counts.
const AHEAD_S: u64 = 24 * 60 * 60;
/// The version that is announced.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Announces this agent and looks for others, until the agent ends.
pub(crate) struct Discovery {
    hub: Arc<Hub>,
    store: Store,
    /// Where others reach this agent, if that is known.
    address: Option<PeerUrl>,
    /// What was announced last, and when.
    own: Option<(AnnouncementName, Instant)>,
    /// The others of this HSM that the store held.
    older: BTreeSet<AnnouncementName>,
    write_after: Option<Instant>,
    told: bool,
    looks: Looks,
}

/// Why the store is listed before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Why {
    /// A request found no leader, or an operator looks.
    wanted: bool,
    /// An HSM that shares a group with this agent's is not there.
    missing: bool,
}

/// When the store is listed.
struct Looks {
    last: Option<Instant>,
    /// The pause for each reason. Somebody who is missing for good must not slow down a request.
    wanted: Duration,
    missing: Duration,
    /// How many pages a listing has.
    pages: u32,
    members: BTreeSet<HsmId>,
}

impl Looks {
    const fn new() -> Self {
        Self { last: None, wanted: HURRY, missing: HURRY, pages: 1, members: BTreeSet::new() }
    }

    /// Whether it is time.
    fn is_due(&self, why: Why) -> bool {
        let reasons = [(true, CALM), (why.wanted, self.wanted), (why.missing, self.missing)];
        let pause = reasons.into_iter().filter(|(is, _)| *is).map(|(_, pause)| pause).min().unwrap_or(CALM);
        self.last.is_none_or(|last| last.elapsed() >= pause * self.pages)
    }

    /// A listing has shown so many names, and something new or nothing.
    fn done(&mut self, why: Why, names: usize, new: bool) {
        self.last = Some(Instant::now());
        let pages = u64::try_from(names).unwrap_or(u64::MAX).div_ceil(LIST_PAGE).max(1);
        self.pages = u32::try_from(pages).unwrap_or(u32::MAX);
        for (is, pause) in [(why.wanted, &mut self.wanted), (why.missing, &mut self.missing)] {
            *pause = if is && !new { (*pause * 2).min(MAX_HURRY) } else { HURRY };
        }
    }

    /// These are the HSMs that share a group with this agent's.
    fn share(&mut self, members: &BTreeSet<HsmId>) {
        if self.members != *members {
            self.members.clone_from(members);
            self.missing = HURRY;
        }
    }
}

impl Discovery {
    pub(crate) fn new(hub: Arc<Hub>, store: &Store, address: Option<PeerUrl>) -> Self {
        let store = store.with_purpose(Purpose::Agents);
        let (own, older, write_after, told, looks) = (None, BTreeSet::new(), None, false, Looks::new());
        Self { hub, store, address, own, older, write_after, told, looks }
    }

    pub(crate) async fn run(mut self) {
        let mut wanted = false;
        loop {
            let identity = self.hub.identity.borrow().clone();
            if let Some(identity) = identity {
                let members = self.hub.members();
                self.looks.share(&members);
                self.hub.peers().tend(members.clone());
                let why = Why { wanted, missing: !self.hub.peers().knows_members() };
                if self.looks.is_due(why) {
                    self.look(&identity, why).await;
                    self.hub.peers().tend(members);
                    wanted = false;
                }
                self.announce(&identity).await;
            }
            let woken = timeout(TICK, self.hub.peers().wanted()).await;
            if woken.is_ok() {
                wanted = true;
                // Many may want it at once.
                tokio::time::sleep(TICK / 10).await;
            }
        }
    }

    /// Lists the announcements, and reads those that are new.
    async fn look(&mut self, identity: &Identity, why: Why) {
        let who = identity.who();
        let Ok(names) = self.store.hints(&announcements(who.realm), MAX_AGENTS).await else {
            return self.looks.done(why, 0, false);
        };
        let count = names.len();
        let names = names.iter().filter_map(|name| name.parse::<AnnouncementName>().ok());
        let (own, others): (Vec<_>, Vec<_>) = names.partition(|name| name.hsm == who.hsm);
        self.see_own(own, count < MAX_AGENTS);
        self.announce(identity).await;
        self.hub.peers().listed(others, (self.hub.time.unix)());
        let mut new = false;
        loop {
            let unread = self.hub.peers().unread();
            if unread.is_empty() {
                break;
            }
            new = true;
            if !self.read(who.realm, unread).await {
                break;
            }
        }
        self.looks.done(why, count, new);
    }

    /// Reads these. Returns whether the store answered.
    async fn read(&self, realm: RealmId, unread: Vec<AnnouncementName>) -> bool {
        let reads = unread.into_iter().map(|name| read(&self.store, realm, name));
        let mut reads = futures::stream::iter(reads).buffer_unordered(READING);
        let mut all = true;
        while let Some((name, hint)) = reads.next().await {
            let said = match hint {
                Hint::Found(bytes) => Announcement::read(&name, &bytes).map_err(|error| error.to_string()),
                Hint::None => Err("it is not there any more, or too long".into()),
                // It is read after the next listing.
                Hint::Unavailable => {
                    all = false;
                    continue;
                }
            };
            if let Err(why) = &said {
                tracing::debug!(%name, why, "an agent's announcement cannot be used");
            }
            self.hub.peers().announced(&name, said.ok());
        }
        all
    }

    /// What the store holds in the name of this agent's HSM, all of it or the first of very many: what it did not write, or
    /// has replaced, is deleted; and what is not there any more is written again.
    fn see_own(&mut self, listed: Vec<AnnouncementName>, all: bool) {
        if self.own.is_some_and(|(name, _)| all && !listed.contains(&name)) {
            self.own = None;
        }
        self.older = listed.into_iter().filter(|name| self.own.is_none_or(|(own, _)| own != *name)).collect();
    }

    /// Says where this agent is, if that is not what was said last or was said long ago.
    async fn announce(&mut self, identity: &Identity) {
        let Some(address) = &self.address else { return };
        if self.write_after.is_some_and(|after| Instant::now() < after) {
            return;
        }
        let who = identity.who();
        let said =
            Announcement::new(who.hsm, address, identity.authority(), VERSION, self.hub.announced_groups());
        let bytes = said.to_bytes();
        let now = (self.hub.time.unix)();
        let name = AnnouncementName::new(who.hsm, self.next_number(now), &bytes);
        let same = self.own.is_some_and(|(own, at)| {
            own.hsm == name.hsm && own.digest == name.digest && at.elapsed() < RENEWED
        });
        if same {
            return self.delete_older(who.realm).await;
        }
        let created = self.store.create(&name.object(who.realm), bytes.into()).await;
        if created != CreateOutcome::Created {
            self.write_after = Some(Instant::now() + FAILED_PAUSE);
            if !std::mem::replace(&mut self.told, true) {
                tracing::warn!("this agent cannot announce itself in the store, so others may not find it");
            }
            return;
        }
        (self.write_after, self.told) = (Some(Instant::now() + WRITE_PAUSE), false);
        self.older.extend(self.own.replace((name, Instant::now())).map(|(before, _)| before));
        self.delete_older(who.realm).await;
    }

    /// More than those of all that it replaces.
    fn next_number(&self, now: u64) -> u64 {
        let before = self.older.iter().chain(self.own.iter().map(|(name, _)| name)).map(|name| name.number);
        // What claims to be from the future is not of this agent, and is deleted.
        let before = before.filter(|number| *number < now.saturating_add(AHEAD_S)).max();
        before.map_or(now, |number| now.max(number.saturating_add(1)))
    }

    async fn delete_older(&mut self, realm: RealmId) {
        for _ in 0..DELETIONS {
            let Some(name) = self.older.pop_first() else { return };
            // What stays is listed again.
            let _ = self.store.delete(&name.object(realm)).await;
        }
    }
}

async fn read(store: &Store, realm: RealmId, name: AnnouncementName) -> (AnnouncementName, Hint) {
    (name, store.hint(&name.object(realm), MAX_ANNOUNCEMENT_BYTES).await)
}

impl Hub {
    /// The other HSMs of the groups of this agent's.
    fn members(&self) -> BTreeSet<HsmId> {
        let Some(device) = self.device() else { return BTreeSet::new() };
        let members = device.groups.iter().flat_map(|group| &group.statement.members);
        members.copied().filter(|member| *member != device.hsm).collect()
    }

    fn announced_groups(&self) -> Vec<AnnouncedGroup> {
        let Some(device) = self.device() else { return Vec::new() };
        let running = self.groups();
        let announced = |statement: strongroom_proto::statement::GroupStatement| {
            let status = running.iter().find(|(group, _)| *group == statement.group);
            let prefixes = status.map(|(_, status)| status.prefixes.clone()).unwrap_or_default();
            AnnouncedGroup { group: statement.group, members: statement.members, prefixes }
        };
        device.groups.into_iter().map(|group| announced(group.statement)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALMLY: Why = Why { wanted: false, missing: false };
    const MISSING: Why = Why { wanted: false, missing: true };
    const WANTED: Why = Why { wanted: true, missing: true };

    /// How often the store is listed in so many seconds.
    async fn listings(looks: &mut Looks, why: Why, names: usize, seconds: u32) -> u32 {
        let mut count = 0;
        for _ in 0..seconds {
            if looks.is_due(why) {
                looks.done(why, names, false);
                count += 1;
            }
            tokio::time::advance(TICK).await;
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn the_store_is_listed_seldom_while_nobody_is_missing_and_less_and_less_often_while_somebody_is() {
        let mut looks = Looks::new();
        assert_eq!(listings(&mut looks, CALMLY, 3, 3600).await, 12);
        assert_eq!(listings(&mut looks, MISSING, 3, 3600).await, 5 + 118);
        looks.share(&BTreeSet::from([HsmId([1; 16])]));
        assert_eq!(listings(&mut looks, MISSING, 3, 10).await, 3, "somebody else is missing");
        // As many requests for three pages as for one.
        let mut looks = Looks::new();
        assert_eq!(listings(&mut looks, CALMLY, 3000, 3600).await * 3, 12);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_finds_no_leader_has_the_store_listed_at_once_even_if_a_member_is_gone_for_good() {
        let mut looks = Looks::new();
        listings(&mut looks, MISSING, 3, 3600).await;
        looks.done(MISSING, 3, false);
        tokio::time::advance(HURRY).await;
        assert!(!looks.is_due(MISSING) && looks.is_due(WANTED));
        assert!(listings(&mut looks, WANTED, 3, 3600).await <= 125, "and less and less often");
        looks.done(WANTED, 3, true);
        tokio::time::advance(HURRY).await;
        assert!(looks.is_due(WANTED), "what is new may not be all");
    }
}
