//! Named strategies: every attack of this family that is known, each as a host would go about it.
//!
//! None knows whether it works. Each is a few steps that only a host with a reason would take one after another;
//! random steps before and after make variants of it.

use super::hunt::{Hunt, Scene};
use super::step::{Forgery, Made, Step, Wish};

/// One strategy.
pub(super) type Strategy = fn(&mut Hunt);

/// All of them.
pub(super) const STRATEGIES: &[Strategy] = &[
    use_as_everybody_does,
    guess_until_nothing_is_left,
    guess_twice_in_one_batch,
    send_one_guess_again,
    send_a_wrong_tag,
    send_the_right_tag_after_the_last_guess,
    ask_for_a_record_that_is_not_there,
    use_a_session_for_another_record,
    lead_at_two_with_one_guess_each,
    release_a_beaten_guess,
    answer_of_an_abandoned_guess,
    guess_on_an_old_tree,
    commit_with_too_little,
    commit_with_another_fork,
    commit_with_a_stranger,
    jump_to_an_uncommitted_fork,
    jump_backwards,
    jump_beside_the_committed,
    capture_another_fork,
    capture_what_nobody_made,
    capture_of_another_group,
    lead_from_a_forgery,
    cut_the_power_of_a_capture,
    carry_off_the_seed,
    make_and_join_groups,
    fill_the_memory,
    send_a_deep_tree,
    replay_handshakes_everywhere,
];

/// A guess with a fresh channel at this leader; the message.
fn guess(hunt: &mut Hunt, s: &Scene, at: u8, point: u8) -> Made {
    let channel = hunt.open(s.user, at);
    hunt.ask(channel, Wish::Recover2(s.registration, point))
}

/// Runs wishes one after another on the scene's channel, each in a committed batch of its own.
fn wishes(hunt: &mut Hunt, s: &Scene, wishes: &[Wish]) {
    for wish in wishes {
        let message = hunt.ask(s.channel, *wish);
        let entry = hunt.process(s.at, &[message]);
        hunt.settle(s.at, entry, &[0, 1, 2]);
    }
}

fn use_as_everybody_does(hunt: &mut Hunt) {
    let registration = hunt.any_registration();
    let Some(s) = hunt.scene(registration) else { return };
    let point = hunt.any_point();
    let r = s.registration;
    wishes(hunt, &s, &[Wish::Recover1, Wish::Recover2(r, point), Wish::Recover3(r, true), Wish::Delete]);
    let gone = hunt.ask(s.channel, Wish::Recover2(r, point));
    let entry = hunt.process(s.at, &[gone]);
    hunt.settle(s.at, entry, &[0, 1, 2]);
}

fn guess_until_nothing_is_left(hunt: &mut Hunt) {
    let registration = hunt.any_registration();
    let Some(s) = hunt.scene(registration) else { return };
    let guesses: Vec<Wish> = (0..5).map(|point| Wish::Recover2(s.registration, point)).collect();
    wishes(hunt, &s, &guesses);
}

fn guess_twice_in_one_batch(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let messages = [0, 1].map(|point| hunt.ask(s.channel, Wish::Recover2(0, point)));
    let entry = hunt.process(s.at, &messages);
    hunt.settle(s.at, entry, &[0, 1, 2]);
}

fn send_one_guess_again(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(2) else { return };
    let message = hunt.ask(s.channel, Wish::Recover2(2, 0));
    for _ in 0..2 {
        let entry = hunt.process(s.at, &[message]);
        hunt.settle(s.at, entry, &[0, 1]);
    }
    let again = [0, 1, 0, 2, 3].map(|point| Wish::Recover2(2, point));
    wishes(hunt, &s, &again);
}

fn send_a_wrong_tag(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    wishes(hunt, &s, &[Wish::Recover3(1, false), Wish::Recover2(1, 0), Wish::Recover3(0, true)]);
}

fn send_the_right_tag_after_the_last_guess(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let right = hunt.any_point() > 3;
    let after = [Wish::Recover2(0, 0), Wish::Recover1, Wish::Recover3(0, right), Wish::Recover2(0, 1)];
    wishes(hunt, &s, &after);
    wishes(hunt, &s, &[Wish::Recover3(0, false), Wish::Recover3(0, true), Wish::Recover2(0, 2)]);
}

fn ask_for_a_record_that_is_not_there(hunt: &mut Hunt) {
    let Some(at) = hunt.leader() else { return };
    for user in 0..super::clients::USERS {
        let channel = hunt.open(user, at);
        let message = hunt.ask(channel, Wish::Recover2(0, 0));
        hunt.process(at, &[message]);
    }
}

