//! The checker must see what is planted, and nothing else.

use super::super::history::{Asked, Micros, Operation, Outcome, Phase, Step};
use super::case::Case;
use super::search::{Found, search, search_all};
use super::{LIMIT, Wrong, check};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

fn operation(asked: Asked, steps: &[Step], began: Micros, ended: Micros, outcome: Outcome) -> Operation {
    let count = steps.len() as Micros;
    let at = |n: usize| began + (ended - began) * n as Micros / count;
    let phases =
        steps.iter().enumerate().map(|(n, step)| Phase { step: *step, at: at(n), sent: 1 }).collect();
    Operation { user: "user".into(), asked, began, phases, ended, outcome }
}

fn register(pin: &str, secret: &str, guesses: u16, began: Micros, outcome: Outcome) -> Operation {
    let asked = Asked::Register { pin: pin.into(), secret: secret.into(), guesses };
    operation(asked, &[Step::Register1, Step::Register2], began, began + 10, outcome)
}

fn recover(pin: &str, began: Micros, outcome: Outcome) -> Operation {
    let steps: &[Step] = match outcome {
        Outcome::NotRegistered => &[Step::Recover1],
        Outcome::Wrong { .. } | Outcome::Changed => &[Step::Recover1, Step::Recover2],
        _ => &[Step::Recover1, Step::Recover2, Step::Recover3],
    };
    operation(Asked::Recover { pin: pin.into() }, steps, began, began + 10, outcome)
}

/// A recovery that is told at once that no guesses are left.
fn locked(began: Micros) -> Operation {
    operation(Asked::Recover { pin: "1".into() }, &[Step::Recover1], began, began + 10, wrong(0))
}

fn delete(began: Micros, outcome: Outcome) -> Operation {
    operation(Asked::Delete, &[Step::Delete], began, began + 10, outcome)
}

fn lost() -> Outcome {
    Outcome::Unknown("the answer was lost".into())
}

fn secret(secret: &str) -> Outcome {
    Outcome::Secret(secret.into())
}

const fn wrong(left: u16) -> Outcome {
    Outcome::Wrong { left }
}

fn can_be(history: &[Operation]) {
    assert_eq!(check(history, LIMIT), Ok(()));
}

/// The history is impossible, and the last operation, in order of their ends, is the first to show it.
fn cannot_be(history: &[Operation]) {
    let [Wrong::Impossible { told, .. }] = &check(history, LIMIT).unwrap_err()[..] else { panic!("decided") };
    assert_eq!(told.lines().count(), history.len(), "{told}");
}

#[test]
fn a_quiet_history_can_be() {
    can_be(&[
        recover("1", 0, Outcome::NotRegistered),
        register("1", "a", 2, 20, Outcome::Done),
        recover("2", 40, wrong(1)),
        recover("1", 60, secret("a")),
        recover("2", 80, wrong(1)),
        recover("2", 100, wrong(0)),
        locked(120),
        register("3", "b", 3, 140, Outcome::Done),
        recover("3", 160, secret("b")),
        delete(180, Outcome::Done),
        recover("3", 200, Outcome::NotRegistered),
    ]);
}

#[test]
fn a_lost_registration_that_was_acknowledged_is_seen() {
    cannot_be(&[register("1", "a", 2, 0, Outcome::Done), recover("1", 20, Outcome::NotRegistered)]);
}

#[test]
fn a_gained_guess_is_seen() {
    let history = [
        register("1", "a", 3, 0, Outcome::Done),
        recover("2", 20, wrong(2)),
        recover("3", 40, wrong(1)),
        recover("4", 60, wrong(1)),
    ];
    cannot_be(&history);
    // The same in a storm, where all operations run at once.
    let mut storm = history.to_vec();
    for guess in &mut storm[1..] {
        (guess.began, guess.ended) = (20, 90);
        (guess.phases[0].at, guess.phases[1].at) = (20, 21);
    }
    assert!(matches!(check(&storm, LIMIT).unwrap_err()[..], [Wrong::Impossible { .. }]));
}

#[test]
fn guesses_after_a_lockout_are_seen() {
    cannot_be(&[
        register("1", "a", 1, 0, Outcome::Done),
        recover("2", 20, wrong(0)),
        recover("1", 40, secret("a")),
    ]);
}

