//! Whether all is well with a realm, and if not, what to do next.

use super::seen::{Agent, Group, Host, Member, MemberState, Move, Overview, Step};
use super::space::gaps;
use crate::hub::listed;
use strongroom_proto::ids::HsmId;

/// How far behind a member may be without a word about it, in entries.
const BEHIND: u64 = 1_000;

/// How a realm is doing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// All is well.
    Well,
    /// All users are served, and something needs an operator.
    Attention,
    /// Somebody is not served, or something is damaged.
    Bad,
}

impl Level {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Attention => "attention",
            Self::Bad => "bad",
        }
    }

    const fn lower(self) -> Self {
        match self {
            Self::Well | Self::Attention => Self::Well,
            Self::Bad => Self::Attention,
        }
    }
}

/// How a realm is doing, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The worst of the reasons.
    pub level: Level,
    /// Why, the worst first.
    pub reasons: Vec<Reason>,
}

/// One reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason {
    /// How bad it is.
    pub level: Level,
    /// What is the matter.
    pub what: String,
    /// What to do next.
    pub next: String,
    /// Whether it usually goes away by itself, within a second or two: an election, a step of a move.
    pub passes: bool,
}

impl Verdict {
    /// Whether something is the matter that usually goes away by itself.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.reasons.iter().any(|reason| reason.passes)
    }

    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let more = match self.reasons.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        match self.reasons.first() {
            None => "All is well.".into(),
            Some(Reason { what, .. }) => format!("{what}{more}"),
        }
    }
}

/// How a realm is doing. What usually passes counts one level less until it has `lasted`, which the caller has to watch.
#[must_use]
pub fn judge(overview: &Overview, lasted: bool) -> Verdict {
    let mut found = Found(Vec::new());
    found.realm(overview);
    overview.groups.iter().for_each(|group| found.group(group, overview));
    overview.moves.iter().for_each(|moving| found.moving(moving));
    overview.hosts.iter().for_each(|host| found.host(host, overview));
    let Found(mut reasons) = found;
    for reason in reasons.iter_mut().filter(|reason| reason.passes && !lasted) {
        reason.level = reason.level.lower();
    }
    // The order in which they were found says what hangs on what.
    reasons.sort_by_key(|reason| (std::cmp::Reverse(reason.level), reason.passes));
    let level = reasons.first().map_or(Level::Well, |reason| reason.level);
    Verdict { level, reasons }
}

struct Found(Vec<Reason>);

impl Found {
    fn add(&mut self, level: Level, passes: bool, what: String, next: impl Into<String>) {
        self.0.push(Reason { level, what, next: next.into(), passes });
    }

    fn bad(&mut self, what: String, next: impl Into<String>) {
        self.add(Level::Bad, false, what, next);
    }

    fn attention(&mut self, what: String, next: impl Into<String>) {
        self.add(Level::Attention, false, what, next);
    }

    fn realm(&mut self, overview: &Overview) {
        if overview.by.is_none() {
            let what = "this agent has not heard from its HSM since it started, so it knows no realm and no other agent";
            return self.bad(what.into(), "start its HSM, check `hsm` in agent.toml, or ask another agent");
        }
        if overview.realm.is_none() {
            let next = "make one with `realm create`, or join one with `hsm request`";
            return self.attention("the HSM has no realm yet".into(), next);
        }
        if overview.groups.is_empty() && overview.not_asked == 0 {
            if overview.hosts.iter().any(|host| host.agent != Agent::Answers || host.store.is_some()) {
                let what = "no agent that answers knows of a group, and not all that could know do answer";
                return self.attention(what.into(), "start the other agents, and look at the object store");
            }
            let what = "the realm has no group yet, and so no users";
            return self.attention(what.into(), "make one with `group create`");
        }
        let living = overview.groups.iter().filter(|group| !group.retired);
        let owned = living.flat_map(|group| group.prefixes.iter().copied());
        let on_their_way = overview.moves.iter().filter(|moving| moving.step == Step::Left);
        let gaps = gaps(owned.chain(on_their_way.map(|moving| moving.prefix)));
        if gaps.is_empty() {
            return;
        }
        let gaps = listed(gaps.into_iter());
        if overview.not_asked > 0 {
            let what = format!(
                "not all agents were asked ({} were not), and none of the others owns {gaps}",
                overview.not_asked
            );
            self.attention(what, "ask an agent of the group that does");
        } else {
            let what = format!("no group that can be reached owns the records with prefix {gaps}");
            self.bad(what, "start the agents and HSMs of the group that does");
        }
    }

