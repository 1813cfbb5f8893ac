//! How long a phase waits for realms that it could do without.
//!
//! It waits for them because each one that takes part can stand in for another later, and gives its guesses back. It
//! does not wait long, because one that swallows packets would hold up every user whom the others can serve.

use futures::stream::{Stream, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use crate::error::Cause;
use crate::retry::STRAGGLING;

/// The wait of one phase.
#[derive(Default)]
pub(crate) struct Linger {
    until: Option<Instant>,
}

impl Linger {
    /// Notes whether the phase has enough. Once it has, the rest get about another second.
    pub(crate) fn note(&mut self, enough: bool) {
        if enough {
            self.until.get_or_insert_with(|| Instant::now() + STRAGGLING);
        }
    }

    /// What comes next; `None` when nothing is left to come, or nothing came in time.
    pub(crate) async fn next<S: Stream + Unpin>(&self, asked: &mut S) -> Option<S::Item> {
        match self.until {
            None => asked.next().await,
            Some(until) => timeout_at(until, asked.next()).await.ok().flatten(),
        }
    }

    /// Whether the phase had enough.
    pub(crate) fn had_enough(&self) -> bool {
        self.until.is_some()
    }

    /// Why a realm that was not heard in time does not take part. It may still have acted.
    pub(crate) fn late() -> Cause {
        Cause::Transient("nothing came within a second after enough others had answered".to_owned())
    }
}
