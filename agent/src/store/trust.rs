//! Whether an agent may rely on its store, judging by what the probe has found so far.
//!
//! A store that once let two writers win is not trusted again just because it passed a probe: it may let two win only
//! now and then. Until it is trusted, the agent does not serve, says why wherever an operator looks, and keeps asking,
//! slowly.

use super::probe::RACES;
use super::{Store, StoreError};
use parking_lot::{Mutex, MutexGuard};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// First and longest pause after a probe that the store did not answer.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How often a store that was found broken is probed, in how many races each time, and how many probes in a row must
/// find no race with two winners. A store that lets two win in one of a hundred races passes all 300 one time in
/// twenty; one that does so in one of fifty, one time in four hundred.
const DOUBT_PERIOD: Duration = Duration::from_secs(60);
const DOUBT_RACES: u8 = 20;
/// How many probes in a row a store that was once found broken must pass.
pub const CLEAN_PROBES: u32 = 15;

/// What an agent knows about its store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// The probe has not been answered yet.
    #[default]
    Unasked,
    /// It may be relied on.
    Given,
    /// It let two writers win. This many probes in a row have found nothing since.
    Refused { clean: u32 },
}

/// An agent's trust in its store. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    state: Arc<Mutex<State>>,
    given: Gauge,
    broken: Counter,
    clean: Gauge,
    doubting_peers: Gauge,
}

impl Trust {
    /// Enters what is counted, under names that begin with `store_` and `peers_`.
    pub fn register(&self, registry: &mut Registry) {
        let peers = registry.sub_registry_with_prefix("peers");
        peers.register(
            "refusing_store",
            "Peers that do not serve because their probe found the object store broken",
            self.doubting_peers.clone(),
        );
        let store = registry.sub_registry_with_prefix("store");
        store.register(
            "trusted",
            "Whether the object store passed the probe, so that this agent serves: 1 or 0",
            self.given.clone(),
        );
        store.register(
            "broken_probes",
            "Probes in which the object store let two writers create one object",
            self.broken.clone(),
        );
        store.register(
            "clean_probes",
            "Probes in a row that found nothing, since one found the object store broken",
            self.clean.clone(),
        );
    }

    /// Whether the store may be relied on.
    #[must_use]
    pub fn is_given(&self) -> bool {
        *self.state() == State::Given
    }

    /// Why the agent does not serve, if it does not.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        match *self.state() {
            State::Given => None,
            State::Unasked => Some(
                "the store has not answered everything that the probe asks at the start; check that it can be reached"
                    .into(),
            ),
            State::Refused { clean } => Some(format!(
                "{}; it is probed once a minute, and trusted again when {CLEAN_PROBES} probes in a row find nothing \
                 ({clean} so far)",
                StoreError::OverwritesOnCreate
            )),
        }
    }

    /// Whether the store was found broken and has not been trusted since.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(*self.state(), State::Refused { .. })
    }

    /// Records how many peers have found the store broken.
    pub(crate) fn set_doubting_peers(&self, peers: usize) {
        self.doubting_peers.set(i64::try_from(peers).unwrap_or(i64::MAX));
    }

    /// Probes the store until it may be relied on.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub async fn earn(&self, store: &Store) -> Result<(), getrandom::Error> {
        let (first, longest) = RETRY;
        let mut retry = first;
        loop {
            let refused = self.is_refused();
            let races = if refused { DOUBT_RACES } else { RACES };
            let mut salt = [0; 16];
            getrandom::fill(&mut salt)?;
            let found = store.probe_in(salt, races).await;
            let answered = !matches!(found, Ok(false));
            self.probed(found);
            if self.is_given() {
                return Ok(());
            }
            if self.is_refused() {
                sleep(DOUBT_PERIOD).await;
            } else {
                sleep(retry).await;
                retry = if answered { first } else { (retry * 2).min(longest) };
            }
        }
    }

    /// Records what a probe has found.
    fn probed(&self, found: Result<bool, StoreError>) {
        let mut state = self.state();
        let next = match (*state, &found) {
            (_, Err(_)) => State::Refused { clean: 0 },
            // It shows nothing, neither good nor bad.
            (known, Ok(false)) => known,
            (State::Refused { clean }, Ok(true)) if clean + 1 < CLEAN_PROBES => {
                State::Refused { clean: clean + 1 }
            }
            (_, Ok(true)) => State::Given,
        };
        if let Err(error) = found {
            self.broken.inc();
            tracing::error!(%error, "the agent refuses to serve, and probes the store once a minute");
        } else if next != *state {
            match next {
                State::Refused { clean } => tracing::warn!(
                    clean,
                    wanted = CLEAN_PROBES,
                    "a probe of the store found nothing wrong; the agent does not trust it yet, and refuses to serve"
                ),
                State::Given if *state != State::Unasked => {
                    tracing::warn!("the store has passed enough probes in a row; the agent serves again");
                }
                State::Given | State::Unasked => {}
            }
        }
        *state = next;
        self.given.set((next == State::Given).into());
        self.clean.set(if let State::Refused { clean } = next { clean.into() } else { 0 });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Result<bool, StoreError> {
        Err(StoreError::OverwritesOnCreate)
    }

    #[test]
    fn a_store_that_is_clean_at_once_is_trusted_at_once_and_one_that_does_not_answer_is_not() {
        let trust = Trust::default();
        assert!(!trust.is_given() && trust.why_not().is_some_and(|why| why.contains("has not answered")));
        trust.probed(Ok(false));
        assert!(!trust.is_given() && !trust.is_refused());
        trust.probed(Ok(true));
        assert!(trust.is_given() && trust.why_not().is_none());
    }

    #[test]
    fn a_store_that_let_two_win_is_trusted_only_after_many_clean_probes_in_a_row() {
        let trust = Trust::default();
        trust.probed(broken());
        let why = trust.why_not().expect("it does not serve");
        assert!(why.contains("conditional writes") && why.contains("(0 so far)"), "{why}");
        for clean in 1..CLEAN_PROBES {
            trust.probed(Ok(true));
            // A probe that shows nothing neither counts nor resets the count.
            trust.probed(Ok(false));
            assert!(trust.why_not().is_some_and(|why| why.contains(&format!("({clean} so far)"))));
        }
        trust.probed(broken());
        for _ in 1..CLEAN_PROBES {
            trust.probed(Ok(true));
            assert!(trust.is_refused(), "from the beginning");
        }
        trust.probed(Ok(true));
        assert!(trust.is_given());
    }
}