    fn group(&mut self, group: &Group, overview: &Overview) {
        if group.retired {
            return;
        }
        let name = short(&group.group.to_string());
        let (working, of) = (group.working(), group.members.len());
        let owns = listed(group.prefixes.iter().copied());
        let troubles: Vec<String> = group.members.iter().filter_map(trouble).collect();
        let stops = match group.prefixes.is_empty() {
            true => "it owns no users".to_owned(),
            false => format!("nobody serves prefix {owns}"),
        };
        if working < group.majority() {
            let need = group.majority();
            let what =
                format!("group {name}: {working} of {of} members work and {need} are needed, so {stops}");
            self.bad(what, bring_back(group));
        } else if !group.serves {
            let (passes, why, next) = not_serving(group, overview);
            self.add(Level::Bad, passes, format!("group {name}: {why}, so {stops}"), next);
        }
        for member in &group.members {
            let MemberState::Stopped(why) = &member.state else { continue };
            let what = format!("group {name}: member {} has stopped: {why}", short(&member.hsm.to_string()));
            self.bad(what, "restore what it names from the bucket's versions; the agent goes on by itself");
        }
        if working >= group.majority() && working < of {
            let left = working - group.majority();
            let what = format!("group {name} works with {working} of {of} members: {}", troubles.join("; "));
            let more = match left {
                0 => "one more loss stops it".to_owned(),
                n => format!("it can lose {n} more"),
            };
            self.attention(what, format!("{}; {more}", bring_back(group)));
        }
        if let Some(tree) = &group.tree {
            let what = format!("group {name}: its stored tree is damaged: {tree}");
            self.bad(what, "run `strongroom-agent check`; see \"A bad day\" in docs/running.md");
        }
        for member in &group.members {
            let Some(behind) = member.behind.filter(|behind| *behind > BEHIND) else { continue };
            if member.state.works() {
                let hsm = short(&member.hsm.to_string());
                let what = format!("group {name}: member {hsm} is {behind} entries behind");
                self.attention(
                    what,
                    "wait: it reads the log; if the number grows, look at that host and its HSM",
                );
            }
        }
    }

    fn moving(&mut self, moving: &Move) {
        let Move { prefix, from, to, step } = moving;
        let prefix = listed(std::iter::once(*prefix));
        let next = format!(
            "if it stays, give `partition move {prefix} --from {from} --to {to}`: it goes on where it is"
        );
        let what = format!(
            "prefix {prefix} on its way from group {} to {}: {}",
            short(&from.to_string()),
            short(&to.to_string()),
            step.words()
        );
        match step {
            Step::Copying => {}
            Step::Awaited | Step::Arrived => self.add(Level::Attention, true, what, next),
            Step::Left => self.add(Level::Bad, true, what, next),
        }
    }

