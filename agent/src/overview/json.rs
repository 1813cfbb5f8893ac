//! An overview for programs.

use super::seen::{Agent, Group, Host, Member, Move, Overview};
use super::verdict::Verdict;
use serde_json::{Value, json};

/// The overview and the verdict about it.
#[must_use]
pub fn json(overview: &Overview, verdict: &Verdict) -> Value {
    let reasons = verdict.reasons.iter().map(|reason| {
        json!({
            "level": reason.level.name(),
            "what": reason.what,
            "next": reason.next,
            "passes": reason.passes,
        })
    });
    json!({
        "realm": overview.realm.map(|realm| realm.to_string()),
        "seen_by": overview.by.map(|hsm| hsm.to_string()),
        "verdict": verdict.level.name(),
        "reasons": reasons.collect::<Vec<_>>(),
        "hosts": overview.hosts.iter().map(host).collect::<Vec<_>>(),
        "groups": overview.groups.iter().map(group).collect::<Vec<_>>(),
        "moves": overview.moves.iter().map(moving).collect::<Vec<_>>(),
        "not_asked": overview.not_asked,
    })
}

fn host(host: &Host) -> Value {
    let (why, seconds) = match &host.agent {
        Agent::Answers => (None, None),
        Agent::Silent { why, seconds } => (Some(why), *seconds),
    };
    let wear = host.wear.map(|wear| {
        json!({
            "units": wear.units,
            "bad_units": wear.bad_units,
            "spare_units": wear.spare_units,
            "erases": wear.erases,
        })
    });
    json!({
        "address": host.address,
        "hsm": host.hsm.map(|hsm| hsm.to_string()),
        "agent_answers": host.agent == Agent::Answers,
        "why": why,
        "silent_seconds": seconds,
        "version": host.version,
        "hsm_answers": host.hsm_answers,
        "hsm_version": host.hsm_version,
        "nvram": wear,
        "store": host.store,
        "unready": host.unready,
        "relays": host.relays,
    })
}

fn group(group: &Group) -> Value {
    let load = group.load.as_ref().map(|load| {
        let prefixes = load.prefixes.iter().map(|of| {
            json!({ "prefix": of.prefix.to_string(), "requests": of.requests(), "sixteenths": of.parts })
        });
        json!({
            "seconds": load.seconds,
            "requests": load.requests(),
            "prefixes": prefixes.collect::<Vec<_>>(),
        })
    });
    json!({
        "group": group.group.to_string(),
        "leader": group.leader.map(|leader| leader.to_string()),
        "serves": group.serves,
        "prefixes": group.prefixes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "retired": group.retired,
        "index": group.index.0,
        "committed": group.committed.map(|index| index.0),
        "snapshot": group.snapshot.0,
        "waiting": group.waiting,
        "tree": group.tree,
        "load": load,
        "members": group.members.iter().map(member).collect::<Vec<_>>(),
    })
}

fn member(member: &Member) -> Value {
    json!({
        "hsm": member.hsm.to_string(),
        "state": member.state.name(),
        "works": member.state.works(),
        "why": member.state.why(),
        "captured": member.captured.map(|index| index.0),
        "behind": member.behind,
    })
}

fn moving(moving: &Move) -> Value {
    json!({
        "prefix": moving.prefix.to_string(),
        "from": moving.from.to_string(),
        "to": moving.to.to_string(),
        "step": format!("{:?}", moving.step).to_lowercase(),
    })
}
