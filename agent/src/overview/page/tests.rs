use super::*;
use crate::overview::seen::Step;
use crate::overview::verdict::judge;
use strongroom_proto::ids::{GroupId, Index, RealmId};
use strongroom_proto::prefix::Prefix;

const HOSTILE: &str =
    "</title></script><script>alert(1)</script><img src=x onerror=alert(1)>\"' onmouseover='alert(1)";

/// A realm in which every text that another agent or the store can choose is hostile.
fn hostile() -> Overview {
    let text = || Some(HOSTILE.to_owned());
    let host = |number: u8, agent| Host {
        address: text(),
        hsm: Some(HsmId([number; 16])),
        agent,
        version: text(),
        hsm_answers: Some(true),
        hsm_version: text(),
        wear: None,
        store: text(),
        unready: text(),
        relays: text(),
    };
    let member =
        |number: u8, state| Member { hsm: HsmId([number; 16]), state, captured: None, behind: Some(3) };
    let group = Group {
        group: GroupId([9; 16]),
        members: vec![
            member(1, MemberState::Stopped(HOSTILE.into())),
            member(2, MemberState::AgentSilent(HOSTILE.into())),
            member(3, MemberState::NotStarted(HOSTILE.into())),
        ],
        leader: None,
        serves: false,
        prefixes: vec![Prefix::WHOLE],
        retired: false,
        index: Index(1),
        committed: None,
        snapshot: Index(0),
        waiting: 0,
        load: None,
        tree: text(),
    };
    let to = GroupId([8; 16]);
    Overview {
        realm: Some(RealmId([7; 16])),
        by: Some(HsmId([1; 16])),
        hosts: vec![host(1, Agent::Answers), host(2, Agent::Silent { why: HOSTILE.into(), seconds: None })],
        moves: vec![Move { prefix: Prefix::WHOLE, from: group.group, to, step: Step::Left }],
        groups: vec![group],
        not_asked: 1,
    }
}

fn shown(overview: Overview) -> String {
    let verdict = judge(&overview, true);
    page(&Look { number: 5, unix: 0, overview, verdict }).into_string()
}

#[test]
fn hostile_texts_become_no_markup() {
    let shown = shown(hostile());
    assert!(shown.contains("&lt;script&gt;alert(1)"), "they are shown");
    assert!(!shown.contains("<script>alert") && !shown.contains("<img"));
    assert_eq!(shown.matches("<script").count(), 1, "the page's own");
    // No text ends the attribute that it is in: what it would add is never after a quote that ends one.
    assert!(!shown.contains("\"' onmouseover") && !shown.contains("onmouseover=\""));
}

#[test]
fn the_check_on_markup_notices_what_is_not_escaped() {
    let planted = shown(hostile()).replacen("&lt;script&gt;", "<script>", 1);
    assert!(planted.contains("<script>alert"));
}

#[test]
fn the_page_is_whole_without_its_script_and_brings_everything_along() {
    let shown = shown(hostile());
    for needed in [
        "class=\"bad\"",
        "data-look=\"5\"",
        "09090909",
        "Next: ",
        "http-equiv=\"refresh\"",
        "1970-01-01T00:00:00Z",
    ] {
        assert!(shown.contains(needed), "{needed}");
    }
    let mut outside = shown.match_indices("http").map(|(at, _)| &shown[at..]);
    assert!(outside.all(|rest| rest.starts_with("http-equiv")), "it refers to nothing elsewhere");
    assert!(!SCRIPT.contains("</") && !STYLE.contains("</"), "neither may end its own element");
}
