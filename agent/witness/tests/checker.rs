//! A monitor that compares all that a witness has cosigned, over schedules of requests, lies, crashes and disks that fail; and
//! witnesses with a bug, which it must notice.

mod common;

use common::{Hand, Log, witness_key};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use strongroom_proto::ids::TreeHash;
use strongroom_tlog::add_checkpoint::parse_cosignatures;
use strongroom_tlog::{AddCheckpoint, Note};
use strongroom_witness::witness::{Answer, Head, Storage, StorageError, Witness};

/// How a disk lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Disk {
    Honest,
    /// Says that a head is kept, and keeps it only when the next one comes.
    Late,
    /// Says that a head is kept, and does not.
    Forgetful,
    /// The same, if only the time is another.
    ForgetsTimes,
}

/// What a disk holds, across restarts.
#[derive(Clone)]
struct Kept {
    disk: Disk,
    heads: Arc<Mutex<BTreeMap<String, Head>>>,
    late: Arc<Mutex<Option<Head>>>,
    /// Whether the next write fails, and whether it was done nevertheless.
    fails: Arc<Mutex<Option<bool>>>,
}

impl Kept {
    fn on(disk: Disk) -> Self {
        Self { disk, heads: Arc::default(), late: Arc::default(), fails: Arc::default() }
    }

    fn put(&self, head: Head) {
        self.heads.lock().unwrap().insert(head.checkpoint.origin().into(), head);
    }
}

impl Storage for Kept {
    fn load(&self, origin: &str) -> Result<Option<Head>, StorageError> {
        Ok(self.heads.lock().unwrap().get(origin).cloned())
    }

    fn keep(&self, head: &Head) -> Result<(), StorageError> {
        if let Some(done) = self.fails.lock().unwrap().take() {
            if done {
                self.put(head.clone());
            }
            return Err("the disk failed".into());
        }
        match self.disk {
            Disk::Honest => self.put(head.clone()),
            Disk::Late => {
                if let Some(earlier) = self.late.lock().unwrap().replace(head.clone()) {
                    self.put(earlier);
                }
            }
            Disk::Forgetful => {}
            Disk::ForgetsTimes => {
                let kept = self.heads.lock().unwrap().get(head.checkpoint.origin()).cloned();
                if kept.is_none_or(|kept| kept.checkpoint != head.checkpoint) {
                    self.put(head.clone());
                }
            }
        }
        Ok(())
    }
}

/// All that was cosigned: the leaves under it and the time, in the order in which the cosignatures came.
#[derive(Default)]
struct Monitor {
    cosigned: Vec<(Vec<TreeHash>, u64)>,
}

impl Monitor {
    /// Whether each tree begins with the one before, and no time is earlier. It compares leaves, and knows nothing of proofs.
    fn is_content(&self) -> bool {
        self.cosigned.windows(2).all(|pair| pair[1].0.starts_with(&pair[0].0) && pair[1].1 >= pair[0].1)
    }
}

/// The time in a cosignature.
fn time_of(line: &str, request: &AddCheckpoint) -> u64 {
    let lines = parse_cosignatures(line.as_bytes()).unwrap();
    let note = Note::new(request.checkpoint.note().text(), lines).unwrap();
    note.verify(&[witness_key().verifier().clone()]).unwrap()[0].time.unwrap()
}

/// A schedule: whether the monitor is content, and how much was cosigned.
fn run(seed: u64, disk: Disk) -> (bool, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let log = Log::new(64);
    let branches = [log.clone(), log.forked_at(5), log.forked_at(20), log.forked_at(21)];
    let (clock, kept) = (Hand::at(1000), Kept::on(disk));
    let open =
        |kept: &Kept| Witness::open(witness_key(), [log.policy()], kept.clone(), clock.clock()).unwrap();
    let mut witness = open(&kept);
    let mut monitor = Monitor::default();
    for step in 0..120 {
        // It runs fast, and is set right now and then.
        clock.set(1000 + step + step % 7 * 3);
        if random.random_ratio(1, 8) {
            witness = open(&kept);
        }
        if random.random_ratio(1, 8) {
            *kept.fails.lock().unwrap() = Some(random.random());
        }
        let known = witness.sizes().next().unwrap().1;
        let branch = &branches[random.random_range(0..branches.len())];
        let other = &branches[random.random_range(0..branches.len())];
        let old = if random.random_ratio(1, 4) { random.random_range(0..=64) } else { known };
        let size = random.random_range(0..=(known + 4).min(64)).max(if random.random() { known } else { 0 });
        let proof = match random.random_range(0..4) {
            0 if old <= size => other.proof(old, size),
            _ if old <= size => branch.proof(old, size),
            _ => vec![],
        };
        let request = branch.request_with(old, size, proof);
        if let Answer::Cosigned(line) = witness.add_checkpoint(request.to_string().as_bytes()) {
            monitor.cosigned.push((branch.leaves[..size as usize].to_vec(), time_of(&line, &request)));
        }
    }
    (monitor.is_content(), monitor.cosigned.len())
}

