//! Which agents have announced themselves in the store, and which records they say their groups own.
//!
//! All of it is a hint: an entry can be a lie, or of an agent that is long gone. It is bounded whatever the store holds.
//! An agent whose announcement has not been renewed for some time is tried last.

use super::PeerUrl;
use super::announcement::{Announcement, AnnouncementName};
use super::claims::Claims;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::ids::{GroupId, HsmId, RecordId};
use strongroom_proto::prefix::Prefix;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many agents are known at most.
pub(crate) const MAX_AGENTS: usize = 4096;
/// How many announcements are read before it is looked again which must be.
const READS: usize = 256;
/// After how long without a newer announcement an agent counts as gone: several times that in which it renews its own.
const GONE: Duration = Duration::from_secs(60 * 60);
/// How old the newest announcement of an agent may be when it is first seen, and how far ahead one may be that counts.
/// Clocks are less than a day apart.
const OLD_S: u64 = 2 * 24 * 60 * 60;
const AHEAD_S: u64 = 24 * 60 * 60;
/// After how long one that could not be read is read again.
const READ_AGAIN: Duration = Duration::from_secs(5 * 60);
/// How many of those that announce the group of a record are asked.
const OF_RECORD: usize = 9;

/// The agents that have announced themselves. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Directory {
    table: Arc<Mutex<Table>>,
    /// Somebody looks for an agent that is not in it.
    wanted: Arc<Notify>,
}

#[derive(Default)]
struct Table {
    agents: BTreeMap<HsmId, Agent>,
    /// Which agents say that their HSM's group owns a record, by the agent's number.
    groups: Claims<HsmId>,
    next: usize,
    /// Where the last search for any others ended.
    cursor: Option<HsmId>,
}

struct Agent {
    number: usize,
    name: AnnouncementName,
    /// When that was first seen, and whether it was old then.
    seen: Instant,
    old: bool,
    /// What the newest one said that could be read, and its digest.
    said: Option<(PeerUrl, Announcement)>,
    read: Option<u64>,
    /// When the newest one could not be read.
    failed: Option<Instant>,
}

impl Agent {
    fn is_gone(&self) -> bool {
        self.old || self.seen.elapsed() > GONE
    }

    fn must_be_read(&self) -> bool {
        self.read != Some(self.name.digest) && self.failed.is_none_or(|failed| failed.elapsed() > READ_AGAIN)
    }
}

impl Table {
    fn unsay(groups: &mut Claims<HsmId>, agent: &mut Agent) {
        let Some((_, said)) = agent.said.take() else { return };
        for prefix in said.groups.iter().flat_map(|group| &group.prefixes) {
            groups.remove(prefix, agent.number, said.hsm);
        }
    }

    fn forget(&mut self, hsm: HsmId) {
        if let Some(mut agent) = self.agents.remove(&hsm) {
            Self::unsay(&mut self.groups, &mut agent);
        }
    }
}

impl Directory {
    /// Takes note of which announcements there are. `unix` is the time in seconds.
    pub(super) fn list(&self, names: impl IntoIterator<Item = AnnouncementName>, unix: u64) {
        let mut newest = BTreeMap::<HsmId, AnnouncementName>::new();
        for name in names.into_iter().filter(|name| name.number <= unix.saturating_add(AHEAD_S)) {
            let of = newest.entry(name.hsm).or_insert(name);
            *of = name.max(*of);
        }
        let mut table = self.table.lock();
        let Table { agents, next, .. } = &mut *table;
        for name in newest.values().take(MAX_AGENTS) {
            let old = name.number.saturating_add(OLD_S) < unix;
            let agent = agents.entry(name.hsm).or_insert_with(|| {
                *next = next.wrapping_add(1);
                Agent {
                    number: *next,
                    name: *name,
                    seen: Instant::now(),
                    old,
                    said: None,
                    read: None,
                    failed: None,
                }
            });
            if agent.name == *name {
                continue;
            }
            if agent.name.digest != name.digest {
                agent.failed = None;
            }
            (agent.name, agent.seen, agent.old) = (*name, Instant::now(), old);
        }
        // What the store no longer shows is believed for a while: a listing can be a lie too.
        let full = table.agents.len() > MAX_AGENTS;
        let gone = |(hsm, agent): (&HsmId, &Agent)| {
            (!newest.contains_key(hsm) && (full || agent.is_gone())).then_some(*hsm)
        };
        let gone: Vec<_> = table.agents.iter().filter_map(gone).collect();
        gone.into_iter().for_each(|hsm| table.forget(hsm));
    }

