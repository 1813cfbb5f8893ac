//! Why a command failed, to be shown to the person who gave it.

use super::line::LineError;
use crate::admin::AdminError;
use crate::check::{CheckError, RebuildError};
use crate::daemon::{Ended, StartError};
use crate::file::FileError;
use crate::store::StoreError;
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
    /// A bug ended a task of the agent.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The agent or its HSM did not do it.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A check could not be finished.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// A tree was not made again.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// A check found something.
    #[error("{0} things are wrong; they are listed above")]
    Found(usize),
    /// A line of text is not what was asked for.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The words on the device's console are not those of what a custodian was handed. Which would be right is not said: they
    /// would be copied from here.
    #[error(
        "these are not the words for the {name}: type the six words that the device's console shows behind `{name}`, and nothing \
         else. If you did, you were handed another device or realm than the one you are looking at: do not sign"
    )]
    OtherWords {
        /// What was compared.
        name: &'static str,
    },
    /// The console does not say that the realm's keys were drawn in that HSM.
    #[error(
        "a founding is signed only where the console says `drawn here` of its keys: elsewhere a host may know them. If it says \
         something else, do not sign"
    )]
    NotDrawnHere,
    /// A founding that does not count.
    #[error("this founding does not count: {0}; have custodians sign what `realm create` printed here")]
    Founding(&'static str),
    /// A founding that could not be kept.
    #[error("the object store did not accept the founding; check that it answers, and run this again")]
    FoundingNotKept,
    /// A custodian's or an operator's key.
    #[error("{}: {message}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// The arguments do not go together.
    #[error("{0}")]
    Arguments(&'static str),
    /// The system refuses threads, signals or output.
    #[error("cannot go on: {0}")]
    System(#[from] std::io::Error),
    /// The arguments do not go together; with a file or a name in it.
    #[error("{0}")]
    Usage(String),
    /// There is no configuration.
    #[error(
        "there is no {}: give the commands in the folder of an agent's configuration, or name it with `--config FILE`; for an \
         agent elsewhere, name that with `--agent URL --identity FILE`",
        .0.display()
    )]
    NoConfig(PathBuf),
    /// There is no terminal to ask on.
    #[error("{0}; there is no terminal to ask on: add --yes if you mean it")]
    Unasked(String),
    /// A person thought better of it.
    #[error("nothing was changed")]
    Unconfirmed,
    /// Groups that do not serve, each with its cause.
    #[error("{0}")]
    NotServing(String),
    /// Agents that must be stopped first.
    #[error(
        "an agent runs at {0}: while the tree is made again, it would go on with the old one. Stop all agents of the group \
         first; if this one is of another group, name the store with --store"
    )]
    AgentsRun(String),
}
