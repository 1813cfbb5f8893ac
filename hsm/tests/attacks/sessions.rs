//! Attacks on other users' sessions, by users and not by the host: all that they do is ask.

use super::common::{Rig, User, apply, waits};
use super::whole;
use strongroom_hsm::{Config, MAX_SESSIONS_OF_A_RECORD, charged_places};
use strongroom_hsm_planted::Bug;
use strongroom_proto::client::SecretsRequest;
use strongroom_proto::hsm::{BatchRequest, Outcome, Reply, Request, SessionRefusal};
use strongroom_proto::ids::SessionId;
use strongroom_proto::tree::Tree;

/// Places of the table.
const PLACES: usize = 16;

fn table(bug: Option<Bug>) -> Rig {
    let mut config = Config::software();
    config.limits.max_sessions = PLACES as u32;
    let mut rig = Rig::with_config(1, bug, &config);
    rig.lead(0, None);
    rig
}

/// A session of this user's record, just opened.
fn open(rig: &mut Rig, user: u64, session: u32) -> User {
    let mut user = User::new(rig, user, 1);
    user.session = SessionId(session);
    rig.open(0, &mut user);
    user
}

fn outcome(rig: &mut Rig, request: BatchRequest) -> Outcome {
    // No record here has a leaf, so the tree stays as it is.
    match rig.process(0, &whole(), &[request]) {
        Reply::Processed { mut outcomes, .. } => outcomes.remove(0),
        other => panic!("{other:?}"),
    }
}

fn guess(rig: &mut Rig, user: &mut User) {
    let request = user.recover2();
    assert!(waits(&outcome(rig, request)));
}

fn has_ended(rig: &mut Rig, user: &mut User) -> bool {
    let request = user.recover3(true);
    outcome(rig, request) == Outcome::Refused(SessionRefusal::MissingSession)
}

/// Between its Recover2 and its Recover3, others open as many sessions as there are places.
pub(super) fn recovery_ended_by_other_users_handshakes(bug: Option<Bug>) -> bool {
    let mut rig = table(bug);
    let mut victim = open(&mut rig, 0, 0);
    guess(&mut rig, &mut victim);
    for session in 0..PLACES as u32 {
        open(&mut rig, 1 + u64::from(session) / MAX_SESSIONS_OF_A_RECORD as u64, session);
    }
    has_ended(&mut rig, &mut victim)
}

pub(super) fn session_ended_by_one_other_user(bug: Option<Bug>) -> bool {
    let mut rig = table(bug);
    let mut victim = open(&mut rig, 0, 0);
    for session in 0..PLACES as u32 {
        open(&mut rig, 1, session);
    }
    has_ended(&mut rig, &mut victim)
}

/// A few users guess in as many sessions as they can have.
pub(super) fn recovery_ended_by_a_few_users_guesses(bug: Option<Bug>) -> bool {
    let mut rig = table(bug);
    let mut victim = open(&mut rig, 0, 0);
    guess(&mut rig, &mut victim);
    for session in 0..PLACES as u32 {
        let user = 1 + u64::from(session) / MAX_SESSIONS_OF_A_RECORD as u64;
        let mut theirs = open(&mut rig, user, session);
        guess(&mut rig, &mut theirs);
    }
    has_ended(&mut rig, &mut victim)
}

/// Others have guessed long before, and only send that again, which costs them nothing.
pub(super) fn recovery_ended_by_guesses_sent_again(bug: Option<Bug>) -> bool {
    let mut rig = table(bug);
    let mut others = Vec::new();
    for user in 1..=charged_places(PLACES) as u64 {
        let mut theirs = open(&mut rig, user, 0);
        let request = theirs.recover2();
        assert!(waits(&outcome(&mut rig, request.clone())));
        others.push(request);
    }
    let mut victim = open(&mut rig, 0, 0);
    guess(&mut rig, &mut victim);
    for request in others {
        assert!(waits(&outcome(&mut rig, request)));
    }
    for user in 100..100 + PLACES as u64 {
        open(&mut rig, user, 0);
    }
    has_ended(&mut rig, &mut victim)
}

/// Many have guessed and never came back. There still is room to open a session and use it.
pub(super) fn new_sessions_ended_by_each_other(bug: Option<Bug>) -> bool {
    let mut rig = table(bug);
    for user in 0..2 * PLACES as u64 {
        let mut theirs = open(&mut rig, user, 0);
        guess(&mut rig, &mut theirs);
    }
    let mut victim = open(&mut rig, 100, 0);
    for user in 1..(PLACES - charged_places(PLACES)) as u64 {
        open(&mut rig, 100 + user, 0);
    }
    has_ended(&mut rig, &mut victim)
}

