//! How groups are doing: what each member's agent says, whether the group serves, and if not, why.

use crate::admin::{AgentReport, GroupReport, PeerReport};
use crate::hub::listed;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use strongroom_proto::ids::{GroupId, HsmId};

/// What this agent and its peers say.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) own: &'a AgentReport,
    pub(super) peers: &'a [PeerReport],
}

/// One member of a group: its agent, if it answers, and what its replica says, if it runs.
struct Member<'a> {
    hsm: HsmId,
    agent: Option<&'a AgentReport>,
    /// The peer that is, or most likely is, its agent, if that does not answer.
    silent: Option<&'a PeerReport>,
    report: Option<&'a GroupReport>,
    joined: bool,
}

impl<'a> Seen<'a> {
    /// The groups that this agent's HSM is in.
    fn groups(self) -> BTreeSet<GroupId> {
        let joined = self.own.device.iter().flat_map(|device| &device.groups);
        let joined = joined.map(|status| status.statement.group);
        joined.chain(self.own.groups.iter().map(|report| report.group)).collect()
    }

    fn agents(self) -> impl Iterator<Item = &'a AgentReport> {
        self.peers.iter().filter_map(|peer| peer.agent.as_ref()).chain([self.own])
    }

    fn members(self, group: &GroupId) -> Vec<Member<'a>> {
        let statements = self.agents().filter_map(|agent| agent.device.as_ref());
        let mut statements = statements.flat_map(|device| &device.groups).map(|status| &status.statement);
        let statement = statements.find(|statement| statement.group == *group);
        let member = |hsm: &HsmId| {
            let of_hsm =
                |agent: &&AgentReport| agent.device.as_ref().is_some_and(|device| device.hsm == *hsm);
            let agent = self.agents().find(of_hsm);
            let joined = agent.and_then(|agent| agent.device.as_ref());
            let joined =
                joined.is_some_and(|device| device.groups.iter().any(|s| s.statement.group == *group));
            let report = agent.and_then(|agent| agent.groups.iter().find(|report| report.group == *group));
            Member { hsm: *hsm, agent, silent: None, report, joined }
        };
        let mut members: Vec<Member<'_>> =
            statement.into_iter().flat_map(|statement| &statement.members).map(member).collect();
        self.pair_silent(&mut members);
        members
    }

    /// Which peer belongs to which HSM: as last seen, or the only one that is left.
    fn pair_silent(self, members: &mut [Member<'a>]) {
        let mut left: Vec<&PeerReport> = self.peers.iter().filter(|peer| peer.agent.is_none()).collect();
        for member in members.iter_mut().filter(|member| member.agent.is_none()) {
            if let Some(at) = left.iter().position(|peer| peer.hsm == Some(member.hsm)) {
                member.silent = Some(left.remove(at));
            }
        }
        let mut unpaired = members.iter_mut().filter(|m| m.agent.is_none() && m.silent.is_none());
        if let (Some(member), None, [peer]) = (unpaired.next(), unpaired.next(), &left[..]) {
            member.silent = Some(peer);
        }
    }
}