fn use_a_session_for_another_record(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let message = hunt.ask(s.channel, Wish::Recover3(1, true));
    let (tree, as_user) = (hunt.newest(s.at), Some(s.user + 1));
    hunt.go(Step::Process { at: s.at, group: 0, tree, messages: vec![message], as_user });
}

fn lead_at_two_with_one_guess_each(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let other = hunt.other(s.at);
    hunt.lead(other, 0);
    let first = guess(hunt, &s, s.at, 0);
    let second = guess(hunt, &s, other, 1);
    let mine = hunt.process(s.at, &[first]);
    let theirs = hunt.process(other, &[second]);
    let third = 3 - s.at - other;
    hunt.settle(s.at, mine, &[s.at, third]);
    hunt.settle(other, theirs, &[other, third]);
    hunt.settle(other, theirs, &[s.at, other, third]);
}

fn release_a_beaten_guess(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let message = hunt.ask(s.channel, Wish::Recover2(0, 0));
    hunt.process(s.at, &[message]);
    let other = hunt.other(s.at);
    hunt.lead(other, 0);
    let winner = hunt.process_on(other, Some(s.tip), &[]);
    hunt.settle(s.at, winner, &[0, 1, 2]);
}

fn answer_of_an_abandoned_guess(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let message = hunt.ask(s.channel, Wish::Recover2(1, 0));
    hunt.process(s.at, &[message]);
    hunt.lead(s.at, 0);
    let entry = hunt.process_on(s.at, Some(s.tip), &[message]);
    hunt.settle(s.at, entry, &[0, 1, 2]);
}

fn guess_on_an_old_tree(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    for point in 0..3 {
        let message = hunt.ask(s.channel, Wish::Recover2(0, point));
        let entry = hunt.process_on(s.at, Some(s.tip), &[message]);
        hunt.settle(s.at, entry, &[0, 1, 2]);
    }
}

fn commit_with_too_little(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let message = hunt.ask(s.channel, Wish::Recover2(1, 0));
    let entry = hunt.process(s.at, &[message]);
    let other = hunt.other(s.at);
    if let Some(theirs) = hunt.capture(other, entry) {
        hunt.commit(s.at, vec![theirs]);
        hunt.commit(s.at, vec![theirs, theirs]);
    }
    if let Some(own) = hunt.capture(s.at, entry) {
        hunt.commit(s.at, vec![own, own]);
    }
}

fn commit_with_another_fork(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let message = hunt.ask(s.channel, Wish::Recover2(1, 0));
    let mine = hunt.process(s.at, &[message]);
    let other = hunt.other(s.at);
    hunt.lead(other, 0);
    let theirs = hunt.process_on(other, Some(s.tip), &[]);
    let (own, strange) = (hunt.capture(s.at, mine), hunt.capture(other, theirs));
    hunt.commit(s.at, own.into_iter().chain(strange).collect());
}

fn commit_with_a_stranger(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    hunt.go(Step::JoinForged { at: 3, group: 0 });
    let message = hunt.ask(s.channel, Wish::Recover2(1, 0));
    let entry = hunt.process(s.at, &[message]);
    let (own, strange) = (hunt.capture(s.at, entry), hunt.capture(3, entry));
    hunt.commit(s.at, own.into_iter().chain(strange).collect());
}

/// Two forks after a scene: the leader's and another's.
fn fork(hunt: &mut Hunt, s: &Scene) -> (u8, Made, Made) {
    let other = hunt.other(s.at);
    hunt.lead(other, 0);
    let mine = hunt.process(s.at, &[]);
    let theirs = hunt.process_on(other, Some(s.tip), &[]);
    (other, mine, theirs)
}

fn jump_to_an_uncommitted_fork(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let (other, mine, theirs) = fork(hunt, &s);
    hunt.capture(s.at, mine);
    if let Some(statement) = hunt.capture(other, theirs) {
        hunt.go(Step::Jump { at: s.at, entry: theirs, statement });
    }
}

fn jump_backwards(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let own = hunt.statement(s.at, 0);
    let other = hunt.other(s.at);
    let statement = hunt.commit(s.at, own.into_iter().chain(hunt.statement(other, 0)).collect());
    let next = hunt.process(s.at, &[]);
    hunt.capture(other, next);
    hunt.go(Step::Jump { at: other, entry: s.tip, statement });
}