    fn host(&mut self, host: &Host, overview: &Overview) {
        let name = host_name(host);
        if let Agent::Silent { why, seconds } = &host.agent {
            let what = match seconds {
                Some(seconds) => format!("the agent of {name} has not answered for {seconds} s: {why}"),
                None => format!("the agent of {name} has not answered yet: {why}"),
            };
            let next = match host.hsm.is_some_and(|hsm| is_member(hsm, overview)) {
                true => {
                    "start it, or look at the network to its peer_listen; if its HSM is lost, `hsm replace`"
                }
                false => {
                    "start it; if it is gone for good, delete what it announced: realms/<realm>/agents/ in the store"
                }
            };
            return self.attention(what, next);
        }
        if host.hsm_answers == Some(false) && host.hsm.is_some() {
            let next = "start that HSM, and look at `hsm` in its agent.toml; if it is lost, `hsm replace`";
            self.attention(format!("{name} does not answer its agent"), next);
        }
        if let Some(why) = &host.unready {
            let next =
                "see \"The probe\" in docs/storage.md; move the realm to a store with conditional writes";
            self.bad(format!("{name} serves nothing: {why}"), next);
        } else if let Some(store) = &host.store {
            let next = "look at room on the disk, rights and the network; agents keep trying";
            self.add(Level::Attention, true, format!("{name}, the object store: {store}"), next);
        }
        if let Some(relays) = &host.relays {
            self.attention(format!("{name}: {relays}"), "start its HSM");
        }
        if let Some(wear) = host.wear.filter(|wear| wear.units > 0 && wear.spare_units == 0) {
            let what = format!("{name} has no spare erase unit left ({} failed)", wear.bad_units);
            self.attention(what, "replace it soon: `hsm replace`");
        }
    }
}

/// Why a group of which enough members work does not serve: whether that passes, and what to do.
fn not_serving(group: &Group, overview: &Overview) -> (bool, String, String) {
    let store = |hsm: HsmId| {
        let host = overview.hosts.iter().find(|host| host.hsm == Some(hsm))?;
        host.store.clone()
    };
    if let Some(tree) = &group.tree {
        return (
            false,
            format!("its stored tree is damaged ({tree})"),
            "run `strongroom-agent check`".into(),
        );
    }
    if let Some(store) = group.members.iter().find_map(|member| store(member.hsm)) {
        let next = "look at room on the disk, rights and the network; agents keep trying";
        return (true, format!("the object store fails ({store})"), next.into());
    }
    let says_so = |member: &Member| {
        Some(member.hsm) == group.leader && member.state == MemberState::Leads { serving: true }
    };
    match group.leader {
        Some(leader) if group.members.iter().any(says_so) => (
            true,
            format!("too few members follow leader {}", short(&leader.to_string())),
            "wait: they may be electing another; if it stays, look at the network between its members".into(),
        ),
        Some(leader) => (
            true,
            format!("leader {} is reading the stored tree", short(&leader.to_string())),
            "wait; if it stays, look at the log of that agent".into(),
        ),
        None => (
            true,
            "no member leads".into(),
            "wait: an election takes less than a second if members reach each other; if it stays, look at the network".into(),
        ),
    }
}

/// What to do about the members that do not work.
fn bring_back(group: &Group) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for member in group.members.iter().filter(|member| !member.state.works()) {
        let step = match member.state {
            MemberState::HsmSilent => "start the HSM",
            MemberState::AgentSilent(_) => "start the agent",
            MemberState::NotJoined => "`group join` there",
            MemberState::NotStarted(_) => "see that agent's log",
            MemberState::Stopped(_) => "restore the log's objects",
            _ => continue,
        };
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps.join(", ")
}

fn trouble(member: &Member) -> Option<String> {
    let words = match &member.state {
        MemberState::HsmSilent => "the HSM does not answer its agent",
        MemberState::AgentSilent(_) => "its agent cannot be reached",
        MemberState::NotJoined => "it has not joined",
        MemberState::NotStarted(_) => "its agent has not started the group",
        MemberState::Stopped(_) => "it has stopped",
        _ => return None,
    };
    Some(format!("HSM {}: {words}", short(&member.hsm.to_string())))
}

fn is_member(hsm: HsmId, overview: &Overview) -> bool {
    overview.groups.iter().any(|group| group.members.iter().any(|member| member.hsm == hsm))
}

fn host_name(host: &Host) -> String {
    let hsm = host.hsm.map(|hsm| format!("HSM {}", short(&hsm.to_string())));
    match (&host.address, hsm) {
        (Some(address), Some(hsm)) => format!("{hsm} at {address}"),
        (Some(address), None) => address.clone(),
        (None, Some(hsm)) => format!("{hsm} (the agent asked)"),
        (None, None) => "the agent asked".into(),
    }
}

/// The first digits of an id, enough to tell those of one realm apart.
pub(super) fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

#[cfg(test)]
mod tests;