#[test]
fn a_lost_guess_is_seen() {
    cannot_be(&[register("1", "a", 3, 0, Outcome::Done), recover("2", 20, wrong(1))]);
}

#[test]
fn a_stale_secret_is_seen() {
    cannot_be(&[
        register("1", "a", 3, 0, Outcome::Done),
        register("1", "b", 3, 20, Outcome::Done),
        recover("1", 40, secret("a")),
    ]);
}

#[test]
fn a_secret_for_a_wrong_pin_is_seen() {
    cannot_be(&[register("1", "a", 3, 0, Outcome::Done), recover("2", 20, secret("a"))]);
    cannot_be(&[register("1", "a", 3, 0, Outcome::Done), recover("1", 20, wrong(2))]);
}

#[test]
fn a_deleted_registration_that_is_served_is_seen() {
    cannot_be(&[
        register("1", "a", 3, 0, Outcome::Done),
        delete(20, Outcome::Done),
        recover("1", 40, secret("a")),
    ]);
}

#[test]
fn a_registration_that_changed_though_nobody_changed_it_is_seen() {
    cannot_be(&[register("1", "a", 3, 0, Outcome::Done), recover("1", 20, Outcome::Changed)]);
    let mut during = register("1", "b", 3, 20, Outcome::Done);
    during.ended = 50;
    can_be(&[register("1", "a", 3, 0, Outcome::Done), recover("1", 20, Outcome::Changed), during]);
}

#[test]
fn a_registration_without_an_answer_may_exist_or_not_or_come_later() {
    let start = [register("1", "a", 3, 0, Outcome::Done), register("2", "b", 3, 20, lost())];
    for rest in [
        vec![recover("1", 40, secret("a")), recover("1", 60, secret("a"))],
        vec![recover("2", 40, secret("b"))],
        vec![recover("1", 40, secret("a")), recover("2", 60, secret("b"))],
        vec![recover("1", 40, secret("a")), recover("1", 60, wrong(2))],
    ] {
        can_be(&[&start[..], &rest].concat());
    }
    cannot_be(&[&start[..], &[recover("2", 40, secret("b")), recover("1", 60, secret("a"))]].concat());
}

#[test]
fn a_guess_without_an_answer_may_be_charged_once_for_each_message() {
    let mut guess = recover("2", 20, lost());
    guess.phases.truncate(2);
    guess.phases[1].sent = 2;
    let start = [register("1", "a", 5, 0, Outcome::Done), guess];
    for left in [4, 3, 2] {
        can_be(&[&start[..], &[recover("3", 40, wrong(left))]].concat());
    }
    cannot_be(&[&start[..], &[recover("3", 40, wrong(1))]].concat());
    cannot_be(&[&start[..], &[recover("3", 40, wrong(2)), recover("3", 60, wrong(0))]].concat());
}

#[test]
fn a_lost_answer_of_one_registration_charges_no_other() {
    let mut guess = recover("2", 20, lost());
    guess.phases.truncate(2);
    let start = [register("1", "a", 5, 0, Outcome::Done), guess, register("1", "b", 5, 40, Outcome::Done)];
    can_be(&[&start[..], &[recover("3", 60, wrong(4))]].concat());
    cannot_be(&[&start[..], &[recover("3", 60, wrong(3))]].concat());
}

#[test]
fn a_right_guess_without_an_answer_may_give_the_guesses_back_once() {
    let start =
        [register("1", "a", 3, 0, Outcome::Done), recover("2", 20, wrong(2)), recover("1", 40, lost())];
    can_be(&[&start[..], &[recover("3", 60, wrong(2))]].concat());
    can_be(&[&start[..], &[recover("3", 60, wrong(0))]].concat());
    cannot_be(&[&start[..], &[recover("3", 60, wrong(1))]].concat());
    can_be(&[&start[..], &[recover("3", 60, wrong(0)), recover("3", 80, wrong(2))]].concat());
    cannot_be(
        &[&start[..], &[recover("3", 60, wrong(0)), recover("3", 80, wrong(2)), recover("3", 100, wrong(2))]]
            .concat(),
    );
}

#[test]
fn a_deletion_sent_twice_may_happen_again_later() {
    let mut twice = delete(20, Outcome::Done);
    twice.phases[0].sent = 2;
    let after = [register("1", "b", 3, 40, Outcome::Done), recover("1", 60, Outcome::NotRegistered)];
    can_be(&[&[register("1", "a", 3, 0, Outcome::Done), twice][..], &after].concat());
    cannot_be(&[&[register("1", "a", 3, 0, Outcome::Done), delete(20, Outcome::Done)][..], &after].concat());
}

