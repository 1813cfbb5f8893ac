//! The options of a run, and the command that runs it again.

use super::store::Kind;
use std::fmt;

/// The options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed of the users and the faults. When things happen does not depend on it: these are real processes.
    pub seed: u64,
    /// How long faults go on.
    pub minutes: f64,
    /// The store.
    pub store: Kind,
    /// How many users there are at a time.
    pub users: usize,
    /// Whether there are five hosts and two groups, with prefixes that move all the time, and an HSM that is replaced in
    /// the end.
    pub moves: bool,
    /// Whether logs and history of a good run are kept as well.
    pub keep: bool,
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, minutes, users, moves, .. } = self;
        let store = if self.store == Kind::S3 { "s3" } else { "folder" };
        write!(
            f,
            "strongroom-sim chaos --seed {seed} --minutes {minutes} --store {store} --users {users}{}",
            if *moves { " --moves" } else { "" }
        )
    }
}