    /// Some of those that must be read, those of `first` before others.
    pub(super) fn unread(&self, first: &BTreeSet<HsmId>) -> Vec<AnnouncementName> {
        let table = self.table.lock();
        let unread = table.agents.values().filter(|agent| agent.must_be_read()).map(|agent| agent.name);
        let (mut unread, others): (Vec<_>, Vec<_>) = unread.partition(|name| first.contains(&name.hsm));
        unread.extend(others);
        unread.truncate(READS);
        unread
    }

    /// Takes what an announcement says; `None` if it could not be read.
    pub(super) fn put(&self, name: &AnnouncementName, said: Option<Announcement>) {
        let mut table = self.table.lock();
        let Table { agents, groups, .. } = &mut *table;
        let Some(agent) = agents.get_mut(&name.hsm).filter(|agent| agent.name.digest == name.digest) else {
            return;
        };
        let Some((address, said)) = said.and_then(|said| Some((said.address().ok()?, said))) else {
            agent.failed = Some(Instant::now());
            return;
        };
        Table::unsay(groups, agent);
        for prefix in said.groups.iter().flat_map(|group| &group.prefixes) {
            groups.add(*prefix, agent.number, said.hsm);
        }
        (agent.said, agent.read) = (Some((address, said)), Some(name.digest));
    }

    /// Where the agent of an HSM says it is.
    pub(super) fn address(&self, hsm: HsmId) -> Option<PeerUrl> {
        let table = self.table.lock();
        table.agents.get(&hsm)?.said.as_ref().map(|(address, _)| address.clone())
    }

    /// Whether the agent of an HSM has announced nothing for a long time.
    #[cfg(test)]
    pub(super) fn is_gone(&self, hsm: HsmId) -> bool {
        self.table.lock().agents.get(&hsm).is_none_or(Agent::is_gone)
    }

    /// A few of the agents that say that a group of their HSM owns a record: those that name the fewest records first.
    pub(super) fn of_record(&self, record: &RecordId) -> Vec<HsmId> {
        let table = self.table.lock();
        let mut some: Vec<HsmId> = Vec::new();
        for (_, hsm) in table.groups.about(record) {
            let there = table.agents.get(&hsm).is_some_and(|agent| !agent.is_gone());
            if there && !some.contains(&hsm) {
                some.push(hsm);
            }
            if some.len() == OF_RECORD {
                break;
            }
        }
        some
    }

    /// The group that owns a record, by what agents that are not gone have announced: of several, the one that names the fewest
    /// records.
    pub(super) fn group_of(&self, record: &RecordId) -> Option<GroupId> {
        let table = self.table.lock();
        table.groups.about(record).find_map(|(_, hsm)| {
            let agent = table.agents.get(&hsm).filter(|agent| !agent.is_gone())?;
            let (_, said) = agent.said.as_ref()?;
            let own = said
                .groups
                .iter()
                .flat_map(|of| of.prefixes.iter().map(|prefix| (prefix.len(), prefix, of.group)));
            own.filter(|(_, prefix, _)| prefix.contains(record))
                .max_by_key(|(length, ..)| *length)
                .map(|(.., group)| group)
        })
    }

    /// The members of a group, by what any of them has announced.
    pub(super) fn members(&self, group: &GroupId) -> Vec<HsmId> {
        let table = self.table.lock();
        let said = table.agents.values().filter_map(|agent| agent.said.as_ref());
        let mut groups = said.flat_map(|(_, said)| &said.groups);
        groups.find(|of| of.group == *group).map(|of| of.members.clone()).unwrap_or_default()
    }