#[test]
fn a_registration_begun_twice_may_be_accepted_twice() {
    let mut twice = register("1", "a", 3, 0, Outcome::Done);
    twice.phases.push(Phase { step: Step::Register2, at: 8, sent: 1 });
    let guesses = [recover("2", 20, wrong(2)), recover("2", 40, wrong(2))];
    can_be(&[&[twice][..], &guesses].concat());
    cannot_be(&[&[register("1", "a", 3, 0, Outcome::Done)][..], &guesses].concat());
}

#[test]
fn a_recovery_that_the_sdk_begins_anew_is_bound_to_what_it_found_then() {
    let mut during = register("1", "b", 3, 20, Outcome::Done);
    during.ended = 50;
    let mut anew = recover("1", 20, secret("b"));
    anew.ended = 90;
    let phase = |step, at| Phase { step, at, sent: 1 };
    anew.phases = vec![
        phase(Step::Recover1, 20),
        phase(Step::Recover2, 30),
        phase(Step::Recover1, 60),
        phase(Step::Recover2, 70),
        phase(Step::Recover3, 80),
    ];
    let before = register("1", "a", 3, 0, Outcome::Done);
    can_be(&[before.clone(), during, anew.clone()]);
    let mut earlier = register("1", "b", 3, 11, Outcome::Done);
    earlier.ended = 19;
    let twice = check(&[before, earlier, anew], LIMIT);
    assert!(twice.is_err(), "nothing changed while it ran");
}

#[test]
fn a_search_that_is_too_long_is_undecided_and_no_pass() {
    let mut history = vec![register("1", "a", 200, 0, Outcome::Done)];
    history.extend((0..20).map(|n| {
        let mut lost = register("1", &format!("b{n}"), 3, 20, lost());
        lost.ended = 1_000;
        lost
    }));
    history.push(recover("1", 2_000, secret("none")));
    let told = check(&history, 10).unwrap_err();
    assert_eq!(told, [Wrong::Undecided { user: "user".into(), states: 10 }]);
    assert!(matches!(check(&history, LIMIT).unwrap_err()[..], [Wrong::Impossible { .. }]));
}

/// A correct record, with users whose messages overlap and whose answers get lost.
struct Simulation {
    rng: StdRng,
    now: Micros,
    /// Version, PIN, secret, guesses allowed and charged.
    record: Option<(u32, String, String, u16, u16)>,
    versions: u32,
    running: Vec<Running>,
    history: Vec<Operation>,
}

struct Running {
    operation: Operation,
    version: u32,
    /// Messages that are on their way, forever if need be.
    late: Vec<(Step, u32)>,
    over: bool,
}

impl Simulation {
    fn run(seed: u64, operations: usize) -> Vec<Operation> {
        let rng = StdRng::seed_from_u64(seed);
        let (running, history) = (Vec::new(), Vec::new());
        let mut simulation = Self { rng, now: 0, record: None, versions: 0, running, history };
        let mut begun = 0;
        while begun < operations || simulation.running.iter().any(|running| !running.over) {
            simulation.now += simulation.rng.random_range(1..10);
            let open = simulation.running.iter().filter(|running| !running.over).count();
            if begun < operations && (open == 0 || open < 3 && simulation.rng.random_bool(0.3)) {
                simulation.begin(begun);
                begun += 1;
            } else {
                let which = simulation.rng.random_range(0..simulation.running.len());
                simulation.step(which);
            }
        }
        simulation.history
    }

    fn begin(&mut self, n: usize) {
        let pin = ["1", "2"].choose(&mut self.rng).unwrap().to_string();
        let (asked, step) = match self.rng.random_range(0..10) {
            0..3 => {
                let guesses = self.rng.random_range(1..4);
                (Asked::Register { pin, secret: format!("s{n}"), guesses }, Step::Register2)
            }
            3 => (Asked::Delete, Step::Delete),
            _ => (Asked::Recover { pin }, Step::Recover1),
        };
        let operation = operation(asked, &[step], self.now, self.now + 1, Outcome::Done);
        self.running.push(Running { operation, version: 0, late: vec![(step, 0)], over: false });
    }

