//! What was measured, as the file that `--json` writes and `--against` reads.

use super::machine::Machine;
use super::numbers::per;
use crate::{replay_bench, tree_bench};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format of the file: one that reads differently has another number.
pub(super) const FORMAT: u32 = 2;

/// What a million calls cost, in dollars.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the kinds of calls, as agents count them")]
pub struct Prices {
    pub put: f64,
    pub get: f64,
    pub list: f64,
    pub delete: f64,
}

/// S3 Standard in us-east-1: the list prices of 2026, without storage and traffic.
pub const PRICES: Prices = Prices { put: 5.0, get: 0.4, list: 5.0, delete: 0.0 };

/// Everything that one run measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The format of this file.
    pub format: u32,
    /// Where.
    pub machine: Machine,
    /// How long it took, in seconds.
    pub took_s: f64,
    /// What calls to the store were taken to cost, in dollars per million.
    pub dollars_per_million_calls: Prices,
    /// What a realm of three processes serves, on each store.
    #[serde(default)]
    pub service: Vec<Service>,
    /// How long users wait when the leader goes.
    #[serde(default)]
    pub failover: Vec<Failover>,
    /// What the move of a prefix costs, beside clients that recover.
    #[serde(default)]
    pub moving: Vec<Moving>,
    /// What the HSM core takes, without any agent, link or NVRAM.
    #[serde(default)]
    pub core: Vec<Core>,
    /// Why the core's instructions were not counted, if they were not.
    #[serde(default)]
    pub uncounted: Option<String>,
    /// What it costs to find a group's leader, in a realm of more and more groups.
    #[serde(default)]
    pub growth: Vec<Growth>,
    /// What the stored tree costs.
    #[serde(default)]
    pub tree: Option<tree_bench::Cost>,
    /// How long a leader takes that has lost everything but the log.
    #[serde(default)]
    pub replay: Option<replay_bench::Cost>,
}

impl Report {
    /// One of which nothing is measured yet.
    pub(super) const fn new(machine: Machine) -> Self {
        Self {
            format: FORMAT,
            machine,
            took_s: 0.0,
            dollars_per_million_calls: PRICES,
            service: Vec::new(),
            failover: Vec::new(),
            moving: Vec::new(),
            core: Vec::new(),
            uncounted: None,
            growth: Vec::new(),
            tree: None,
            replay: None,
        }
    }
}

/// What a realm serves on one store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The store, such as `memory://`.
    pub store: String,
    /// By how long its PUTs are delayed.
    pub put_ms: u64,
    /// While nobody asks for anything.
    pub idle: Idle,
    /// With more and more clients.
    pub loads: Vec<Load>,
}

/// A realm that nobody asks for anything.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// For how long.
    pub seconds: f64,
    /// How much of one core each process keeps busy, in percent; one that the system does not report is missing.
    pub percent_of_a_core: BTreeMap<String, f64>,
    /// Calls to the store by purpose and kind.
    pub calls: BTreeMap<String, u64>,
}

/// What so many clients get, each of which begins a recovery when its last one has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// How many clients.
    pub clients: usize,
    /// For how long.
    pub seconds: f64,
    /// Whole recoveries that ended in this time.
    pub recoveries: u64,
    /// Recoveries that failed in this time.
    pub failed: u64,
    /// Whole recoveries each second.
    pub per_second: f64,
    /// How long half of the recoveries took at most; nothing if there was none.
    pub p50_ms: Option<f64>,
    /// How long 95 of 100 took at most.
    pub p95_ms: Option<f64>,
    /// How long 99 of 100 took at most.
    pub p99_ms: Option<f64>,
    /// Calls to the store by purpose and kind, such as `log put`: those of all agents.
    pub calls: BTreeMap<String, u64>,
    /// Those of them that had no answer.
    pub failed_calls: BTreeMap<String, u64>,
    /// The calls for 1,000 recoveries.
    pub calls_per_1000: BTreeMap<String, f64>,
    /// What the calls for a million recoveries cost.
    pub dollars_per_million: Option<f64>,
    /// How long each process kept a processor busy, in milliseconds; one that the system does not report is missing.
    pub processor_ms: BTreeMap<String, f64>,
    /// Processor time of all agents for one recovery, in milliseconds.
    pub agents_ms: Option<f64>,
    /// Processor time of all HSMs for one recovery, in milliseconds.
    pub hsms_ms: Option<f64>,
    /// How many times as much the agents take as the HSMs.
    pub agents_to_hsms: Option<f64>,
    /// The host whose HSM led, counted from 1; 0 if that changed meanwhile, so that the numbers are of little use.
    pub leader: usize,
}

/// How long users wait when the leader goes, on one store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failover {
    /// The store, such as `file://`.
    pub store: String,
    /// By how long its PUTs are delayed.
    pub put_ms: u64,
    /// Each way in which it goes.
    pub ways: Vec<Way>,
}

/// One way in which a leader goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// Which.
    pub way: String,
    /// How often.
    pub trials: usize,
    /// From the fault to the first recovery that began after it and succeeded: the middle of all trials.
    pub p50_ms: Option<f64>,
    /// That of 95 of 100 trials, at most; with fewer than 20 trials, of all.
    pub p95_ms: Option<f64>,
    /// That of the slowest trial.
    pub most_ms: Option<f64>,
    /// That of each trial in which one succeeded.
    pub until_served_ms: Vec<f64>,
    /// How long the recovery of the unluckiest client took.
    pub slowest_client_ms: Option<f64>,
    /// How many clients there were, in all trials.
    pub clients: usize,
    /// How many of them got an error.
    pub failed: usize,
}

