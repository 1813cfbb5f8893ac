use super::*;
use futures::FutureExt;
use strongroom_proto::ids::Index;
use strongroom_proto::ids::Term;
use tokio::time::advance;

#[tokio::test]
async fn a_segment_waits_for_its_turn_and_no_more_of_them_wait_here_than_there_is_room_for() {
    let (leader, other) = (HsmId([1; 16]), HsmId([2; 16]));
    let (inlet, mut messages) = Inlet::new([leader, other]);
    let mebibyte = || PeerMessage::Push {
        group: GroupId([7; 16]),
        first: Index(1),
        prev: strongroom_proto::ids::EntryHash([3; 32]),
        segment: vec![0; (1 << 20) - 1024].into(),
        paths: strongroom_replica::Shared::default(),
    };
    for _ in 0..16 {
        assert!(inlet.put(leader, mebibyte()).now_or_never().is_some_and(|put| put));
    }
    let mut waits = Box::pin(inlet.put(leader, mebibyte()));
    assert!(waits.as_mut().now_or_never().is_none());
    assert!(inlet.put(other, mebibyte()).now_or_never().is_some_and(|put| put), "the other is heard");
    drop(messages.try_recv().expect("the first"));
    assert!(waits.await, "it goes in as soon as there is room");
    drop(messages);
    assert!(!inlet.put(other, mebibyte()).await, "nobody takes it");
}

#[tokio::test(start_paused = true)]
async fn a_follower_hears_of_clients_now_and_then_and_its_leader_is_known_without_it() {
    let (old, new) = (HsmId([1; 16]), HsmId([2; 16]));
    let (group, publish) = Group::following(old);
    assert_eq!(group.leader_elsewhere(), None, "it hears of the first");
    assert_eq!(group.clone().leader_elsewhere(), Some(old));
    publish.send_modify(|now| now.leader = Some(new));
    assert_eq!(group.leader_elsewhere(), Some(new), "who leads is never old");
    advance(TELLS_AGAIN).await;
    assert_eq!((group.leader_elsewhere(), group.leader_elsewhere()), (None, Some(new)));
    publish.send_modify(|now| now.role = Role::Leader { term: Term([3; 16]) });
    assert_eq!(group.leader_elsewhere(), None, "what leads is asked each time");
}

#[tokio::test]
async fn what_a_replica_counts_wakes_nobody_and_where_requests_go_wakes_all() {
    let (mut group, publish) = Group::following(HsmId([1; 16]));
    group.mark_unchanged();
    let mut status = group.status();
    status.leader = Some(HsmId([1; 16]));
    (status.tip, status.captured, status.waiting, status.serving) = (Index(9), Index(8), 7, true);
    assert!(!tell(&publish, &status) && group.changed().now_or_never().is_none());
    status.leader = Some(HsmId([2; 16]));
    assert!(tell(&publish, &status) && group.changed().now_or_never().is_some());
    status.prefixes.clear();
    assert!(!tell(&publish, &status), "it follows the same leader");
    assert!(group.changed().now_or_never().is_some());
    assert!(!group.covers(&RecordId([0; 32])));
}

#[test]
fn a_peer_that_never_stops_sending_crowds_out_only_itself() {
    let (loud, quiet, stranger) = (HsmId([1; 16]), HsmId([2; 16]), HsmId([3; 16]));
    let (inlet, mut messages) = Inlet::new([loud, quiet]);
    let message = || PeerMessage::Heartbeat {
        group: GroupId([7; 16]),
        term: Term([8; 16]),
        newest: Index(1),
        snapshot: Index(1),
        silent_ms: 0,
    };
    let put = |from| inlet.put(from, message()).now_or_never().expect("it does not wait");
    let taken = (0..10_000).filter(|_| put(loud)).count();
    assert_eq!(taken, PEER_SMALL);
    assert!(put(quiet), "the other is heard");
    assert!(!put(stranger), "a stranger is not");
    assert!(messages.try_recv().is_ok_and(|first| first.from == loud));
    assert!(put(loud), "a place is free again once its message is taken");
}