    /// A message of an operation arrives, whether or not its sender still waits for the answer.
    fn step(&mut self, which: usize) {
        let mut running = self.running.swap_remove(which);
        if let Some((step, version)) = running.late.pop() {
            let outcome = self.act(&mut running, step, version);
            if !running.over {
                match self.rng.random_range(0..10) {
                    // Lost, and sent again; a registration and the last message of a recovery are not.
                    0 if !matches!(step, Step::Register2 | Step::Recover3) => {
                        running.operation.phases.last_mut().unwrap().sent += 1;
                        running.late.push((step, version));
                    }
                    1 => self.end(&mut running, lost()),
                    _ => match outcome {
                        Some(outcome) => self.end(&mut running, outcome),
                        None => {
                            let (step, version) = match step {
                                Step::Recover1 => (Step::Recover2, running.version),
                                _ => (Step::Recover3, version),
                            };
                            running.operation.phases.push(Phase { step, at: self.now, sent: 1 });
                            running.late.push((step, version));
                        }
                    },
                }
            }
        }
        // Given up before the message arrived.
        if !running.over && !running.late.is_empty() && self.rng.random_bool(0.1) {
            self.end(&mut running, lost());
        }
        self.running.push(running);
    }

    fn end(&mut self, running: &mut Running, outcome: Outcome) {
        running.over = true;
        (running.operation.ended, running.operation.outcome) = (self.now, outcome);
        self.history.push(running.operation.clone());
    }

    /// What the record does; `None` if the client goes on.
    fn act(&mut self, running: &mut Running, step: Step, version: u32) -> Option<Outcome> {
        match (step, &running.operation.asked) {
            (Step::Delete, _) => {
                self.record = None;
                return Some(Outcome::Done);
            }
            (Step::Register2, Asked::Register { pin, secret, guesses }) => {
                self.versions += 1;
                self.record = Some((self.versions, pin.clone(), secret.clone(), *guesses, 0));
                return Some(Outcome::Done);
            }
            _ => {}
        }
        let Asked::Recover { pin: tried } = &running.operation.asked else { unreachable!() };
        let Some((there, pin, secret, guesses, used)) = &mut self.record else {
            return Some(Outcome::NotRegistered);
        };
        match step {
            Step::Recover1 if used == guesses => Some(wrong(0)),
            Step::Recover1 => {
                running.version = *there;
                None
            }
            _ if *there != version => Some(Outcome::Changed),
            Step::Recover2 if used == guesses => Some(wrong(0)),
            Step::Recover2 => {
                *used += 1;
                (tried != pin).then(|| wrong(*guesses - *used))
            }
            _ => {
                *used = 0;
                Some(Outcome::Secret(secret.clone()))
            }
        }
    }
}

#[test]
fn whatever_an_honest_record_answers_can_be() {
    for seed in 0..3_000 {
        let history = Simulation::run(seed, 12);
        assert_eq!(check(&history, LIMIT), Ok(()), "seed {seed}");
    }
}

/// Alters one answer.
fn alter(history: &mut [Operation], rng: &mut StdRng) {
    let all = history.len();
    let operation = &mut history[rng.random_range(0..all)];
    operation.outcome = match &operation.outcome {
        Outcome::Wrong { left } => {
            wrong(if rng.random_bool(0.5) { left + 1 } else { left.saturating_sub(1) })
        }
        Outcome::Secret(_) => secret(&format!("s{}", rng.random_range(0..all))),
        Outcome::NotRegistered => wrong(0),
        Outcome::Changed => Outcome::NotRegistered,
        Outcome::Unknown(_) if matches!(operation.asked, Asked::Register { .. } | Asked::Delete) => {
            Outcome::Done
        }
        other => other.clone(),
    };
}

#[test]
fn the_search_finds_an_order_if_and_only_if_there_is_one() {
    let mut counts = [0, 0];
    for seed in 0..2_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut history = Simulation::run(seed, 4);
        alter(&mut history, &mut rng);
        let case = Case::new(&history, Micros::MAX);
        let there_is = search_all(&case);
        counts[usize::from(there_is)] += 1;
        let found = if there_is { Found::Order } else { Found::None };
        assert_eq!(search(&case, LIMIT), found, "seed {seed}: {case:#?}");
    }
    assert!(counts[0] > 200 && counts[1] > 200, "{counts:?}");
}
