//! `realm status`: the whole realm, for people.

use crate::hub::listed;
use crate::overview::{Agent, Group, Host, Member, Overview, Verdict};
use std::fmt::Write as _;

/// The verdict, and all that it is about.
pub(super) fn text(overview: &Overview, verdict: &Verdict) -> String {
    let mut text = String::new();
    let (groups, hosts) = (overview.groups.len(), overview.hosts.len());
    let level = verdict.level.name().to_uppercase();
    let _ = writeln!(text, "{level}: {}", verdict.line());
    for reason in &verdict.reasons {
        let _ = writeln!(text, "  {:9}  {}", reason.level.name(), reason.what);
        let _ = writeln!(text, "  {:9}  next: {}", "", reason.next);
    }
    let _ = writeln!(text, "{hosts} hosts");
    overview.hosts.iter().for_each(|host| text.push_str(&host_text(host)));
    let _ = writeln!(text, "{groups} groups");
    overview.groups.iter().for_each(|group| text.push_str(&group_text(group)));
    for moving in &overview.moves {
        let prefix = listed(std::iter::once(moving.prefix));
        let _ = writeln!(text, "moving {prefix}: {} -> {}: {}", moving.from, moving.to, moving.step.words());
    }
    if overview.not_asked > 0 {
        let _ = writeln!(text, "{} more agents were not asked", overview.not_asked);
    }
    text
}

fn host_text(host: &Host) -> String {
    let hsm = host.hsm.map_or("an unknown HSM".into(), |hsm| hsm.to_string());
    let address = host.address.as_deref().unwrap_or("the agent asked");
    let version = host.version.as_deref().unwrap_or("?");
    let mut text = match &host.agent {
        Agent::Silent { why, seconds } => {
            let since = seconds.map_or("has not answered yet".into(), |s| format!("silent for {s} s"));
            format!("  {hsm}  {since}: {why}  {address}\n")
        }
        Agent::Answers => {
            let hsm_answers = if host.hsm_answers == Some(true) { "HSM answers" } else { "HSM SILENT " };
            let wear = host.wear.map(|wear| format!("{} of {} units failed", wear.bad_units, wear.units));
            let wear = wear.unwrap_or_default();
            format!("  {hsm}  agent {version}  {hsm_answers}  {wear}  {address}\n")
        }
    };
    for line in [&host.unready, &host.relays].into_iter().flatten() {
        let _ = writeln!(text, "    {line}");
    }
    if let Some(store) = &host.store {
        let _ = writeln!(text, "    the object store: {store}");
    }
    text
}

fn group_text(group: &Group) -> String {
    let serves = match (group.retired, group.serves) {
        (true, _) => "retired",
        (false, true) => "serves",
        (false, false) => "DOES NOT SERVE",
    };
    let owns = listed(group.prefixes.iter().copied());
    let load = group.load.as_ref().map_or("load unknown".into(), |load| {
        let tenths = load.tenths_per_second(load.requests());
        format!("{}.{} requests/s", tenths / 10, tenths % 10)
    });
    let id = group.group;
    let mut text = format!("  {id}  {serves}  owns {owns}  entry {}  {load}\n", group.index);
    group.members.iter().for_each(|member| text.push_str(&member_text(member)));
    text
}

fn member_text(Member { hsm, state, captured, behind }: &Member) -> String {
    let captured = captured.map(|captured| format!("  captured {captured}")).unwrap_or_default();
    let behind = behind.filter(|behind| *behind > 0).map(|behind| format!(", {behind} behind"));
    let why = state.why().map(|why| format!("  {why}")).unwrap_or_default();
    format!("    {hsm}  {:15}{captured}{}{why}\n", state.name(), behind.unwrap_or_default())
}
