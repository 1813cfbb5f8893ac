//! Why a command failed, to be shown to the person who gave it.

use super::line::LineError;
use crate::admin::AdminError;
use crate::check::{CheckError, RebuildError};
use crate::daemon::{Ended, StartError};
use crate::file::FileError;
use crate::overview::Level;
use crate::store::StoreError;
use crate::transcript::{Fault, TranscriptError};
use crate::usage::ReadError;
use std::path::PathBuf;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A configuration file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The agent does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A bug ended one of the agent's tasks.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The agent or its HSM did not do what was asked.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A check could not be finished.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// A tree was not rebuilt.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// What tenants used could not be read.
    #[error(transparent)]
    Account(#[from] ReadError),
    /// Something else came between each time.
    #[error(
        "the groups go on to decide something else; see that nobody else moves anything of them, and run this again"
    )]
    NotMoved,
    /// More agents than are asked have announced themselves.
    #[error(
        "{0} agents were not asked, and with them groups are left out: too many have announced themselves for a plan of all; move \
             prefixes with `partition move`"
    )]
    TooManyAgents(u32),
    /// The realm's checkpoint key cannot be used.
    #[error(transparent)]
    Publish(#[from] crate::publish::PublishError),
    /// A check found something.
    #[error("{0} things are wrong; they are listed above")]
    Found(usize),
    /// A line of text is not what was asked for.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The words on the device's console are not those of what the custodian was handed. The message does not say which
    /// words would be right: they would be copied from here.
    #[error(
        "these are not the words for the {name}: type the six words that the device's console shows after `{name}`, and nothing \
         else. If you did, you were handed a different device or realm from the one you are looking at: do not sign"
    )]
    OtherWords {
        /// What was compared.
        name: &'static str,
    },
    /// The console does not say that the realm's keys were drawn in that HSM.
    #[error(
        "sign a founding only if the console says `drawn here` about its keys: otherwise a host may know them. If it says \
         something else, do not sign"
    )]
    NotDrawnHere,
    /// A founding that does not count.
    #[error("this founding does not count: {0}; have custodians sign what `realm create` printed here")]
    Founding(&'static str),
    /// A founding that could not be kept.
    #[error("the object store did not accept the founding; check that it answers, and run this again")]
    FoundingNotKept,
    /// A statement that does not count.
    #[error("this statement does not count: {0}")]
    Statement(String),
    /// A statement that is not newer than one that exists.
    #[error(
        "this is version {offered} of the statement, and another of version {known} exists; a newer one has a higher number: draft it \
         again"
    )]
    NotNewer {
        /// The version that it has.
        offered: u64,
        /// The version that exists.
        known: u64,
    },
    /// A statement that could not be kept.
    #[error(
        "the object store did not accept the statement, or has another one now; check that it answers, look with `realm statement show`, \
         and run this again"
    )]
    StatementNotKept,
    /// A tenant's key for its events.
    #[error("the key was not published: {0}")]
    NotPublished(String),
    /// A custodian's or an operator's key.
    #[error("{}: {message}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// The transcript cannot be added to. Nothing was done.
    #[error(transparent)]
    NotBegun(#[from] TranscriptError),
    /// What was done is not in the transcript.
    #[error(
        "IT IS DONE, and what is printed above is good, but the transcript does not say so: {0}. Write down what happened, and have \
         the custodians decide whether to go on"
    )]
    NotRecorded(TranscriptError),
    /// What was done is not what the transcript says was to be done.
    #[error(
        "IT IS DONE, and what came of it contradicts the transcript: {0}. Do not go on with what is printed above: keep it, write down \
         what happened, and have the custodians find out which of the two is wrong"
    )]
    Contradicted(TranscriptError),
    /// What is asked to run as a rehearsal is no rehearsal's.
    #[error(
        "nothing was done: --rehearsal is for the HSMs and keys that `realm rehearse` makes, and {0} is none of them; what a real one \
         makes is real. Leave it out, or run `realm rehearse`"
    )]
    NoRehearsal(String),
    /// A rehearsal that stopped.
    #[error("the rehearsal did not reach its end: {0}; run it again, with another `--transcript FILE`")]
    Rehearsal(String),
    /// What a rehearsal made is still there.
    #[error(
        "the folder of the rehearsal, {}, may still be there ({source}): end what still runs in it, and delete it. Its keys are of no \
         use, and its HSMs real to nobody", path.display()
    )]
    NotCleared {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A transcript that does not verify.
    #[error("{}, {fault}", path.display())]
    Transcript {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        fault: Fault,
    },
    /// The arguments do not go together.
    #[error("{0}")]
    Arguments(&'static str),
    /// The system refused threads, signals or output.
    #[error("cannot go on: {0}")]
    System(#[from] std::io::Error),
    /// The arguments do not go together; with a file or a name in it.
    #[error("{0}")]
    Usage(String),
    /// There is no configuration file.
    #[error(
        "there is no {}: run this in the folder of an agent's configuration, or name it with `--config FILE`; for an \
         agent elsewhere, name that with `--agent URL --identity FILE`",
        .0.display()
    )]
    NoConfig(PathBuf),
    /// There is no terminal to ask on.
    #[error("{0}; there is no terminal to ask on: add --yes if you mean it")]
    Unasked(String),
    /// The person did not confirm.
    #[error("nothing was changed")]
    Unconfirmed,
    /// Groups that do not serve, each with the reason.
    #[error("{0}")]
    NotServing(String),
    /// Something is the matter with the realm.
    #[error("{}: {line}", level.name())]
    NotWell {
        /// How bad it is.
        level: Level,
        /// What is the matter.
        line: String,
    },
    /// No agent can say how the realm is doing.
    #[error("it is not known how the realm is doing: {0}")]
    NotKnown(Box<CliError>),
    /// Agents that must be stopped first.
    #[error(
        "an agent runs at {0}: during the rebuild, it would go on with the old tree. Stop all agents of the group \
         first; if this one belongs to another group, name the store with --store"
    )]
    AgentsRun(String),
}

impl CliError {
    /// The code with which the command exits.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::NotWell { level: Level::Bad, .. } | Self::NotKnown(_) => 2,
            _ => 1,
        }
    }
}
