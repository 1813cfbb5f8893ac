//! What the agents of a realm say, put together.

use super::seen::{Agent, Group, Host, Load, Member, MemberState, Move, Overview, PrefixLoad, Step};
use crate::admin::{AgentReport, GroupReport, PeerReport};
use std::collections::{BTreeMap, BTreeSet};
use strongroom_proto::ids::{GroupId, HsmId, Index};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;

impl Overview {
    /// What an agent and its peers say, with so many others that were not asked.
    #[must_use]
    pub fn of(own: &AgentReport, peers: &[PeerReport], not_asked: u32) -> Self {
        let said = Said::new(own, peers);
        let device = own.device.as_ref();
        let groups: Vec<Group> = said.groups().into_iter().filter_map(|group| said.group(group)).collect();
        Self {
            realm: device.and_then(|device| device.realm.as_ref()).map(|realm| realm.realm),
            by: device.map(|device| device.hsm),
            hosts: said.hosts(),
            moves: said.moves(&groups),
            groups,
            not_asked,
        }
    }
}

/// What is said, by HSM.
struct Said<'a> {
    own: &'a AgentReport,
    peers: Vec<&'a PeerReport>,
    answers: BTreeMap<HsmId, &'a AgentReport>,
}

/// The HSM of a peer's agent: by its certificate, or by what it announced if it was never reached.
fn hsm_of(peer: &PeerReport) -> Option<HsmId> {
    let says = peer.agent.as_ref().and_then(|agent| agent.device.as_ref()).map(|device| device.hsm);
    peer.hsm.or(says).or_else(|| peer.announced.as_ref().map(|announced| announced.hsm))
}

impl<'a> Said<'a> {
    fn new(own: &'a AgentReport, peers: &'a [PeerReport]) -> Self {
        let own_hsm = own.device.as_ref().map(|device| device.hsm);
        let mut peers: Vec<&PeerReport> = peers.iter().collect();
        // One that is configured and announced may be here twice; what answers counts.
        peers.sort_by_key(|peer| (hsm_of(peer), peer.agent.is_none()));
        peers.dedup_by_key(|peer| hsm_of(peer).map_or_else(|| Err(peer.address.clone()), Ok));
        peers.retain(|peer| own_hsm.is_none() || hsm_of(peer) != own_hsm);
        let mut answers = BTreeMap::new();
        for peer in &peers {
            // Nobody speaks for another's HSM.
            if let (Some(hsm), Some(agent)) = (hsm_of(peer), &peer.agent)
                && agent.device.as_ref().is_none_or(|device| device.hsm == hsm)
            {
                answers.insert(hsm, agent);
            }
        }
        answers.extend(own_hsm.map(|hsm| (hsm, own)));
        Self { own, peers, answers }
    }

    fn hosts(&self) -> Vec<Host> {
        let own = host(None, self.own.device.as_ref().map(|device| device.hsm), Ok(self.own));
        let others = self.peers.iter().map(|peer| {
            let silent = || Agent::Silent { why: peer.why.clone(), seconds: peer.silent_seconds };
            let mut host =
                host(Some(peer.address.clone()), hsm_of(peer), peer.agent.as_ref().ok_or_else(silent));
            if let (None, Some(announced)) = (&host.version, &peer.announced) {
                host.version = Some(announced.version.clone());
            }
            host
        });
        std::iter::once(own).chain(others).collect()
    }

    /// What silent agents have announced about a group.
    fn announced(&self) -> impl Iterator<Item = (GroupId, &'a [HsmId], &'a [Prefix])> {
        let silent = self.peers.iter().filter(|peer| peer.agent.is_none());
        let groups = silent.filter_map(|peer| peer.announced.as_ref()).flat_map(|said| &said.groups);
        groups.map(|of| (of.group, &of.members[..], &of.prefixes[..]))
    }

    fn groups(&self) -> BTreeSet<GroupId> {
        let devices = || self.answers.values().filter_map(|agent| agent.device.as_ref());
        let joined = devices().flat_map(|device| &device.groups).map(|status| status.statement.group);
        let run = self.answers.values().flat_map(|agent| &agent.groups).map(|report| report.group);
        let left: BTreeSet<&GroupId> = devices().flat_map(|device| &device.retired).collect();
        // A silent agent may not know yet that its group has retired.
        let announced = self.announced().map(|(group, ..)| group).filter(|group| !left.contains(group));
        joined.chain(run).chain(announced).collect()
    }

