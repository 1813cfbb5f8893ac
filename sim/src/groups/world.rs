//! Several groups on the same hosts: each HSM carries members of some of them in one NVRAM, and each group has its replicas,
//! its log and its stored tree. One clock, and one oracle for all.

use crate::cluster::{Cluster, Doors, Host, HostBug, Journal, Kind, Lane, Owners, RequestId};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use strongroom_hsm::Config;
use strongroom_proto::change::{Change, Evidence};
use strongroom_proto::hsm::{BatchRequest, RealmStatus, Refusal, Reply, Request};
use strongroom_proto::ids::{GroupId, HsmId, RecordId};
use strongroom_proto::statement::{GroupStatement, MemberStatement};
use strongroom_replica::{Answer, Order, Ordered, Storage};
use strongroom_testkit::{Bug, Custodians, Device, Hsm, founding};

/// Where the number of the group is in a request's.
const GROUP_AT: u32 = 40;
/// The group of a request that no group got.
const NOBODY: u64 = 0xffff;
/// How many steps that were ordered are kept, to be ordered again later.
const KEPT: usize = 48;

/// One group.
pub struct Group {
    /// Its members, with their agents.
    pub cluster: Cluster,
    /// The host of each member.
    pub on: Vec<usize>,
}

impl Group {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> GroupId {
        self.cluster.group().group
    }

    /// The member on a host.
    #[must_use]
    pub fn member_on(&self, host: usize) -> Option<usize> {
        self.on.iter().position(|on| *on == host)
    }

    /// Whether every member has left it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        (0..self.on.len()).all(|member| self.cluster.is_gone(member))
    }
}

/// All groups.
pub struct World {
    /// In the order in which they were founded; those that have retired stay.
    pub groups: Vec<Group>,
    /// Steps that were ordered before, each with its group.
    pub ordered: Vec<(usize, Change)>,
    hosts: Vec<Rc<RefCell<Host>>>,
    members: Vec<MemberStatement>,
    owners: Rc<RefCell<Owners>>,
    realm: RealmStatus,
    config: Config,
    storage: Storage,
    rng: StdRng,
    now: u64,
    keeps_journal: bool,
    /// Answers that no group gave.
    answers: BTreeMap<RequestId, Answer>,
    last_request: u64,
    bug: Option<HostBug>,
    /// The group that had a record first, kept only for a planted bug.
    first: BTreeMap<RecordId, usize>,
}