pub(super) fn table_filled_past_its_limit(bug: Option<Bug>) -> bool {
    let mut rig = table(bug);
    let mut first = open(&mut rig, 0, 0);
    for user in 1..=PLACES as u64 {
        open(&mut rig, user, 0);
    }
    !has_ended(&mut rig, &mut first)
}

pub(super) fn memory_filled_with_last_replies(bug: Option<Bug>) -> bool {
    let config = Config { session_replies: 1, ..Config::software() };
    let mut rig = Rig::with_config(1, bug, &config);
    rig.lead(0, None);
    let [first, second] = [1, 2].map(|user| open(&mut rig, user, 0).recover2());
    assert!(waits(&outcome(&mut rig, first.clone())));
    assert!(waits(&outcome(&mut rig, second)));
    waits(&outcome(&mut rig, first))
}

/// The answer was lost, and its user asks again, with the very same bytes.
pub(super) fn session_ended_by_asking_again(bug: Option<Bug>) -> bool {
    let mut rig = table(bug);
    let request = open(&mut rig, 0, 0).recover2();
    assert!(waits(&outcome(&mut rig, request.clone())));
    !waits(&outcome(&mut rig, request))
}

pub(super) fn session_used_after_another_handshake_with_its_id(bug: Option<Bug>) -> bool {
    let mut rig = table(bug);
    let mut first = open(&mut rig, 0, 0);
    open(&mut rig, 0, 0);
    let request = first.recover2();
    waits(&outcome(&mut rig, request))
}

/// A session opened at the leader of a group that does not own the record.
pub(super) fn session_where_the_record_is_not(bug: Option<Bug>) -> bool {
    let mut rig = table(bug);
    rig.group = super::second_group(&mut rig).group;
    rig.lead(0, None);
    let (_, request) = User::new(&rig, 1, 1).handshake_only();
    matches!(rig.devices[0].ask(&Request::Handshake(rig.group, request)), Reply::Handshaken(_))
}

/// A request that is not run, and that its sender takes for answered.
pub(super) fn request_in_a_handshake_without_one(bug: Option<Bug>) -> bool {
    let mut rig = table(bug);
    let (_, request) = User::new(&rig, 1, 1).handshake_with(&SecretsRequest::Delete.to_cbor());
    let reply = rig.devices[0].ask(&Request::Handshake(rig.group, request));
    matches!(reply, Reply::Handshaken(Outcome::Answered(_)))
}

/// As many replies as may wait in all, in each of two groups. That both own records takes a bug of its own.
pub(super) fn memory_filled_with_replies_of_several_groups(bug: Option<Bug>) -> bool {
    let mut config = Config::software();
    config.limits.max_pending_replies = 2;
    let mut rig = Rig::with_config(1, bug, &config);
    rig.devices[0].install(Some(Bug::EveryGroupOwnsAll));
    let groups = [rig.group, super::second_group(&mut rig).group];
    let mut waiting = 0;
    for (group, seed) in groups.into_iter().zip(1..) {
        rig.group = group;
        rig.lead(0, None);
        let requests =
            [0; 2].map(|_| User::new(&rig, seed, 1).handshake_with(&SecretsRequest::Recover1.to_cbor()).1);
        if let Reply::Processed { outcomes, .. } = rig.process(0, &whole(), &requests) {
            waiting += outcomes.len();
        }
    }
    waiting > 2
}

/// The outcome of one request, with the tree after it.
fn guessed(rig: &mut Rig, tree: &mut Tree, request: BatchRequest) -> Outcome {
    let Reply::Processed { mut outcomes, made } = rig.process(0, tree, &[request]) else { panic!("not led") };
    made.iter().for_each(|made| apply(tree, made));
    outcomes.remove(0)
}

/// The host replays a user's handshakes after a guess. Which session is gone tells it whether there was a registration.
pub(super) fn charge_seen_from_which_session_gives_way(bug: Option<Bug>) -> bool {
    let gone = |registered: bool| {
        let mut rig = table(bug);
        let mut tree = whole();
        let mut first = open(&mut rig, 0, 0);
        if registered {
            let request = first.register2();
            let (_, replies) = rig.run(0, &mut tree, &[request]);
            first.read(&replies[0]);
        }
        let request = first.recover2();
        assert!(waits(&guessed(&mut rig, &mut tree, request)));
        for session in 1..=MAX_SESSIONS_OF_A_RECORD as u32 {
            open(&mut rig, 0, session);
        }
        let request = first.recover3(true);
        let Reply::Processed { outcomes, .. } = rig.process(0, &tree, &[request]) else { panic!() };
        outcomes[0] == Outcome::Refused(SessionRefusal::MissingSession)
    };
    gone(true) != gone(false)
}