    /// The members by the statement that an HSM holds, or else by what is announced.
    fn members(&self, group: GroupId) -> Option<Vec<HsmId>> {
        let own = self.own.device.iter();
        let devices = own.chain(self.answers.values().filter_map(|agent| agent.device.as_ref()));
        let mut statements = devices.flat_map(|device| &device.groups).map(|status| &status.statement);
        let stated = statements.find(|statement| statement.group == group);
        let announced = || self.announced().find(|(of, ..)| *of == group);
        stated
            .map(|statement| statement.members.clone())
            .or_else(|| announced().map(|(_, members, _)| members.to_vec()))
    }

    fn report(&self, hsm: &HsmId, group: GroupId) -> Option<&'a GroupReport> {
        let agent: &'a AgentReport = self.answers.get(hsm)?;
        agent.groups.iter().find(|report| report.group == group)
    }

    fn group(&self, id: GroupId) -> Option<Group> {
        let members = self.members(id)?;
        let reports: Vec<(HsmId, &GroupReport)> =
            members.iter().filter_map(|hsm| Some((*hsm, self.report(hsm, id)?))).collect();
        let newest = reports.iter().map(|(_, report)| *report).max_by_key(|report| report.tip);
        let index = newest.map_or(Index::ZERO, |report| report.tip);
        let leads = |(hsm, report): &&(HsmId, &GroupReport)| {
            report.role == "leader" && self.answers.get(hsm).is_some_and(|agent| agent.hsm_answers)
        };
        let leader = reports.iter().filter(leads).max_by_key(|(_, report)| (report.serving, report.tip));
        let members: Vec<Member> = members.iter().map(|hsm| self.member(*hsm, id, index.0)).collect();
        let by = leader.map(|(_, report)| *report).or(newest);
        let announced = || self.announced().find(|(of, ..)| *of == id).map(|(.., prefixes)| prefixes);
        let prefixes = by.map(|report| &report.prefixes[..]).or_else(announced).unwrap_or_default().to_vec();
        let store = |hsm: &HsmId| self.answers.get(hsm).is_some_and(|agent| agent.store.is_some());
        let mut group = Group {
            group: id,
            leader: leader.map(|(hsm, _)| *hsm),
            serves: leader.is_some_and(|(hsm, report)| report.serving && !store(hsm)),
            retired: reports.iter().any(|(_, report)| report.retired)
                || members.iter().any(|member| member.state == MemberState::Left),
            index,
            committed: leader.map(|(_, report)| report.committed).filter(|committed| committed.0 > 0),
            snapshot: reports.iter().map(|(_, report)| report.snapshot).max().unwrap_or(Index::ZERO),
            waiting: leader.map_or(0, |(_, report)| report.waiting),
            load: leader.and_then(|(_, report)| load(report, &prefixes)),
            tree: leader.and_then(|(_, report)| report.tree.clone()),
            members,
            prefixes,
        };
        let follows = |report: &GroupReport| report.leader.is_some() && report.leader == group.leader;
        let followed = reports.iter().filter(|(_, report)| follows(report)).count();
        group.serves &= group.working() >= group.majority() && followed >= group.majority();
        Some(group)
    }

    fn member(&self, hsm: HsmId, group: GroupId, index: u64) -> Member {
        let report = self.report(&hsm, group);
        let captured = report.map(|report| report.captured);
        let behind = captured.map(|captured| index.saturating_sub(captured.0));
        Member { hsm, state: self.state(hsm, group, report), captured, behind }
    }

    fn state(&self, hsm: HsmId, group: GroupId, report: Option<&GroupReport>) -> MemberState {
        let Some(agent) = self.answers.get(&hsm) else {
            let silent = self.peers.iter().find(|peer| hsm_of(peer) == Some(hsm));
            let why = silent.map(|peer| peer.why.clone()).filter(|why| !why.is_empty());
            return MemberState::AgentSilent(
                why.unwrap_or_else(|| "no agent with this HSM has been found".into()),
            );
        };
        if agent.device.as_ref().is_some_and(|device| device.retired.contains(&group)) {
            return MemberState::Left;
        }
        if !agent.hsm_answers {
            return MemberState::HsmSilent;
        }
        let joined = agent.device.as_ref();
        let joined = joined.is_some_and(|device| device.groups.iter().any(|of| of.statement.group == group));
        let Some(report) = report else {
            let why = agent.unready.as_ref().or(agent.store.as_ref()).cloned();
            let why = why.unwrap_or_else(|| "its log says why".into());
            return if joined { MemberState::NotStarted(why) } else { MemberState::NotJoined };
        };
        match (&report.fault, report.role.as_str()) {
            (Some(fault), _) => MemberState::Stopped(fault.clone()),
            (None, "leader") => MemberState::Leads { serving: report.serving },
            (None, "witness") => MemberState::Witness,
            (None, "candidate") => MemberState::Candidate,
            (None, "stopped") => MemberState::Stopped("its log says why".into()),
            (None, _) => MemberState::Starting,
        }
    }

    /// What each group repeats about the prefixes that come or go, by its leader's word or the newest.
    fn open(&self, group: &Group) -> &'a [Transfer] {
        let reports = || group.members.iter().filter_map(|member| self.report(&member.hsm, group.group));
        let newest = reports().max_by_key(|report| (report.role == "leader", report.tip));
        newest.map(|report| &report.open[..]).unwrap_or_default()
    }

    fn moves(&self, groups: &[Group]) -> Vec<Move> {
        let open: BTreeMap<GroupId, &[Transfer]> =
            groups.iter().map(|group| (group.group, self.open(group))).collect();
        let awaits = |group: &GroupId, transfer: &Transfer| {
            let of_group = open.get(group).into_iter().flat_map(|open| open.iter());
            of_group.into_iter().any(|t| matches!(t, Transfer::Incoming { id, .. } if *id == transfer.id()))
        };
        let left = |group: &GroupId, transfer: &Transfer| {
            let of_group = open.get(group).into_iter().flat_map(|open| open.iter());
            of_group.into_iter().any(|t| matches!(t, Transfer::Outgoing { id, .. } if *id == transfer.id()))
        };
        let owns = |group: &GroupId, prefix: &Prefix| {
            groups.iter().any(|of| of.group == *group && of.prefixes.contains(prefix))
        };
        let mut moves: BTreeMap<(Prefix, GroupId, GroupId), Step> = BTreeMap::new();
        let mut put = |prefix, from, to, step| {
            let known = moves.entry((prefix, from, to)).or_insert(step);
            *known = step.max(*known);
        };
        for (group, transfers) in &open {
            for transfer in *transfers {
                match transfer {
                    Transfer::Incoming { source, prefix, .. } => {
                        let step = if left(source, transfer) { Step::Left } else { Step::Awaited };
                        put(*prefix, *source, *group, step);
                    }
                    Transfer::Outgoing { destination, prefix, .. } => {
                        let arrived = !awaits(destination, transfer) && owns(destination, prefix);
                        put(*prefix, *group, *destination, if arrived { Step::Arrived } else { Step::Left });
                    }
                }
            }
        }
        for copying in self.answers.values().flat_map(|agent| &agent.copying) {
            put(copying.prefix, copying.from, copying.to, Step::Copying);
        }
        moves.into_iter().map(|((prefix, from, to), step)| Move { prefix, from, to, step }).collect()
    }
}

fn host(address: Option<String>, hsm: Option<HsmId>, said: Result<&AgentReport, Agent>) -> Host {
    let agent = said.as_ref().ok();
    let device = agent.and_then(|agent| agent.device.as_ref());
    Host {
        address,
        hsm,
        version: agent.and_then(|agent| agent.version.clone()),
        hsm_answers: agent.map(|agent| agent.hsm_answers),
        hsm_version: device.map(|device| device.version.clone()),
        wear: device.map(|device| device.wear),
        store: agent.and_then(|agent| agent.store.clone()),
        unready: agent.and_then(|agent| agent.unready.clone()),
        relays: agent.and_then(|agent| agent.relays.clone()),
        agent: said.err().unwrap_or(Agent::Answers),
    }
}

fn load(report: &GroupReport, prefixes: &[Prefix]) -> Option<Load> {
    let of = |prefix: &Prefix| {
        let counted = report.load.iter().find(|(of, _)| of == prefix);
        PrefixLoad { prefix: *prefix, parts: counted.map(|(_, parts)| *parts).unwrap_or_default() }
    };
    let prefixes = prefixes.iter().map(of).collect();
    (report.load_seconds > 0).then_some(Load { seconds: report.load_seconds, prefixes })
}