    /// A group other than this one that owns some of a prefix, by what its agents have announced.
    pub(super) fn owner(&self, prefix: &Prefix, other_than: &GroupId) -> Option<GroupId> {
        let table = self.table.lock();
        let said = table.agents.values().filter(|agent| !agent.is_gone()).filter_map(|a| a.said.as_ref());
        let mut groups = said.flat_map(|(_, said)| &said.groups);
        let owns =
            groups.find(|of| of.group != *other_than && of.prefixes.iter().any(|p| p.overlaps(prefix)));
        owns.map(|of| of.group)
    }

    /// Up to so many other agents that are not gone: each time those that come next.
    pub(super) fn others(&self, count: usize) -> Vec<HsmId> {
        let mut table = self.table.lock();
        let from = table.cursor.unwrap_or(HsmId([0; 16]));
        let usable =
            |(hsm, agent): (&HsmId, &Agent)| (agent.said.is_some() && !agent.is_gone()).then_some(*hsm);
        let (after, before) = (table.agents.range(from..).skip(1), table.agents.range(..=from));
        let some: Vec<HsmId> = after.chain(before).filter_map(usable).take(count).collect();
        table.cursor = some.last().copied().or(table.cursor);
        some
    }

    /// What the agent of an HSM has announced, if that was read.
    pub(super) fn said(&self, hsm: HsmId) -> Option<Announcement> {
        let table = self.table.lock();
        table.agents.get(&hsm)?.said.as_ref().map(|(_, said)| said.clone())
    }

    /// How many agents are known that are not gone.
    pub(super) fn usable(&self) -> usize {
        let table = self.table.lock();
        table.agents.values().filter(|agent| agent.said.is_some() && !agent.is_gone()).count()
    }