impl Member<'_> {
    /// Why it does not take part.
    fn trouble(&self) -> Option<String> {
        let Some(agent) = self.agent else {
            return Some(match self.silent {
                Some(PeerReport { address, why, .. }) => {
                    format!("nothing is heard from its agent at {address}: {why}")
                }
                None => "its agent cannot be reached".into(),
            });
        };
        if !agent.hsm_answers {
            return Some("the HSM does not answer its agent".into());
        }
        match self.report {
            None if self.joined => Some(match (&agent.unready, &agent.store) {
                (Some(why), _) => format!("does not serve: {why}"),
                (None, Some(store)) => {
                    format!("its agent has not started the group: the object store: {store}")
                }
                (None, None) => "its agent has not started the group: see its log".into(),
            }),
            None => Some("has not joined; `group join` there".into()),
            Some(report) => report.fault.clone(),
        }
    }

    fn leads(&self) -> Option<&GroupReport> {
        self.report.filter(|report| report.role == "leader")
    }

    /// What it is looking for in the store, if anything.
    fn seeks(&self) -> Option<String> {
        let GroupReport { captured, tip, .. } = self.report.filter(|report| report.tip < report.captured)?;
        let hsm = self.hsm;
        Some(format!(
            "HSM {hsm} has captured entry {captured}, and its agent has found the log up to entry {tip} so far"
        ))
    }

    fn text(&self) -> String {
        let hsm = self.hsm;
        let trouble = self.trouble();
        let Some(report) = self.report else {
            return format!("  {hsm}  {}\n", trouble.unwrap_or_default());
        };
        let GroupReport { role, serving, captured, tip, snapshot, waiting, tree, .. } = report;
        let committed = committed(report).map_or("-".into(), |committed| committed.to_string());
        let mut text = format!(
            "  {hsm}  {role:9}  captured {captured}  committed {committed}  tip {tip}  snapshot {snapshot}  waiting {waiting}\n"
        );
        if role == "leader" && !serving && tree.is_none() {
            text.push_str("    it is reading the stored tree, and will serve after that\n");
        }
        let store = self.agent.and_then(|agent| agent.store.as_ref());
        let said = [
            trouble,
            tree.as_ref().map(|tree| format!("the stored tree is damaged: {tree}")),
            store.map(|store| format!("the object store: {store}")),
        ];
        for line in said.into_iter().flatten() {
            let _ = writeln!(text, "    {line}");
        }
        text
    }

    fn json(&self) -> Value {
        let Self { hsm, agent, report, .. } = self;
        json!({
            "hsm": hsm.to_string(),
            "agent_answers": agent.is_some(),
            "hsm_answers": agent.is_some_and(|agent| agent.hsm_answers),
            "unready": agent.and_then(|agent| agent.unready.as_ref()),
            "role": report.map(|report| &report.role),
            "captured": report.map(|report| report.captured.0),
            "committed": report.and_then(committed),
            "tip": report.map(|report| report.tip.0),
            "serving": report.map(|report| report.serving),
            "snapshot": report.map(|report| report.snapshot.0),
            "waiting": report.map(|report| report.waiting),
            "fault": report.and_then(|report| report.fault.as_ref()),
            "tree": report.and_then(|report| report.tree.as_ref()),
            "store": agent.and_then(|agent| agent.store.as_ref()),
            "trouble": self.trouble(),
        })
    }
}

/// Only a leader knows this, and only about its own leadership.
fn committed(report: &GroupReport) -> Option<u64> {
    Some(report.committed.0).filter(|committed| *committed > 0)
}

/// Why a group does not serve.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cause {
    /// In one line.
    pub(super) text: String,
    /// Whether it will go away by itself.
    pub(super) passes: bool,
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self { text, passes: false }
    }
}

/// Why a group of these members does not serve; `None` if it serves.
fn cause(members: &[Member<'_>]) -> Option<Cause> {
    if members.iter().any(|member| member.report.is_some_and(|report| report.retired)) {
        return None;
    }
    let needed = members.len() / 2 + 1;
    let troubles = troubles(members);
    let work = members.len() - troubles.len();
    if work < needed {
        // If there is a leader, it keeps trying, and can answer nothing.
        let of = members.len();
        let troubles = troubles.join("; ");
        let text = format!("{work} of {of} members work, and {needed} are needed; {troubles}");
        return Some(text.into());
    }
    let store = |member: &Member<'_>| {
        let store = member.agent?.store.as_ref()?;
        Some(Cause::from(format!("the object store, as the agent of HSM {} sees it: {store}", member.hsm)))
    };
    let leads = |member| Some((member, Member::leads(member)?));
    match members.iter().filter_map(leads).max_by_key(|(_, report)| report.serving) {
        Some((member, report)) if report.serving => store(member),
        Some((Member { hsm, .. }, GroupReport { tree: Some(tree), .. })) => {
            let text = format!(
                "the stored tree is damaged, and leader {hsm} waits for it: {tree}; see `strongroom-agent check`"
            );
            Some(text.into())
        }
        leader => members.iter().find_map(store).or_else(|| {
            let text = match (leader, members.iter().find_map(Member::seeks)) {
                (Some((leader, _)), _) => {
                    format!("leader {} is reading the stored tree, and will serve after that", leader.hsm)
                }
                (None, Some(seeks)) => format!("no member leads, and {seeks}"),
                (None, None) => ELECTION.into(),
            };
            Some(Cause { text, passes: true })
        }),
    }
}

const ELECTION: &str = "no member leads; an election takes less than a second if members reach each other";