#[test]
fn whatever_happens_what_is_cosigned_only_grows() {
    let mut cosigned = 0;
    for seed in 0..40 {
        let (is_content, count) = run(seed, Disk::Honest);
        assert!(is_content, "seed {seed}");
        cosigned += count;
    }
    // It would also be content with a witness that refuses everything.
    assert!(cosigned > 400, "{cosigned}");
}

#[test]
fn a_witness_that_forgets_is_noticed() {
    for disk in [Disk::Late, Disk::Forgetful, Disk::ForgetsTimes] {
        let noticed = (0..20).filter(|seed| !run(*seed, disk).0).count();
        assert!(noticed > 10, "{disk:?}: {noticed}");
    }
}

#[test]
fn what_cannot_be_kept_is_not_cosigned_and_can_be_asked_again() {
    let log = Log::new(20);
    for done in [false, true] {
        let (clock, kept) = (Hand::at(1000), Kept::on(Disk::Honest));
        let witness = Witness::open(witness_key(), [log.policy()], kept.clone(), clock.clock()).unwrap();
        *kept.fails.lock().unwrap() = Some(done);
        let request = log.request(0, 9).to_string();
        assert_eq!(witness.add_checkpoint(request.as_bytes()), Answer::Unavailable);
        assert!(matches!(witness.add_checkpoint(request.as_bytes()), Answer::Cosigned(_)));
        // If it stopped there, what was kept without a cosignature is what it goes on from.
        *kept.fails.lock().unwrap() = Some(done);
        assert_eq!(witness.add_checkpoint(log.request(9, 12).to_string().as_bytes()), Answer::Unavailable);
        let witness = Witness::open(witness_key(), [log.policy()], kept, clock.clock()).unwrap();
        assert_eq!(witness.sizes().next(), Some((&*log.origin, if done { 12 } else { 9 })));
    }
}

/// A disk during whose write someone asks for a fork.
struct Raced {
    kept: Kept,
    witness: Arc<OnceLock<Arc<Witness<Raced>>>>,
    fork: Mutex<Option<String>>,
    answer: Mutex<Option<Receiver<Answer>>>,
}

impl Storage for Raced {
    fn load(&self, origin: &str) -> Result<Option<Head>, StorageError> {
        self.kept.load(origin)
    }

    fn keep(&self, head: &Head) -> Result<(), StorageError> {
        if let Some(fork) = self.fork.lock().unwrap().take() {
            let witness = Arc::clone(self.witness.get().unwrap());
            let (send, answered) = channel();
            std::thread::spawn(move || send.send(witness.add_checkpoint(fork.as_bytes())));
            // Without a lock, the answer would come while this head is not kept.
            assert!(answered.recv_timeout(Duration::from_millis(100)).is_err(), "answered during a write");
            *self.answer.lock().unwrap() = Some(answered);
        }
        self.kept.keep(head)
    }
}

#[test]
fn a_fork_that_is_asked_for_during_a_write_waits_and_is_refused() {
    let log = Log::new(20);
    let cell = Arc::new(OnceLock::new());
    let fork = log.forked_at(3).request(0, 10).to_string();
    let storage = Raced {
        kept: Kept::on(Disk::Honest),
        witness: Arc::clone(&cell),
        fork: Mutex::new(Some(fork)),
        answer: Mutex::new(None),
    };
    let witness =
        Arc::new(Witness::open(witness_key(), [log.policy()], storage, Hand::at(1000).clock()).unwrap());
    assert!(cell.set(Arc::clone(&witness)).is_ok());
    let answer = witness.add_checkpoint(log.request(0, 9).to_string().as_bytes());
    assert!(matches!(answer, Answer::Cosigned(_)));
    let answered = witness.storage().answer.lock().unwrap().take().unwrap();
    assert_eq!(answered.recv().unwrap(), Answer::Conflict(9));
}
