//! Nobody's traffic ends another user's recovery: random walks of other users around one who has guessed, and one who is
//! about to. A session of a full table gives way to a new one; which one, is what is held here.

use crate::common::{Rig, User, waits};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use strongroom_hsm::{Config, MAX_SESSIONS_OF_A_RECORD, charged_places};
use strongroom_hsm_planted::Bug;
use strongroom_proto::client::SecretsRequest;
use strongroom_proto::hsm::{BatchRequest, NoiseMessage, Outcome, Reply, SessionRefusal};
use strongroom_proto::ids::SessionId;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::Tree;

/// Places of the table.
const PLACES: usize = 12;
/// Steps of one walk.
const STEPS: usize = 60;
/// Walks of each property.
const WALKS: u64 = 24;

/// An HSM with a small table, and users of records that are not there.
struct Walk {
    rig: Rig,
    rng: StdRng,
    /// Sessions of others that were opened, and perhaps are gone.
    others: Vec<(u64, User)>,
    sessions: u32,
}

/// Of a request in a batch of its own, on records that are not there.
fn outcome(rig: &mut Rig, request: BatchRequest) -> Outcome {
    match rig.process(0, &Tree::new(Prefix::WHOLE), &[request]) {
        Reply::Processed { mut outcomes, .. } => outcomes.remove(0),
        other => panic!("{other:?}"),
    }
}

impl Walk {
    fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut config = Config::software();
        config.limits.max_sessions = PLACES as u32;
        let (entries, replies) =
            (&mut config.limits.max_pending_entries, &mut config.limits.max_pending_replies);
        (*entries, *replies) = (10_000, 10_000);
        let mut rig = Rig::with_config(1, bug, &config);
        rig.lead(0, None);
        Self { rig, rng: StdRng::seed_from_u64(seed), others: Vec::new(), sessions: 0 }
    }

    fn open(&mut self, user: u64) -> User {
        self.sessions += 1;
        let mut user = User::new(&self.rig, user, 1);
        user.session = SessionId(self.sessions);
        self.rig.open(0, &mut user);
        user
    }

    fn outcome(&mut self, request: BatchRequest) -> Outcome {
        outcome(&mut self.rig, request)
    }

    fn lives(&mut self, user: &mut User) -> bool {
        let request = user.recover3(true);
        self.outcome(request) != Outcome::Refused(SessionRefusal::MissingSession)
    }

    /// One of `users` others does something: opens a session, or sends a message on any it ever had. Only the first `guessing` guess.
    fn step(&mut self, users: u64, guessing: u64) {
        if self.others.is_empty() || self.rng.random_ratio(2, 5) {
            let user = self.rng.random_range(1..=users);
            let opened = self.open(user);
            self.others.push((user, opened));
            return;
        }
        let at = self.rng.random_range(0..self.others.len());
        let kind = self.rng.random_range(0..8);
        let (user, session) = &mut self.others[at];
        let mut request = match kind {
            0..5 if *user <= guessing => session.recover2(),
            5 => session.recover3(false),
            6 => session.send(&SecretsRequest::Register1),
            _ => session.send(&SecretsRequest::Recover1),
        };
        if kind == 7
            && let NoiseMessage::Transport { ciphertext } = &mut request.message
        {
            ciphertext[0] ^= 1;
        }
        if matches!(self.outcome(request), Outcome::Refused(_)) {
            self.others.swap_remove(at);
        }
    }
}

/// Whether one who has guessed can go on, whatever fewer than three quarters of the table's worth of users guess, and any number
/// of others do.
fn guess_is_safe(seed: u64, bug: Option<Bug>) -> bool {
    let mut walk = Walk::new(seed, bug);
    let mut victim = walk.open(0);
    let request = victim.recover2();
    assert!(waits(&walk.outcome(request)));
    let (users, guessing) =
        if seed.is_multiple_of(2) { (3, 3) } else { (30, charged_places(PLACES) as u64 - 1) };
    for _ in 0..STEPS {
        walk.step(users, guessing);
    }
    walk.lives(&mut victim)
}

/// Whether one who has opened a session can go on, whatever as few others do as can only have the other places.
fn few_leave_room(seed: u64, bug: Option<Bug>) -> bool {
    let mut walk = Walk::new(seed, bug);
    let mut victim = walk.open(0);
    let few = ((PLACES - 1) / MAX_SESSIONS_OF_A_RECORD) as u64;
    for _ in 0..STEPS {
        walk.step(few, few);
    }
    walk.lives(&mut victim)
}