/// What keeps each of these from taking part; for those that stopped, what the first one says.
fn troubles(members: &[Member<'_>]) -> Vec<String> {
    let (mut said, mut stopped) = (Vec::new(), false);
    for member in members {
        let Some(trouble) = member.trouble() else { continue };
        let fault = member.report.is_some_and(|report| report.fault.is_some());
        let trouble = if fault && stopped { "has stopped too" } else { &trouble };
        said.push(format!("HSM {}: {trouble}", member.hsm));
        stopped |= fault;
    }
    said
}

/// Why the groups of this agent's HSM do not serve, a line for each; `None` if they do.
pub(super) fn not_serving(seen: Seen<'_>) -> Option<Cause> {
    let groups = seen.groups();
    if groups.is_empty() && !seen.own.hsm_answers {
        let text = "it is not known whether a group serves: the HSM does not answer its agent; start it";
        return Some(text.to_owned().into());
    }
    let causes = groups.iter().filter_map(|group| Some((group, cause(&seen.members(group))?)));
    let causes: Vec<(&GroupId, Cause)> = causes.collect();
    let passes = causes.iter().all(|(_, cause)| cause.passes);
    let line = |(group, cause): &(&GroupId, Cause)| format!("group {group} does not serve: {}", cause.text);
    let text = causes.iter().map(line).collect::<Vec<_>>().join("\n");
    (!causes.is_empty()).then_some(Cause { text, passes })
}

pub(super) fn groups_text(seen: Seen<'_>) -> String {
    let (mut text, groups) = (String::new(), seen.groups());
    for group in &groups {
        let report = seen.own.groups.iter().find(|report| report.group == *group);
        let leader = report.and_then(|report| report.leader);
        let leader = leader.map_or("no leader known".into(), |leader| format!("led by {leader}"));
        let owns = listed(report.into_iter().flat_map(|report| report.prefixes.iter().copied()));
        let _ = writeln!(text, "group {group}, {leader}, owns {owns}");
        seen.members(group).iter().for_each(|member| text.push_str(&member.text()));
    }
    if let Some(why) = &seen.own.unready {
        let _ = writeln!(text, "this agent does not serve: {why}");
    }
    if let Some(relays) = &seen.own.relays {
        let _ = writeln!(text, "{relays}");
    }
    if groups.is_empty() {
        let realm = seen.own.device.as_ref().is_some_and(|device| device.realm.is_some());
        text.push_str(match (seen.own.hsm_answers, realm) {
            (false, _) => "no group runs here yet: the HSM does not answer; start it\n",
            (true, false) => {
                "no group runs here yet: the HSM has no realm; `realm create`, or `hsm request` to join one\n"
            }
            (true, true) => "no group runs here yet; make one with `group create`\n",
        });
    }
    for PeerReport { address, why, .. } in seen.peers.iter().filter(|peer| peer.agent.is_none()) {
        let _ = writeln!(text, "peer {address} cannot be reached: {why}");
    }
    text
}

pub(super) fn groups_json(seen: Seen<'_>) -> Value {
    let group = |group: &GroupId| {
        let members = seen.members(group);
        let report = seen.own.groups.iter().find(|report| report.group == *group);
        let cause = cause(&members);
        json!({
            "group": group.to_string(),
            "leader": report.and_then(|report| report.leader).map(|leader| leader.to_string()),
            "prefixes": report.map(|report| {
                report.prefixes.iter().map(ToString::to_string).collect::<Vec<_>>()
            }),
            "serves": cause.is_none(),
            "cause": cause.map(|cause| cause.text),
            "members": members.iter().map(Member::json).collect::<Vec<_>>(),
        })
    };
    let silent = || seen.peers.iter().filter(|peer| peer.agent.is_none());
    let whys = silent().map(|peer| (peer.address.clone(), peer.why.clone().into()));
    json!({
        "groups": seen.groups().iter().map(group).collect::<Vec<_>>(),
        "unready": seen.own.unready,
        "relays": seen.own.relays,
        "unreachable_peers": silent().map(|peer| &peer.address).collect::<Vec<_>>(),
        "unreachable_because": Value::Object(whys.collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_proto::ids::Index;
    use strongroom_proto::prefix::Prefix;

    const GROUP: GroupId = GroupId([9; 16]);

    fn report(role: &str, change: impl FnOnce(&mut GroupReport)) -> GroupReport {
        let mut report = GroupReport {
            group: GROUP,
            role: role.into(),
            leader: None,
            captured: Index(7),
            committed: Index::ZERO,
            tip: Index(7),
            serving: false,
            snapshot: Index(3),
            waiting: 0,
            fault: None,
            tree: None,
            prefixes: vec![Prefix::WHOLE],
            open: Vec::new(),
            retired: false,
            load: Vec::new(),
            load_seconds: 0,
        };
        change(&mut report);
        report
    }

    fn witness() -> GroupReport {
        report("witness", |_| {})
    }

    fn agent() -> AgentReport {
        AgentReport {
            device: None,
            hsm_answers: true,
            groups: Vec::new(),
            store: None,
            unready: None,
            relays: None,
            version: None,
            copying: Vec::new(),
        }
    }

    /// Three members; one without an agent cannot be reached.
    fn why(members: [(Option<AgentReport>, GroupReport); 3]) -> Option<String> {
        let silent = PeerReport {
            address: "https://10.0.0.9:8701/".into(),
            agent: None,
            why: "Connection refused".into(),
            hsm: None,
            silent_seconds: None,
            announced: None,
        };
        let member = |(i, (agent, report))| Member {
            hsm: HsmId([i; 16]),
            agent: Option::as_ref(agent),
            silent: agent.is_none().then_some(&silent),
            report: agent.is_some().then_some(report),
            joined: agent.is_some(),
        };
        let members: Vec<Member<'_>> = (0..).zip(members.iter().map(|(a, r)| (a, r))).map(member).collect();
        cause(&members).map(|cause| cause.text)
    }

    #[test]
    fn a_group_whose_leader_serves_has_no_cause_while_enough_members_work() {
        let leader = || report("leader", |leader| leader.serving = true);
        let full = || AgentReport { store: Some("writes fail: No space left on device".into()), ..agent() };
        let others = || [(Some(full()), witness()), (None, witness())];
        let [full_witness, away] = others();
        assert_eq!(why([(Some(agent()), leader()), full_witness, away]), None);
        let [full_witness, away] = others();
        let cause = why([(Some(full()), leader()), full_witness, away]);
        assert!(cause.is_some_and(|cause| cause.contains("No space left on device")));
        let cause = why([(Some(agent()), leader()), (None, witness()), (None, witness())]);
        assert!(cause.is_some_and(|cause| cause.starts_with("1 of 3 members work")));
    }

    #[test]
    fn the_cause_is_the_one_that_keeps_the_group_from_serving() {
        let full = || AgentReport { store: Some("writes fail: No space left on device".into()), ..agent() };
        let silent = || AgentReport { hsm_answers: false, ..agent() };
        let reading = || report("leader", |_| {});
        let damaged = report("leader", |leader| leader.tree = Some("page 01 is missing".into()));
        let stopped = || report("stopped", |member| member.fault = Some("the store lacks segment x".into()));
        let ok = || (Some(agent()), witness());
        for (members, expected) in [
            ([ok(), ok(), ok()], "no member leads"),
            ([(Some(agent()), reading()), ok(), ok()], "is reading the stored tree"),
            ([(Some(agent()), damaged), ok(), (Some(full()), witness())], "page 01 is missing"),
            ([(Some(full()), witness()), ok(), ok()], "No space left on device"),
            (
                [ok(), (Some(agent()), report("candidate", |of| of.tip = Index(2))), ok()],
                "found the log up to entry 2 so far",
            ),
            ([(Some(agent()), stopped()), (Some(agent()), stopped()), ok()], "has stopped too"),
            ([(Some(full()), reading()), ok(), ok()], "No space left on device"),
            ([(Some(silent()), witness()), (None, witness()), ok()], "1 of 3 members work, and 2 are needed"),
            ([(Some(silent()), witness()), (None, witness()), ok()], "the HSM does not answer its agent"),
            ([(Some(silent()), witness()), (None, witness()), ok()], "10.0.0.9:8701/: Connection"),
            ([(Some(agent()), stopped()), (Some(agent()), stopped()), ok()], "the store lacks segment x"),
        ] {
            let cause = why(members).expect(expected);
            assert!(cause.contains(expected) && !cause.contains('\n'), "{expected}: {cause}");
        }
    }

    #[test]
    fn what_only_a_leader_knows_is_null_elsewhere() {
        assert_eq!(committed(&witness()), None);
        assert_eq!(committed(&report("leader", |leader| leader.committed = Index(5))), Some(5));
    }
}
