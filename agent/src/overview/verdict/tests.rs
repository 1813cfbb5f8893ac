use super::*;
use crate::overview::seen::{Load, PrefixLoad};
use strongroom_proto::hsm::Wear;
use strongroom_proto::ids::{GroupId, Index, RealmId};
use strongroom_proto::prefix::Prefix;

fn hsm(number: u8) -> HsmId {
    HsmId([number; 16])
}

fn host(number: u8) -> Host {
    Host {
        address: (number > 1).then(|| format!("https://10.0.0.{number}:8701/")),
        hsm: Some(hsm(number)),
        agent: Agent::Answers,
        version: Some("0.1.0".into()),
        hsm_answers: Some(true),
        hsm_version: Some("software".into()),
        wear: Some(Wear { units: 64, bad_units: 0, spare_units: 8, erases: 5 }),
        store: None,
        unready: None,
        relays: None,
    }
}

fn group(number: u8, prefixes: Vec<Prefix>) -> Group {
    let member = |number: u8| {
        let state = if number == 1 { MemberState::Leads { serving: true } } else { MemberState::Witness };
        Member { hsm: hsm(number), state, captured: Some(Index(9)), behind: Some(0) }
    };
    let load = prefixes.iter().map(|prefix| PrefixLoad { prefix: *prefix, parts: [1; 16] }).collect();
    Group {
        group: GroupId([number; 16]),
        members: (1..=3).map(member).collect(),
        leader: Some(hsm(1)),
        serves: true,
        prefixes,
        retired: false,
        index: Index(9),
        committed: Some(Index(9)),
        snapshot: Index(3),
        waiting: 0,
        load: Some(Load { seconds: 60, prefixes: load }),
        tree: None,
    }
}

/// A realm of three hosts and two groups that is well.
fn well() -> Overview {
    let (left, right) = Prefix::WHOLE.children().expect("it has halves");
    Overview {
        realm: Some(RealmId([7; 16])),
        by: Some(hsm(1)),
        hosts: (1..=3).map(host).collect(),
        groups: vec![group(1, vec![left]), group(2, vec![right])],
        moves: Vec::new(),
        not_asked: 0,
    }
}

/// What is said about a realm that was well before this change.
fn after(change: impl FnOnce(&mut Overview)) -> Verdict {
    let mut overview = well();
    change(&mut overview);
    judge(&overview, true)
}

fn silent(overview: &mut Overview, number: u8) {
    let why = "connection refused".to_owned();
    for member in overview.groups.iter_mut().flat_map(|group| &mut group.members) {
        if member.hsm == hsm(number) {
            member.state = MemberState::AgentSilent(why.clone());
        }
    }
    let host = overview.hosts.iter_mut().find(|host| host.hsm == Some(hsm(number))).expect("one of three");
    host.agent = Agent::Silent { why, seconds: Some(7) };
    host.hsm_answers = None;
}

#[track_caller]
fn says(verdict: &Verdict, level: Level, what: &str, next: &str) {
    assert_eq!(verdict.level, level, "{verdict:#?}");
    let worst = |reason: &&Reason| reason.level == level;
    let mut reasons = verdict.reasons.iter().filter(worst);
    assert!(
        reasons.any(|reason| reason.what.contains(what) && reason.next.contains(next)),
        "no reason with `{what}` and `{next}`: {verdict:#?}"
    );
}

#[test]
fn a_realm_in_which_all_work_is_well() {
    assert_eq!(after(|_| ()), Verdict { level: Level::Well, reasons: Vec::new() });
    let copying = after(|overview| {
        let prefix = overview.groups[0].prefixes[0];
        let (from, to) = (overview.groups[0].group, overview.groups[1].group);
        overview.moves.push(Move { prefix, from, to, step: Step::Copying });
    });
    assert_eq!(copying.level, Level::Well, "a copy disturbs nobody: {copying:#?}");
    assert_eq!(
        after(|overview| overview.groups.push(Group {
            retired: true,
            serves: false,
            ..group(3, Vec::new())
        }))
        .level,
        Level::Well
    );
}

#[test]
fn while_a_majority_works_the_loss_of_a_member_needs_attention() {
    let verdict = after(|overview| silent(overview, 3));
    says(&verdict, Level::Attention, "works with 2 of 3 members", "start the agent; one more loss stops it");
    says(&verdict, Level::Attention, "has not answered for 7 s: connection refused", "start it");
    let verdict = after(|overview| {
        overview.hosts[2].hsm_answers = Some(false);
        overview.groups.iter_mut().for_each(|group| group.members[2].state = MemberState::HsmSilent);
    });
    says(&verdict, Level::Attention, "does not answer its agent", "start that HSM");
    let verdict = after(|overview| overview.groups[0].members[1].state = MemberState::NotJoined);
    says(&verdict, Level::Attention, "it has not joined", "`group join` there");
    let verdict = after(|overview| overview.groups[0].members[1].behind = Some(BEHIND + 1));
    says(&verdict, Level::Attention, "1001 entries behind", "wait");
    let verdict = after(|overview| {
        overview.hosts[1].wear = Some(Wear { units: 64, bad_units: 8, spare_units: 0, erases: 5 });
    });
    says(&verdict, Level::Attention, "no spare erase unit", "hsm replace");
}

