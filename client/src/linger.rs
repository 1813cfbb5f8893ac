//! How long a phase waits for realms that it could do without: not at all, or where what they say could still change what the user is
//! told, about a second.
//!
//! It does not wait long, because one that swallows packets would hold up every user whom the others can serve. What a realm would
//! miss by that, it gets in the background: see [`crate::stragglers`].

use futures::FutureExt as _;
use futures::stream::{Stream, StreamExt as _};

use crate::error::Cause;
use crate::retry::STRAGGLING;
use crate::runtime::{Instant, timeout_at};

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

    /// What has come already, without waiting. By the time nothing has, all are under way.
    pub(crate) fn come<S: Stream + Unpin>(asked: &mut S) -> Option<S::Item> {
        asked.next().now_or_never().flatten()
    }

    /// Whether the phase had enough.
    pub(crate) fn had_enough(&self) -> bool {
        self.until.is_some()
    }

    /// Why a realm does not take part that an operation was certain without. It may still act.
    pub(crate) fn unheard() -> Cause {
        Cause::Transient("nothing had come from it when enough others had answered".to_owned())
    }

    /// Why a realm that was not heard in time does not take part. It may still have acted.
    pub(crate) fn late() -> Cause {
        Cause::Transient("nothing came within a second after enough others had answered".to_owned())
    }
}
