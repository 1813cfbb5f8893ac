//! The status page: one look tells whether all is well.
//!
//! It is whole without a script; the script only keeps it new, and says so when it cannot. Every text goes through the
//! templates, which escape it; numbers and names of classes alone are made here.

use super::drawing::{self, colour};
use super::seen::{Agent, Group, Host, Member, MemberState, Move, Overview};
use super::verdict::{Level, Reason, short};
use super::watch::Look;
use crate::hub::listed;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use strongroom_proto::ids::HsmId;

/// What the page looks like, and what keeps it new. Both are in the page, and its policy names their digests.
pub(super) const STYLE: &str = include_str!("page.css");
pub(super) const SCRIPT: &str = include_str!("page.js");

/// A member that is fewer entries behind than this is just at work.
const WORTH_SAYING: u64 = 100;

/// The whole page.
pub(super) fn page(look: &Look) -> Markup {
    let Look { number, unix, overview, verdict } = look;
    let realm = overview.realm.map_or("no realm".into(), |realm| short(&realm.to_string()));
    let title = format!("{}: realm {realm}", verdict.level.name());
    html! {
        (DOCTYPE)
        html lang="en" class=(verdict.level.name()) data-look=(number) data-title=(title) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="icon" href="data:,";
                noscript { meta http-equiv="refresh" content="5"; }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { "Strongroom realm " code title=[overview.realm.map(|realm| realm.to_string())] { (realm) } } }
                main {
                    p.stale id="stale" role="alert" { span id="stale-words" {} }
                    section id="verdict" data-part aria-live="polite" aria-label="Verdict" { (said(look)) }
                    @if !overview.groups.is_empty() {
                        section id="space" data-part aria-label="Who owns and serves which users" { (space(overview)) }
                    }
                    section id="moves" data-part aria-label="Moves under way" { (moves(overview)) }
                    section id="groups" data-part aria-label="Groups" { (groups(overview)) }
                    section id="hosts" data-part aria-label="Hosts" { (hosts(overview)) }
                }
                footer {
                    p id="seen" data-part {
                        "Seen by the agent of HSM "
                        span.id { (overview.by.map_or("?".into(), |hsm| short(&hsm.to_string()))) }
                        ", look " (number) " at " time datetime=(utc(*unix)) { (utc(*unix)) }
                        @if overview.not_asked > 0 { "; " (overview.not_asked) " more agents were not asked" }
                        "."
                    }
                    p { "For programs: " a href="/status.json" { "status.json" } ", " a href="/metrics" { "metrics" } "." }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn said(look: &Look) -> Markup {
    let (overview, verdict) = (&look.overview, &look.verdict);
    let (sign, word) = match verdict.level {
        Level::Well => ("✓", "All is well"),
        Level::Attention => ("!", "Needs attention"),
        Level::Bad => ("✕", "Bad"),
    };
    let counts = format!(
        "{} hosts, {} groups, {} requests a second",
        overview.hosts.len(),
        overview.groups.iter().filter(|group| !group.retired).count(),
        total(overview)
    );
    html! {
        div.verdict {
            span.sign aria-hidden="true" { (sign) }
            div {
                strong { (word) }
                @match verdict.reasons.first() {
                    None => { (counts) ". Every user is served." }
                    Some(_) => { (verdict.line()) }
                }
            }
        }
        @if !verdict.reasons.is_empty() {
            ul.reasons { @for reason in &verdict.reasons { (because(reason)) } }
        }
    }
}

fn because(reason: &Reason) -> Markup {
    html! {
        li class=(reason.level.name()) {
            (reason.what)
            div.next { b { "Next: " } (reason.next) @if reason.passes { " (usually passes)" } }
        }
    }
}

fn total(overview: &Overview) -> String {
    let loads = overview.groups.iter().filter_map(|group| group.load.as_ref());
    tenths(loads.map(|load| load.tenths_per_second(load.requests())).sum())
}

fn tenths(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn space(overview: &Overview) -> Markup {
    html! {
        h2 { "Users, by record id, and where requests go" }
        (drawing::space(overview))
    }
}

fn moves(overview: &Overview) -> Markup {
    let at = |group| overview.groups.iter().position(|of| of.group == group);
    html! {
        @if !overview.moves.is_empty() {
            h2 { "Moves under way" }
            @for moving in &overview.moves {
                @let Move { prefix, from, to, step } = moving;
                (drawing::arrow(
                    (at(*from), &short(&from.to_string())),
                    (at(*to), &short(&to.to_string())),
                    &listed(std::iter::once(*prefix)),
                ))
                p { "Prefix " (listed(std::iter::once(*prefix))) ": " (step.words()) "." }
            }
        }
    }
}

fn groups(overview: &Overview) -> Markup {
    let per_second = |group: &Group| group.load.as_ref().map(|load| load.tenths_per_second(load.requests()));
    let most = overview.groups.iter().filter_map(per_second).max().unwrap_or(0).max(1);
    html! {
        h2 { "Groups" }
        @if overview.groups.is_empty() { p { "None yet." } }
        @else {
            div.scroll tabindex="0" role="group" aria-label="A table, which may be wide" { table {
                thead { tr {
                    th scope="col" { "group" } th scope="col" { "serves" } th scope="col" { "owns" }
                    th scope="col" { "members" } th scope="col" { "entry" }
                    th scope="col" { "requests/s" } th.bar scope="col" { "load" }
                } }
                tbody { @for (at, group) in overview.groups.iter().enumerate() {
                    @let load = per_second(group);
                    tr {
                        th scope="row" { (swatch(at)) span.id title=(group.group) { (short(&group.group.to_string())) } }
                        @match (group.retired, group.serves) {
                            (true, _) => { td { "retired" } }
                            (false, true) => { td.leads { span.mark aria-hidden="true" { "✓" } "yes" } }
                            (false, false) => { td.off { span.mark aria-hidden="true" { "✕" } "no" } }
                        }
                        td { (listed(group.prefixes.iter().copied())) }
                        td { (group.working()) " of " (group.members.len()) }
                        td.num { (group.index) }
                        td.num { @match load { Some(load) => { (tenths(load)) } None => { "?" } } }
                        td.bar { (drawing::bar(at, load.unwrap_or(0), most)) }
                    }
                } }
            } }
        }
    }
}

fn swatch(at: usize) -> Markup {
    html! { svg.swatch viewBox="0 0 14 14" aria-hidden="true" { rect class=(colour(at)) width="14" height="14" rx="3" {} } }
}

fn hosts(overview: &Overview) -> Markup {
    html! {
        h2 { "Hosts and what they do in each group" }
        div.scroll tabindex="0" role="group" aria-label="A table, which may be wide" { table {
            thead { tr {
                th scope="col" { "host" } th scope="col" { "agent" } th scope="col" { "HSM" }
                @for (at, group) in overview.groups.iter().enumerate() {
                    th scope="col" { (swatch(at)) span.id title=(group.group) { (short(&group.group.to_string())) } }
                }
            } }
            tbody {
                @for host in &overview.hosts { (row(host, overview)) }
                @for hsm in unfound(overview) {
                    tr {
                        th.off scope="row" { span.id title=(hsm) { (short(&hsm.to_string())) } small { "no agent found" } }
                        td.off { "?" } td.off { "?" }
                        @for group in &overview.groups { (cell(Some(hsm), group)) }
                    }
                }
            }
        } }
    }
}

/// Members whose agents nobody knows.
fn unfound(overview: &Overview) -> Vec<HsmId> {
    let members = overview.groups.iter().filter(|group| !group.retired).flat_map(|group| &group.members);
    let mut unfound: Vec<HsmId> = members.map(|member| member.hsm).collect();
    unfound.retain(|hsm| overview.hosts.iter().all(|host| host.hsm != Some(*hsm)));
    unfound.sort_unstable();
    unfound.dedup();
    unfound
}

fn row(host: &Host, overview: &Overview) -> Markup {
    let address = host.address.as_deref().unwrap_or("the agent asked");
    html! {
        tr {
            th scope="row" {
                @match host.hsm {
                    Some(hsm) => { span.id title=(hsm) { (short(&hsm.to_string())) } }
                    None => { "unknown HSM" }
                }
                small { (address) }
            }
            @match &host.agent {
                Agent::Answers => {
                    td {
                        span.mark aria-hidden="true" { "✓" } "answers"
                        small { @match &host.version { Some(version) => { "version " (version) } None => { "an older version" } } }
                        @for words in [&host.unready, &host.store, &host.relays].into_iter().flatten() { small { (words) } }
                    }
                    @if host.hsm_answers == Some(true) {
                        td { span.mark aria-hidden="true" { "✓" } "answers" (worn(host)) }
                    } @else {
                        td.off { span.mark aria-hidden="true" { "✕" } "silent" }
                    }
                }
                Agent::Silent { why, seconds } => {
                    td.off {
                        span.mark aria-hidden="true" { "✕" }
                        @match seconds { Some(seconds) => { "silent for " (seconds) " s" } None => { "not reached yet" } }
                        small { (why) }
                        @if let Some(version) = &host.version { small { "announced version " (version) } }
                    }
                    td.off { "?" }
                }
            }
            @for group in &overview.groups { (cell(host.hsm, group)) }
        }
    }
}

fn worn(host: &Host) -> Markup {
    html! { @if let Some(wear) = host.wear.filter(|wear| wear.bad_units > 0) {
        small { (wear.bad_units) " of " (wear.units) " erase units failed, " (wear.spare_units) " spare" }
    } }
}

fn cell(hsm: Option<HsmId>, group: &Group) -> Markup {
    let member = group.members.iter().find(|member| Some(member.hsm) == hsm);
    let Some(Member { state, behind, .. }) = member else { return html! { td {} } };
    let behind = behind.filter(|behind| *behind >= WORTH_SAYING);
    let (class, mark) = match state {
        MemberState::Leads { serving: true } => ("leads", "★"),
        MemberState::Leads { serving: false } | MemberState::Candidate | MemberState::Starting => {
            ("late", "…")
        }
        MemberState::Witness => ("", "●"),
        MemberState::Left => ("", "–"),
        _ => ("off", "✕"),
    };
    html! {
        td class=(class) {
            span.mark aria-hidden="true" { (mark) } (state.name())
            @if let Some(behind) = behind { small { (behind) " behind" } }
            @if let Some(why) = state.why().filter(|_| !matches!(state, MemberState::AgentSilent(_))) { small { (why) } }
        }
    }
}

/// A time as people and programs read it.
fn utc(unix: u64) -> String {
    let time = i64::try_from(unix).ok().and_then(|unix| time::OffsetDateTime::from_unix_timestamp(unix).ok());
    time.map_or("?".into(), |t| {
        let (date, h, m, s) = (t.date(), t.hour(), t.minute(), t.second());
        format!("{}-{:02}-{:02}T{h:02}:{m:02}:{s:02}Z", date.year(), u8::from(date.month()), date.day())
    })
}

#[cfg(test)]
mod tests;