impl World {
    /// A realm of so many HSMs, and the group that has all records, with members on these hosts, the first of all among
    /// them.
    ///
    /// # Panics
    /// If an HSM refuses.
    #[must_use]
    pub fn new(seed: u64, hosts: usize, first: &[usize], storage: Storage) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let config = Config::software();
        let mut devices: Vec<Device> =
            (0..hosts).map(|_| Device::new(rng.random(), config.clone())).collect();
        let custodians = Custodians::one();
        let (maker, others) = devices.split_first_mut().expect("there are hosts");
        let founded = founding::make_realm(maker, custodians.policy());
        let mut members = vec![founding::member(&founded)];
        for other in others {
            members.push(founding::member(&founding::enrol(maker, &founded, other, &custodians)));
        }
        let realm = founded.realm.expect("it was just made");
        let hosts = devices.into_iter().map(|device| Rc::new(RefCell::new(Host::new(device)))).collect();
        let mut world = Self {
            groups: Vec::new(),
            ordered: Vec::new(),
            hosts,
            members,
            owners: Rc::default(),
            realm,
            config,
            storage,
            rng,
            now: 0,
            keeps_journal: false,
            answers: BTreeMap::new(),
            last_request: 0,
            bug: None,
            first: BTreeMap::new(),
        };
        world.found(first).expect("nothing goes wrong yet");
        world
    }

    /// Makes a group with members on these hosts. `None` if an HSM does not answer; then whoever has joined has a place
    /// less.
    ///
    /// # Panics
    /// If one refuses.
    pub fn found(&mut self, on: &[usize]) -> Option<usize> {
        let members = on.iter().map(|host| self.members[*host]).collect();
        let Reply::Group(statement) = self.ask_hsm(on[0], &Request::NewGroup(members))? else {
            panic!("no group")
        };
        for host in &on[1..] {
            let joins = Request::JoinGroup(statement.clone());
            // Again, if its answer was lost.
            let reply = self.ask_hsm(*host, &joins).or_else(|| self.ask_hsm(*host, &joins));
            match reply? {
                Reply::Group(_) | Reply::Refused(Refusal::AlreadyJoined) => {}
                other => panic!("not joined but {other:?}"),
            }
        }
        Some(self.add(on, statement))
    }

    fn add(&mut self, on: &[usize], statement: GroupStatement) -> usize {
        let hosts = on.iter().map(|host| Rc::clone(&self.hosts[*host])).collect();
        let rng = StdRng::seed_from_u64(self.rng.random());
        let (realm, config) = (self.realm.clone(), self.config.clone());
        let mut cluster = Cluster::of_group(rng, hosts, realm, statement, config, self.storage);
        cluster.join_others(self.now, Rc::clone(&self.owners));
        #[cfg(feature = "planted-bugs")]
        self.bug.into_iter().for_each(|bug| cluster.plant_in_host(bug));
        if self.keeps_journal {
            cluster.keep_journal();
        }
        if let Some(first) = self.groups.first() {
            cluster.faults.clone_from(&first.cluster.faults.chances());
        }
        (0..on.len()).for_each(|member| cluster.start_agent(member));
        self.groups.push(Group { cluster, on: on.to_vec() });
        let group = self.groups.len() - 1;
        self.note(Lane::World, Kind::Phase, || format!("group {group} is founded on hosts {on:?}"));
        group
    }

    /// From now on, writes everything down.
    pub fn keep_journal(&mut self) {
        self.keeps_journal = true;
        self.groups.iter_mut().for_each(|group| group.cluster.keep_journal());
    }

    /// Hands over what was written down, members of all groups in a row.
    pub fn take_journal(&mut self) -> Journal {
        let parts = self.groups.iter_mut();
        let parts = parts.map(|group| (group.on.len(), group.cluster.take_journal().unwrap_or_default()));
        Journal::merged(parts.collect())
    }

    /// How many hosts there are.
    #[must_use]
    pub const fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// The realm.
    #[must_use]
    pub const fn realm(&self) -> &RealmStatus {
        &self.realm
    }

    /// What HSMs have stated.
    #[must_use]
    pub fn owners(&self) -> std::cell::Ref<'_, Owners> {
        self.owners.borrow()
    }

    /// The number of a group.
    #[must_use]
    pub fn group_of(&self, id: &GroupId) -> Option<usize> {
        self.groups.iter().position(|group| group.id() == *id)
    }

    /// Whether a group has made its last entry, as far as an HSM has stated.
    #[must_use]
    pub fn has_retired(&self, group: usize) -> bool {
        self.owners().newest(&self.groups[group].id()).is_some_and(|entry| entry.last)
    }

    /// The last entry of a group, if it is stored.
    #[must_use]
    pub fn last_entry(&self, group: usize) -> Option<Evidence> {
        let stored = self.groups[group].cluster.store.tree.snapshot().filter(|stored| stored.entry.last)?;
        Some(Evidence { entry: stored.entry.clone(), committed: stored.committed })
    }

    /// Milliseconds since the start.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// The members on a host, each with its group.
    pub fn on(&mut self, host: usize) -> impl Iterator<Item = (&mut Cluster, usize)> {
        self.groups.iter_mut().filter_map(move |group| {
            let member = group.member_on(host)?;
            Some((&mut group.cluster, member))
        })
    }

    /// The HSM of a host loses its RAM; its power is lost once more in the start, after so many granules.
    pub fn restart_hsm(&mut self, host: usize, cut_after: Option<u32>) {
        match cut_after {
            None => self.hosts[host].borrow_mut().restart(),
            Some(granules) => drop(self.hosts[host].borrow_mut().restart_twice(granules)),
        }
        self.on(host).for_each(|(cluster, member)| cluster.notice_restart(member));
    }

    /// The HSM of a host loses power after this many more granules of its NVRAM are written, and then starts again.
    pub fn cut_power_after(&mut self, host: usize, granules: u32) {
        self.hosts[host].borrow_mut().device.cut_power_after(granules);
    }

    /// Cancels that, unless the power is gone already.
    pub fn spare_power(&mut self, host: usize) {
        self.hosts[host].borrow_mut().device.spare_power();
    }

    /// Gives every HSM a build that leaves one rule out, for a test that must notice it, and starts it.
    pub fn plant(&mut self, bug: Bug) {
        for host in 0..self.hosts.len() {
            self.hosts[host].borrow_mut().device.plant(bug);
            self.restart_hsm(host, None);
        }
    }

    /// Leaves out one rule of the hosts, for a test that must notice it.
    #[cfg(feature = "planted-bugs")]
    pub fn plant_in_host(&mut self, bug: HostBug) {
        self.bug = Some(bug);
        self.groups.iter_mut().for_each(|group| group.cluster.plant_in_host(bug));
    }

    /// Asks the HSM of a host past the replicas; `None` if no answer comes.
    pub fn ask_hsm(&mut self, host: usize, request: &Request) -> Option<Reply> {
        let silent = self.on(host).any(|(cluster, member)| cluster.faults.without_hsm.contains(&member));
        if silent {
            return None;
        }
        let reply = self.hosts[host].borrow_mut().device.ask(request);
        let dead = self.hosts[host].borrow().device.is_dead();
        if dead {
            self.restart_hsm(host, None);
        }
        let lost = self.groups.first().map_or(0.0, |group| group.cluster.faults.lose_hsm_reply);
        let lost = lost > 0.0 && self.rng.random_bool(lost);
        (!dead && !lost).then_some(reply)
    }

    /// Gives an order to a member of a group.
    pub fn order(&mut self, group: usize, member: usize, order: Order) -> RequestId {
        if let Order::Step(change) = &order {
            let full = self.ordered.len() >= KEPT;
            let kept = (group, (**change).clone());
            if full {
                let at = self.rng.random_range(0..KEPT);
                self.ordered[at] = kept;
            } else {
                self.ordered.push(kept);
            }
        }
        self.groups[group].cluster.order(member, order)
    }

    /// How an order ended, once.
    pub fn take_ordered(&mut self, group: usize, id: RequestId) -> Option<Ordered> {
        self.groups[group].cluster.take_ordered(id)
    }

    /// Lets the next thing happen.
    pub fn step(&mut self) {
        let next = self.groups.iter().map(|group| group.cluster.next_at()).enumerate();
        let next = next.filter_map(|(group, at)| Some((at?, group))).min();
        let Some((at, group)) = next else {
            // Every agent is down. Time still passes.
            self.now += 1;
            let now = self.now;
            return self.groups.iter_mut().for_each(|group| group.cluster.pass_to(now));
        };
        self.now = self.now.max(at);
        let now = self.now;
        self.groups.iter_mut().for_each(|group| group.cluster.pass_to(now));
        self.groups[group].cluster.step();
    }

    /// Runs until `done` or until `limit_ms` have passed; returns whether it is done.
    pub fn run_until(&mut self, limit_ms: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit_ms;
        while self.now < end {
            if done(self) {
                return true;
            }
            self.step();
        }
        done(self)
    }

    /// The group and the member that an agent gives a request about this record to: one of its own that has the record, as
    /// far as it knows, or else one that another agent names.
    fn route(&mut self, host: usize, record: &RecordId) -> Option<(usize, usize)> {
        let covers = |cluster: &Cluster, member: usize| {
            let status = cluster.status(member);
            status.is_some_and(|status| status.prefixes.iter().any(|prefix| prefix.contains(record)))
        };
        let all = |(number, group): (usize, &Group)| {
            (0..group.on.len())
                .filter(|member| covers(&group.cluster, *member))
                .map(|member| (number, member))
                .collect::<Vec<_>>()
        };
        let all: Vec<(usize, usize)> = self.groups.iter().enumerate().flat_map(all).collect();
        let here = all.iter().copied().find(|(group, member)| self.groups[*group].on[*member] == host);
        let found = here.or_else(|| {
            let (group, member) = *all.choose(&mut self.rng)?;
            let cluster = &self.groups[group].cluster;
            let leader = cluster.status(member).and_then(|status| status.leader);
            Some((group, leader.map_or(member, |leader| cluster.member_of(&leader))))
        });
        if self.bug != Some(HostBug::FormerOwnerAsked) {
            return found;
        }
        let group = *self.first.entry(*record).or_insert(found?.0);
        let members = 0..self.groups[group].on.len();
        Some((group, self.groups[group].cluster.leader().or_else(|| members.choose(&mut self.rng))?))
    }
}