#[test]
fn without_a_majority_the_prefix_is_named_that_nobody_serves() {
    let verdict = after(|overview| {
        silent(overview, 2);
        silent(overview, 3);
        overview.groups.iter_mut().for_each(|group| group.serves = false);
    });
    says(
        &verdict,
        Level::Bad,
        "1 of 3 members work and 2 are needed, so nobody serves prefix 0",
        "start the agent",
    );
    says(&verdict, Level::Bad, "nobody serves prefix 1", "start the agent");
}

#[test]
fn a_prefix_that_no_group_owns_is_bad_unless_it_is_on_its_way_or_not_all_were_asked() {
    let verdict = after(|overview| drop(overview.groups.pop()));
    says(
        &verdict,
        Level::Bad,
        "no group that can be reached owns the records with prefix 1",
        "start the agents",
    );
    let verdict = after(|overview| {
        overview.groups.pop();
        overview.not_asked = 9;
    });
    says(&verdict, Level::Attention, "9 were not", "ask an agent of the group");
    let verdict = after(|overview| {
        let prefix = overview.groups[1].prefixes.remove(0);
        let (from, to) = (overview.groups[1].group, overview.groups[0].group);
        overview.moves.push(Move { prefix, from, to, step: Step::Left });
    });
    says(&verdict, Level::Bad, "nobody serves it", "partition move 1 --from");
    assert_eq!(verdict.reasons.len(), 1, "it is said once: {verdict:#?}");
}

#[test]
fn damage_is_bad_while_a_majority_serves() {
    let stop = |overview: &mut Overview| {
        let why = "the store lacks segment x; restore it".to_owned();
        overview.groups[0].members[1].state = MemberState::Stopped(why);
    };
    says(&after(stop), Level::Bad, "the store lacks segment x", "restore");
    let damage = |overview: &mut Overview| overview.groups[0].tree = Some("page 01 is missing".into());
    says(&after(damage), Level::Bad, "page 01 is missing", "check");
    let lies =
        |overview: &mut Overview| overview.hosts[1].unready = Some("two writers created one object".into());
    says(&after(lies), Level::Bad, "two writers", "conditional writes");
}

#[test]
fn what_usually_passes_counts_one_level_less_until_it_has_lasted() {
    let mut overview = well();
    overview.groups[0].serves = false;
    overview.groups[0].leader = None;
    overview.groups[0].members[0].state = MemberState::Candidate;
    let now = judge(&overview, false);
    assert!(now.may_pass());
    says(&now, Level::Attention, "no member leads, so nobody serves prefix 0", "an election");
    says(&judge(&overview, true), Level::Bad, "no member leads", "network");
    let left_behind = after(|overview| overview.groups[0].serves = false);
    says(&left_behind, Level::Bad, "too few members follow leader 01010101", "network");
    let mut overview = well();
    overview.hosts[0].store = Some("writes fail: No space left on device".into());
    assert_eq!(judge(&overview, false).level, Level::Well);
    says(&judge(&overview, true), Level::Attention, "No space left on device", "room on the disk");
    overview.groups[0].serves = false;
    says(&judge(&overview, true), Level::Bad, "the object store fails", "room on the disk");
}

#[test]
fn a_realm_that_is_being_set_up_says_what_comes_next() {
    let verdict = after(|overview| overview.groups.clear());
    says(&verdict, Level::Attention, "no group yet", "group create");
    let verdict = after(|overview| {
        silent(overview, 2);
        overview.groups.clear();
    });
    says(&verdict, Level::Attention, "knows of a group", "start the other agents");
    let verdict = after(|overview| overview.realm = None);
    says(&verdict, Level::Attention, "no realm yet", "realm create");
    let verdict = after(|overview| {
        *overview = Overview { hosts: vec![Host { hsm: None, ..host(1) }], ..Overview::default() }
    });
    says(&verdict, Level::Bad, "has not heard from its HSM", "start its HSM");
}

#[test]
fn the_worst_comes_first_and_one_line_says_it() {
    let verdict = after(|overview| {
        silent(overview, 3);
        overview.groups[1].tree = Some("a page is gone".into());
    });
    assert_eq!(verdict.level, Level::Bad);
    assert!(
        verdict.line().contains("a page is gone") && verdict.line().contains("more"),
        "{}",
        verdict.line()
    );
    assert!(verdict.reasons.is_sorted_by_key(|reason| std::cmp::Reverse(reason.level)));
    assert!(verdict.reasons.iter().all(|reason| !reason.next.is_empty() && !reason.what.contains('\n')));
}
