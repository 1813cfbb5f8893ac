//! Each broken invariant of the leader is noticed.

use super::*;
use crate::context::tests::context;
use crate::segment::tests::entries;
use strongroom_proto::ids::{Digest, Mac};

/// A leader that made entries 10 and 11, for each of which a reply is kept.
fn leader() -> Leader {
    let cx = context();
    let log = Log::new(cx.settings.realm, cx.settings.group.group);
    let mut leader = Leader::new(&cx, Term([4; 16]), &log);
    for made in entries(2) {
        let (index, hash) = (made.entry.index, made.entry.hash());
        leader.own.insert(index, Own { entry: made.entry, hash, trees: Trees::default() });
        leader.kept.push_back(Kept { index, hash, tickets: Vec::new() });
    }
    check(&leader);
    leader
}

fn check(leader: &Leader) {
    leader.assert_invariants(&context(), false);
}

fn stated(leader: &mut Leader, index: Index, hash: EntryHash) {
    let (hsm, member) = leader.members.iter_mut().next().expect("there are other members");
    member.statement = Some(Captured { hsm: *hsm, index, hash, mac: Mac(Digest([5; 32])) });
}

#[test]
#[should_panic(expected = "replies are not kept in the order of their entries")]
fn replies_out_of_order_are_noticed() {
    let mut leader = leader();
    leader.kept.swap(0, 1);
    check(&leader);
}

#[test]
#[should_panic(expected = "replies wait for an entry that is not theirs")]
fn replies_of_another_entry_are_noticed() {
    let mut leader = leader();
    leader.kept[0].hash = EntryHash([1; 32]);
    check(&leader);
}

#[test]
#[should_panic(expected = "a statement of another leadership's entry counts")]
fn a_statement_of_another_leaderships_entry_is_noticed() {
    let mut leader = leader();
    let own = leader.own[&Index(10)].hash;
    stated(&mut leader, Index(10), own);
    check(&leader);
    stated(&mut leader, Index(10), EntryHash([1; 32]));
    check(&leader);
}

#[test]
#[should_panic(expected = "an entry's trees are not its own")]
fn trees_of_another_entry_are_noticed() {
    let mut leader = leader();
    let tree = strongroom_proto::tree::Tree::new(strongroom_proto::prefix::Prefix::WHOLE);
    leader.own.get_mut(&Index(11)).expect("it was made").trees = Trees::of([tree]);
    check(&leader);
}

#[test]
fn a_leader_that_reads_more_of_the_log_goes_on_and_one_that_repeats_itself_steps_down() {
    let mut cx = context();
    let mut leader = Leader::new(&cx, Term([4; 16]), &Log::new(cx.settings.realm, cx.settings.group.group));
    leader.elected = true;
    let mut is_stalled_after = |to: Toward| {
        leader.got_on.1 = cx.now;
        cx.now = cx.now.after(STALLED_MS - 1);
        assert!(!leader.is_stalled(&cx, 0), "{to:?}");
        leader.has_come(cx.now, to);
        cx.now = cx.now.after(1);
        leader.is_stalled(&cx, 0)
    };
    for further in [Toward::Opened, Toward::Listed, Toward::Read(PACE), Toward::Read(2 * PACE)] {
        assert!(!is_stalled_after(further), "{further:?} is further");
    }
    assert!(is_stalled_after(Toward::Read(3 * PACE - 1)), "too slow");
    for again in [Toward::Opened, Toward::Listed, Toward::Read(PACE)] {
        leader.has_come(cx.now, again);
        assert!(leader.is_stalled(&cx, 0), "{again:?} was reached before");
    }
}

/// Requests wait, each as its record and the length of its message. Returns the batches that they go in.
fn batches(waiting: &[(u8, usize)], room: usize) -> Vec<Vec<(u8, usize)>> {
    use strongroom_proto::hsm::{BatchRequest, NoiseMessage};
    use strongroom_proto::ids::SessionId;
    let (mut cx, mut leader, mut clients) = (context(), leader(), Clients::default());
    for (ticket, (record, length)) in (0..).zip(waiting) {
        let message = NoiseMessage::Transport { ciphertext: vec![0; *length].into() };
        let request =
            BatchRequest { record: RecordId([*record; 32]), session: SessionId(2), message, time: None };
        clients.arrive(
            &mut cx,
            false,
            Queued { ticket: Ticket(ticket), request, owner: crate::interface::Owner::default() },
        );
    }
    leader.paths.ready = std::mem::take(&mut clients.queue);
    let of = |queued: Queued| match queued.request.message {
        NoiseMessage::Transport { ciphertext } => (queued.request.record.0[0], ciphertext.len()),
        NoiseMessage::Handshake { .. } => panic!("none was asked"),
    };
    let next = std::iter::from_fn(|| {
        let batch = leader.next_batch(room, &clients);
        (!batch.is_empty()).then(|| batch.into_iter().map(of).collect())
    });
    next.collect()
}

#[test]
fn what_seems_to_read_and_the_rest_take_turns_and_requests_about_one_record_keep_their_order() {
    let (read, write) = (25, 100);
    assert_eq!(batches(&[(1, write), (2, write)], 8), [[(1, write), (2, write)]]);
    let mixed = [(1, write), (2, read), (1, read), (3, write), (2, write)];
    let expected: [&[(u8, usize)]; 3] = [&[(2, read)], &[(1, write), (3, write), (2, write)], &[(1, read)]];
    assert_eq!(batches(&mixed, 8), expected);
    let full = [(1, write), (2, write), (3, write), (4, read)];
    let expected: [&[(u8, usize)]; 3] = [&[(4, read)], &[(1, write), (2, write)], &[(3, write)]];
    assert_eq!(batches(&full, 2), expected);
}

#[test]
fn a_turn_whose_requests_all_come_after_others_passes() {
    let (read, write) = (25, 100);
    let expected: [&[(u8, usize)]; 2] = [&[(1, write)], &[(1, read)]];
    assert_eq!(batches(&[(1, write), (1, read)], 8), expected);
}