/// Whether one who opens a session when all have guessed and left can go on, as long as not a quarter of a table's others open one.
fn guesses_leave_room(seed: u64, bug: Option<Bug>) -> bool {
    let mut walk = Walk::new(seed, bug);
    for user in 0..PLACES as u64 + seed {
        let mut theirs = walk.open(1000 + user);
        let request = theirs.recover2();
        walk.outcome(request);
    }
    let mut victim = walk.open(0);
    for user in 1..(PLACES - charged_places(PLACES)) as u64 {
        walk.open(user);
    }
    walk.lives(&mut victim)
}

type Property = fn(u64, Option<Bug>) -> bool;

/// Each property, and the rules of which it needs every one.
const PROPERTIES: [(Property, &[Bug]); 3] = [
    (guess_is_safe, &[Bug::SessionsByUseAlone, Bug::RecordHoldsManyCharges]),
    (few_leave_room, &[Bug::SessionsWithoutBound]),
    (guesses_leave_room, &[Bug::ChargedFillTheTable]),
];

#[test]
fn whatever_others_do_a_session_lives_while_it_is_needed() {
    for (property, _) in PROPERTIES {
        for seed in 0..WALKS {
            assert!(property(seed, None), "seed {seed}");
        }
    }
}

#[test]
fn each_rule_of_the_table_of_sessions_is_one_whose_absence_is_noticed() {
    for (property, bugs) in PROPERTIES {
        for bug in bugs {
            assert!((0..WALKS).any(|seed| !property(seed, Some(*bug))), "{bug:?}");
        }
    }
}

#[test]
fn a_record_has_a_few_sessions_and_the_one_that_guessed_last_is_among_them() {
    let mut walk = Walk::new(1, None);
    let mut sessions: Vec<User> = (0..PLACES).map(|_| walk.open(0)).collect();
    let first = PLACES - MAX_SESSIONS_OF_A_RECORD;
    let request = sessions[first].recover2();
    assert!(waits(&walk.outcome(request)));
    for _ in 0..PLACES {
        walk.open(0);
    }
    let lives: Vec<bool> = sessions.iter_mut().map(|session| walk.lives(session)).collect();
    assert_eq!((0..PLACES).filter(|at| lives[*at]).collect::<Vec<_>>(), [first]);
}

#[test]
fn a_full_table_of_charged_sessions_ends_the_one_that_was_unused_for_longest() {
    let mut walk = Walk::new(1, None);
    let mut guessed: Vec<User> = (0..=charged_places(PLACES) as u64).map(|user| walk.open(user)).collect();
    for session in &mut guessed {
        let request = session.recover2();
        assert!(waits(&walk.outcome(request)));
    }
    for user in 100..100 + PLACES as u64 {
        walk.open(user);
    }
    let lives: Vec<bool> = guessed.iter_mut().map(|session| walk.lives(session)).collect();
    assert_eq!(lives.iter().filter(|lives| !**lives).count(), 1);
    assert!(!lives[0]);
}

#[test]
fn a_reply_is_forgotten_before_a_session_is() {
    let mut config = Config::software();
    config.session_replies = 1;
    let mut rig = Rig::with_config(1, None, &config);
    rig.lead(0, None);
    let [mut a, mut b] = [0, 1].map(|seed| User::new(&rig, seed, 1));
    let mut sent = Vec::new();
    for user in [&mut a, &mut b] {
        rig.open(0, user);
        let request = user.recover2();
        outcome(&mut rig, request.clone());
        sent.push(request);
    }
    // The newest reply goes again; both sessions go on.
    for request in [sent.pop().expect("two"), b.recover3(true), a.recover3(true)] {
        assert!(waits(&outcome(&mut rig, request)));
    }
    // Not decrypted a second time, whatever it was: that ends the session, as any message out of order.
    let again = outcome(&mut rig, sent.pop().expect("one more"));
    assert_eq!(again, Outcome::Refused(SessionRefusal::SessionError));
}

#[test]
fn the_reply_of_a_charged_session_is_forgotten_first() {
    let mut config = Config::software();
    config.session_replies = 1;
    let mut rig = Rig::with_config(1, None, &config);
    rig.lead(0, None);
    let [mut guessing, mut reading] = [0, 1].map(|seed| User::new(&rig, seed, 1));
    rig.open(0, &mut guessing);
    rig.open(0, &mut reading);
    // The record of a guess holds its answer too; nothing else holds the other one's, though it is used later.
    let requests = [guessing.recover2(), reading.send(&SecretsRequest::Recover1)];
    for request in &requests {
        assert!(waits(&outcome(&mut rig, request.clone())));
    }
    let [again, read_again] = requests.map(|request| outcome(&mut rig, request));
    assert_eq!(again, Outcome::Refused(SessionRefusal::SessionError));
    assert!(waits(&read_again));
}