/// A prefix that moves from one group to another and back, on one store, beside clients that recover.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moving {
    /// The store, such as `file://`.
    pub store: String,
    /// By how long its PUTs are delayed.
    pub put_ms: u64,
    /// How many clients there were, each of which begins a recovery when its last one has ended.
    pub clients: usize,
    /// How many of them have records below the prefix.
    pub clients_below: usize,
    /// How many records are below the prefix, in all.
    pub records: u64,
    /// How long it took to register those that are not the clients'.
    pub filled_s: f64,
    /// Each move.
    pub moves: Vec<Move>,
}

/// One move.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// `there` or `back`.
    pub way: String,
    /// Records that were copied before the prefix changed hands, by what the agent says.
    pub copied: u64,
    /// Records that had changed meanwhile, and were copied after that.
    pub changed: u64,
    /// Bytes that all agents sent to the store for their trees, from the beginning to the end of the move.
    pub sent_bytes: u64,
    /// Bytes that they received from it for that.
    pub received_bytes: u64,
    /// From the beginning until the old group had let go of the prefix.
    pub copying_s: f64,
    /// The longest time in which no recovery of a record below the prefix ended well.
    pub unserved_ms: f64,
    /// From the beginning to the end.
    pub whole_s: f64,
    /// What the clients got before.
    pub before: Span,
    /// From the beginning to the end.
    pub during: Span,
    /// And after it.
    pub after: Span,
}

impl Move {
    /// How many times as long a recovery takes during the move, at the 95th percentile.
    #[must_use]
    pub fn p95_ratio(&self) -> Option<f64> {
        per(self.during.p95_ms?, self.before.p95_ms?)
    }
}

/// What clients got in some time, and what that took.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// How long.
    pub seconds: f64,
    /// Whole recoveries that ended in this time.
    pub recoveries: u64,
    /// Recoveries that failed in this time, after all that the SDK tries.
    pub failed: u64,
    /// Messages that the SDK sent once more, and that may have reached an HSM.
    pub sent_again: u64,
    /// How often an HSM began to lead a group. On a machine with nothing else to do none does; where one did, users waited for
    /// it, and the row says little about the move.
    pub elections: u64,
    /// Whole recoveries each second.
    pub per_second: f64,
    /// How long half of the recoveries took at most; nothing if there was none.
    pub p50_ms: Option<f64>,
    /// How long 95 of 100 took at most.
    pub p95_ms: Option<f64>,
    /// How long 99 of 100 took at most.
    pub p99_ms: Option<f64>,
    /// How long the slowest took.
    pub most_ms: Option<f64>,
    /// Calls to the store by purpose and kind, such as `tree get`: those of all agents.
    pub calls: BTreeMap<String, u64>,
    /// How long each process kept a processor busy, in milliseconds; one that the system does not report is missing.
    pub processor_ms: BTreeMap<String, f64>,
    /// How much memory of its own each agent had at most, in MiB, looked at ten times a second.
    pub memory_mib: BTreeMap<String, f64>,
}

/// What the HSM core takes for one request of a batch: the middle of several rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Core {
    /// How many records the tree has, going by the length of the paths.
    pub records: u64,
    /// How many requests a batch has.
    pub batch: usize,
    /// In microseconds.
    pub us: Phases,
    /// In instructions in user mode, if they were counted.
    pub instructions: Option<Phases>,
}

/// What each step of a recovery takes.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phases {
    /// To open a session.
    pub handshake: f64,
    /// To run a Recover1.
    pub recover1: f64,
    /// To draw a nonce, to state to it, and to count statements, for a Recover1.
    pub confirm: f64,
    /// To run a Recover2.
    pub recover2: f64,
    /// To run a Recover3.
    pub recover3: f64,
    /// To capture the entry of a batch.
    pub capture: f64,
    /// To commit it.
    pub commit: f64,
    /// For a whole recovery at the leader: all of these, with two entries.
    pub recovery: f64,
    /// The curve arithmetic of a handshake, alone.
    pub curve_handshake: f64,
    /// The curve arithmetic of a Recover2, alone. No other step has any.
    pub curve_recover2: f64,
}

impl Phases {
    /// Of a handshake, of a Recover2, and of a whole recovery, the part that is curve arithmetic.
    #[must_use]
    pub fn shares(&self) -> [Option<f64>; 3] {
        let curve = self.curve_handshake + self.curve_recover2;
        [
            per(self.curve_handshake, self.handshake),
            per(self.curve_recover2, self.recover2),
            per(curve, self.recovery),
        ]
    }
}

/// What it costs an agent to find the leader of a record's group, if that is not one of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Growth {
    /// How many groups the realm has, of three members each.
    pub groups: usize,
    /// How many of them each HSM is in.
    pub groups_of_an_hsm: usize,
    /// How many agents that makes.
    pub agents: usize,
    /// How many statements about who leads a group they make in all.
    pub claims: usize,
    /// To find the leader and its address, in microseconds: the middle of several rounds.
    pub route_us: f64,
    /// The same in instructions in user mode, if they were counted.
    pub route_instructions: Option<f64>,
    /// To note once what all agents say, in microseconds.
    pub hear_us: f64,
    /// How much memory what is known about a group and its members takes, if the system tells.
    pub bytes_per_group: Option<f64>,
}
