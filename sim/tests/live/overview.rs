//! The overview of a realm, asked of real agents: it tells the truth about who is there, who serves, how busy it is and what
//! is on its way.

use crate::support::until;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use strongroom_agent::overview::{Agent, Level, MemberState, Overview, Step, Verdict, judge};
use strongroom_client::{Pin, UserSecret};
use strongroom_proto::ids::GroupId;
use strongroom_proto::prefix::Prefix;
use strongroom_sim::local::{LocalRealm, Setting};

const USERS: usize = 6;

async fn seen(realm: &LocalRealm, by: usize) -> Option<(Overview, Verdict)> {
    let (own, peers, not_asked) = realm.admin(by).await.ok()?.said().await.ok()?;
    let overview = Overview::of(&own, &peers, not_asked);
    let verdict = judge(&overview, true);
    Some((overview, verdict))
}

/// What is seen once it is as wanted.
async fn seen_when(
    what: &str,
    realm: &LocalRealm,
    by: usize,
    wanted: impl Fn(&Overview, &Verdict) -> bool,
) -> (Overview, Verdict) {
    until(what, async || seen(realm, by).await.filter(|(overview, verdict)| wanted(overview, verdict))).await
}

/// The next step of a move, unless something came between.
async fn step(realm: &LocalRealm, prefix: Prefix, from: GroupId, to: GroupId) -> Option<(String, bool)> {
    let mut admin = realm.admin(0).await.expect("it is there");
    admin.move_on(Some(prefix), Some(from), to).await.ok().flatten()
}

async fn register(realm: &LocalRealm) {
    for i in 0..USERS {
        let client = realm.fast_client(i % 3, &format!("user-{i}")).await.expect("a client");
        let secret = UserSecret::new(b"what the user entrusts").expect("short");
        let guesses = NonZeroU8::new(9).expect("not 0");
        client.register(&Pin::from("4821"), &secret, b"", guesses).await.expect("registers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_agent_tells_the_truth_about_the_realm_while_an_hsm_is_away_and_after_a_move() {
    let folder = tempfile::tempdir().expect("a folder");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut realm = LocalRealm::start_with(folder.path(), any, Setting::patient()).expect("starts");
    realm.make_whole().await.expect("three HSMs");
    realm.leader(None).await.expect("one leads");
    let (overview, _) = seen_when("all is well", &realm, 1, |_, verdict| verdict.level == Level::Well).await;
    assert_eq!((overview.hosts.len(), overview.groups.len(), overview.not_asked), (3, 1, 0));
    assert!(overview.hosts.iter().all(|host| host.version.is_some() && host.hsm_answers == Some(true)));
    let first = overview.groups[0].group;

    register(&realm).await;
    let (overview, _) = seen_when("the load is seen", &realm, 0, |overview, _| {
        let load = overview.groups[0].load.as_ref();
        load.is_some_and(|load| load.requests() >= USERS as u64)
    })
    .await;
    let load = overview.groups[0].load.as_ref().expect("just seen");
    assert!(load.prefixes[0].parts.iter().filter(|part| **part > 0).count() > 1, "{load:?}");

    // A second group, and half of what the first owns on its way there.
    let members = [realm.device(1).await.expect("it is").hsm, realm.device(2).await.expect("it is").hsm];
    let made = realm.admin(1).await.expect("it is there").create_group(&members).await.expect("it is made");
    let second = made.statement.group;
    let (_, right) = Prefix::WHOLE.children().expect("it has halves");
    let mut admin = realm.admin(0).await.expect("it is there");
    admin.divide(first, Prefix::WHOLE, false).await.expect("it is split");
    let (from, to) = (first, second);
    until("it has left", async || step(&realm, right, from, to).await).await;
    let (overview, verdict) =
        seen_when("nobody serves what has left", &realm, 0, |overview, _| !overview.moves.is_empty()).await;
    let moving = &overview.moves[0];
    assert_eq!((moving.prefix, moving.from, moving.to, moving.step), (right, first, second, Step::Left));
    assert_eq!(verdict.level, Level::Bad, "{verdict:?}");
    let over = async || step(&realm, right, from, to).await.filter(|(_, over)| *over);
    until("the move is over", over).await;
    let (overview, _) = seen_when("all is well again", &realm, 2, |overview, verdict| {
        verdict.level == Level::Well && overview.moves.is_empty()
    })
    .await;
    let owns =
        |of| overview.groups.iter().find(|group| group.group == of).map(|group| group.prefixes.clone());
    assert_eq!(owns(second), Some(vec![right]));

    // Two of three serve on in the first group; of the second, of two members, that is no majority.
    realm.kill_hsm(2);
    let gone =
        |overview: &Overview, _: &Verdict| overview.hosts.iter().any(|host| host.hsm_answers == Some(false));
    let (overview, verdict) = seen_when("the HSM is missing", &realm, 0, gone).await;
    assert_eq!(verdict.level, Level::Bad);
    assert!(
        verdict.reasons.iter().any(|reason| reason.what.contains("nobody serves prefix 1")),
        "{verdict:?}"
    );
    let away = |group| {
        let members = overview.groups.iter().filter(move |of| of.group == group).flat_map(|of| &of.members);
        members
            .filter(|member| member.state == MemberState::HsmSilent)
            .map(|member| member.hsm)
            .collect::<Vec<_>>()
    };
    assert_eq!((away(first), away(second)), (vec![members[1]], vec![members[1]]));
    realm.kill(2).await;
    let silent = |overview: &Overview, _: &Verdict| {
        overview.hosts.iter().any(|host| matches!(host.agent, Agent::Silent { .. }))
    };
    let (overview, _) = seen_when("the agent is missing", &realm, 1, silent).await;
    let host = overview.hosts.iter().find(|host| host.agent != Agent::Answers).expect("just seen");
    assert_eq!(host.hsm, Some(members[1]), "it is known who is missing");
    realm.restart(2).await.expect("its addresses are free");
    seen_when("all is well in the end", &realm, 0, |_, verdict| verdict.level == Level::Well).await;
    realm.shutdown().await;
}