impl Doors for World {
    fn now(&self) -> u64 {
        self.now
    }

    fn submit(&mut self, door: usize, handshake_only: bool, request: BatchRequest) -> RequestId {
        let host = door % self.hosts.len();
        match self.route(host, &request.record) {
            Some((group, member)) => {
                let id = self.groups[group].cluster.submit(member, handshake_only, request);
                RequestId((group as u64) << GROUP_AT | id.0)
            }
            None => {
                self.last_request += 1;
                let id = RequestId(NOBODY << GROUP_AT | self.last_request);
                self.answers.insert(id, Answer::Unavailable);
                id
            }
        }
    }

    fn take_answer(&mut self, id: RequestId) -> Option<Answer> {
        let group = id.0 >> GROUP_AT;
        if group == NOBODY {
            return self.answers.remove(&id);
        }
        let id = RequestId(id.0 & ((1 << GROUP_AT) - 1));
        self.groups[usize::try_from(group).expect("few groups")].cluster.take_answer(id)
    }

    fn door_of(&self, hsm: &HsmId) -> usize {
        self.members.iter().position(|member| member.hsm == *hsm).expect("a leader has a host")
    }

    fn note(&mut self, lane: Lane, kind: Kind, text: impl FnOnce() -> String) {
        self.groups[0].cluster.note(lane, kind, text);
    }
}