    /// How many agents are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.lock().agents.len()
    }

    /// Somebody looks for an agent that is not in it.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Completes after [`Self::want`].
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::announcement::AnnouncedGroup;
    use super::*;
    use strongroom_proto::ids::GroupId;
    use strongroom_proto::prefix::Prefix;

    fn hsm(number: u16) -> HsmId {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        HsmId(id)
    }

    fn said(of: u16, port: u16, prefixes: Vec<Prefix>) -> Announcement {
        let address = PeerUrl::try_from(format!("https://127.0.0.1:{port}")).expect("an address");
        let group = AnnouncedGroup { group: GroupId([1; 16]), members: vec![hsm(of)], prefixes };
        Announcement::new(hsm(of), &address, [0; 32], "1", vec![group])
    }

    fn named(number: u64, said: &Announcement) -> AnnouncementName {
        AnnouncementName::new(said.hsm, number, &said.to_bytes())
    }

    /// What must be read after a listing.
    fn list<const N: usize>(
        directory: &Directory,
        names: [AnnouncementName; N],
        unix: u64,
    ) -> Vec<AnnouncementName> {
        directory.list(names, unix);
        directory.unread(&BTreeSet::new())
    }

    #[tokio::test(start_paused = true)]
    async fn an_announcement_is_read_once_and_renewed_ones_that_say_the_same_are_not() {
        let directory = Directory::default();
        let first = said(1, 1, vec![Prefix::WHOLE]);
        let name = named(100, &first);
        assert_eq!(list(&directory, [name], 100), [name]);
        directory.put(&name, Some(first.clone()));
        assert!(list(&directory, [name, named(110, &first)], 110).is_empty());
        let second = said(1, 2, Vec::new());
        let name = named(120, &second);
        assert_eq!(list(&directory, [named(110, &first), name], 120), [name]);
        let record = RecordId([9; 32]);
        assert_eq!(directory.of_record(&record), [hsm(1)], "what it said counts until the newer one is read");
        directory.put(&name, None);
        assert!(list(&directory, [name], 120).is_empty(), "not again at once");
        tokio::time::advance(READ_AGAIN * 2).await;
        assert_eq!(list(&directory, [name], 120), [name]);
        directory.put(&name, Some(second));
        assert_eq!(directory.address(hsm(1)).map(|address| address.0.port()), Some(Some(2)));
        assert!(directory.of_record(&record).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_is_of_the_group_that_names_the_fewest_records_unless_its_agents_are_gone() {
        let directory = Directory::default();
        let record = RecordId([0x55; 32]);
        assert_eq!(directory.group_of(&record), None);
        let narrow = |bits| Prefix::of(&record, bits).expect("short enough");
        let announced = [
            (1, 1_000_000, vec![Prefix::WHOLE]),
            (2, 1_000_000, vec![narrow(2), Prefix::of(&RecordId([0xff; 32]), 9).expect("short enough")]),
            (3, 1, vec![narrow(5)]),
        ];
        let mut names = Vec::new();
        for (of, number, prefixes) in announced {
            let mut said = said(of, of, prefixes);
            said.groups[0].group = GroupId([u8::try_from(of).expect("small"); 16]);
            names.push((named(number, &said), said));
        }
        directory.list(names.iter().map(|(name, _)| *name), 1_000_000);
        for (name, said) in names {
            directory.put(&name, Some(said));
        }
        assert_eq!(directory.group_of(&record), Some(GroupId([2; 16])));
        assert_eq!(directory.group_of(&RecordId([0xff; 32])), Some(GroupId([2; 16])));
        assert_eq!(directory.group_of(&RecordId([0x99; 32])), Some(GroupId([1; 16])));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_renewed_is_gone_and_then_forgotten_when_it_is_not_there_any_more() {
        let directory = Directory::default();
        let (one, old) = (said(1, 1, vec![Prefix::WHOLE]), said(2, 2, vec![Prefix::WHOLE]));
        let names = [named(1_000_000, &one), named(1, &old)];
        assert_eq!(list(&directory, names, 1_000_000).len(), 2);
        directory.put(&names[0], Some(one));
        directory.put(&names[1], Some(old));
        assert_eq!(directory.of_record(&RecordId([0; 32])), [hsm(1)]);
        assert!(directory.is_gone(hsm(2)) && directory.address(hsm(2)).is_some());
        list(&directory, [], 1_000_000);
        assert_eq!(directory.len(), 1, "an empty listing may be a lie");
        tokio::time::advance(GONE * 2).await;
        assert!(directory.of_record(&RecordId([0; 32])).is_empty() && directory.others(9).is_empty());
        list(&directory, [names[0]], 1_000_000);
        assert_eq!(directory.len(), 1);
        list(&directory, [], 1_000_000);
        assert_eq!(directory.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_full_of_announcements_costs_no_more_than_so_many_and_members_are_read_first() {
        let directory = Directory::default();
        let names: Vec<_> = (0..6000).map(|of| named(1, &said(of, 1, Vec::new()))).collect();
        let first = BTreeSet::from([hsm(4000)]);
        directory.list(names.clone(), 1);
        let read = directory.unread(&first);
        assert_eq!((read.len(), directory.len(), read[0].hsm), (READS, MAX_AGENTS, hsm(4000)));
        directory.list(names[3000..].iter().copied(), 1);
        assert!(directory.len() <= MAX_AGENTS, "{}", directory.len());
    }

    #[test]
    fn what_claims_to_be_from_the_future_hides_nothing() {
        let directory = Directory::default();
        let (true_one, false_one) = (said(1, 1, Vec::new()), said(1, 2, Vec::new()));
        let (there, ahead) = (named(100, &true_one), named(u64::MAX, &false_one));
        assert_eq!(list(&directory, [ahead, there], 100), [there]);
    }

    #[tokio::test(start_paused = true)]
    async fn any_others_are_all_of_them_in_turn() {
        let directory = Directory::default();
        for of in 0..10 {
            let said = said(of, 1, Vec::new());
            let name = named(1, &said);
            list(&directory, [name], 1);
            directory.put(&name, Some(said));
        }
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            let some = directory.others(3);
            assert_eq!(some.len(), 3);
            seen.extend(some);
        }
        assert_eq!(seen.len(), 10);
        assert_eq!(directory.others(99).len(), 10, "each once");
    }
}