fn jump_beside_the_committed(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let (other, mine, theirs) = fork(hunt, &s);
    let third = 3 - s.at - other;
    let statement = hunt.settle(s.at, mine, &[s.at, third]);
    hunt.go(Step::Jump { at: other, entry: theirs, statement });
    hunt.go(Step::Jump { at: third, entry: theirs, statement });
}

fn capture_another_fork(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let (other, mine, theirs) = fork(hunt, &s);
    let next = hunt.process_on(other, Some(theirs), &[]);
    hunt.capture(s.at, mine);
    hunt.go(Step::Capture { at: s.at, group: 0, entries: vec![next] });
    hunt.go(Step::Capture { at: s.at, group: 0, entries: vec![theirs, next] });
}

fn capture_what_nobody_made(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let next = hunt.process(s.at, &[]);
    for how in [Forgery::NoPartitions, Forgery::OtherGroup] {
        let forged = hunt.go(Step::Forge { entry: next, how });
        hunt.go(Step::Capture { at: s.at, group: 0, entries: vec![forged] });
    }
}

fn capture_of_another_group(hunt: &mut Hunt) {
    let Some(at) = hunt.leader() else { return };
    let Some(tip) = hunt.newest(at) else { return };
    hunt.go(Step::Capture { at: 1, group: 1, entries: vec![tip] });
    // Entry 1 of one group follows nothing, as entry 1 of any other does.
    let first = hunt.world.entries.iter().find(|(_, k)| k.group == 0 && k.parent.is_none()).map(|(n, _)| *n);
    hunt.go(Step::Capture { at: 2, group: 1, entries: first.into_iter().collect() });
}

fn lead_from_a_forgery(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let message = hunt.ask(s.channel, Wish::Recover2(0, 0));
    let entry = hunt.process(s.at, &[message]);
    hunt.settle(s.at, entry, &[0, 1, 2]);
    let forged = hunt.go(Step::Forge { entry: s.tip, how: Forgery::LaterIndex });
    hunt.go(Step::Lead { at: s.at, group: 0, entry: Some(forged) });
    hunt.go(Step::Lead { at: s.at, group: 0, entry: Some(s.tip) });
}

fn cut_the_power_of_a_capture(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let other = hunt.other(s.at);
    let next = hunt.process(s.at, &[]);
    let after = u32::from(hunt.any_point()) * 2;
    hunt.go(Step::CutPower { at: other, after });
    hunt.capture(other, next);
    let cut_after = (after > 10).then_some(after);
    hunt.go(Step::Restart { at: other, cut_after });
    hunt.settle(s.at, next, &[0, 1, 2]);
}

fn carry_off_the_seed(hunt: &mut Hunt) {
    for (signers, twice, hosts_key, old_nonce) in [
        (0b001, false, true, false),
        (0b001, true, true, false),
        (0b010, true, false, false),
        (0b111, false, true, false),
        (0b110, false, false, false),
        (0b110, false, false, true),
    ] {
        hunt.go(Step::Export { at: 0, signers, twice, hosts_key, old_nonce });
    }
}

fn make_and_join_groups(hunt: &mut Hunt) {
    hunt.go(Step::JoinForged { at: 3, group: 0 });
    hunt.go(Step::JoinForged { at: 0, group: 1 });
    hunt.go(Step::NewGroup { at: 0 });
    hunt.go(Step::Lead { at: 0, group: 2, entry: None });
    hunt.go(Step::Process { at: 0, group: 2, tree: None, messages: Vec::new(), as_user: None });
}

fn fill_the_memory(hunt: &mut Hunt) {
    let Some(at) = hunt.leader() else { return };
    for _ in 0..super::world::MAX_PENDING_ENTRIES + 2 {
        hunt.process(at, &[]);
    }
}

fn send_a_deep_tree(hunt: &mut Hunt) {
    if let Some(at) = hunt.leader() {
        hunt.go(Step::DeepTree { at });
    }
}

fn replay_handshakes_everywhere(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let other = hunt.other(s.at);
    hunt.lead(other, 0);
    let message = hunt.ask(s.channel, Wish::Recover2(1, 0));
    for at in [other, s.at] {
        hunt.go(Step::Open { user: s.user, at, group: 0, handshake: s.channel });
        hunt.process_on(at, Some(s.tip), &[message]);
    }
    let ride = hunt.go(Step::Ride { user: s.user, wish: Wish::Delete });
    for at in [s.at, other] {
        let entry = hunt.process(at, &[ride]);
        hunt.settle(at, entry, &[0, 1, 2]);
    }
}
