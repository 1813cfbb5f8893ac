//! The client: what its operations share.

use std::fmt;
use std::sync::Arc;

use futures::lock::{Mutex as AsyncMutex, MutexGuard};
use parking_lot::Mutex;
use strongroom_client_crypto::pin::{InputTooLong, StretchedPin};
use strongroom_proto::client::RegistrationVersion;

use crate::bug::Bug;
use crate::configuration::Configuration;
use crate::heads::Heads;
use crate::link::Link;
use crate::pin::Pin;
use crate::runtime::Callback;
use crate::stragglers::{Stragglers, Turn};
use crate::stretch::{Stretcher, Stretching};

/// Registers, recovers and deletes one user's secret at the realms of a configuration.
///
/// It keeps Noise sessions open for a few seconds, so use one client for a sequence of operations. Operations may run
/// concurrently; those that replace a registration, which are register, delete, change the PIN and repair, wait for each other.
pub struct Client {
    pub(crate) configuration: Configuration,
    pub(crate) previous: Vec<Configuration>,
    pub(crate) link: Arc<Link>,
    /// What operations that have answered left under way.
    pub(crate) stragglers: Stragglers,
    /// What the application demands of realms' logs, if anything.
    pub(crate) heads: Option<Arc<Heads>>,
    /// The registration with the current configuration that this client last made, or opened.
    pub(crate) opened: Mutex<Option<RegistrationVersion>>,
    /// Held by what replaces registrations: one after the other, or none might be at enough realms in the end.
    pub(crate) replacing: AsyncMutex<()>,
    pub(crate) on_progress: Option<Box<Callback<Progress>>>,
    pub(crate) stretcher: Arc<dyn Stretcher>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secret: what is left out holds tokens, the keys of sessions, and the state of a generator.
        f.debug_struct("Client")
            .field("configuration", &self.configuration)
            .field("previous", &self.previous)
            .field("retry", &self.link.retry)
            .finish_non_exhaustive()
    }
}

/// The step that an operation is beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Progress {
    /// Asks the realms whether they are there.
    Register1,
    /// Stretches the PIN: a fraction of a second of computing.
    Stretch,
    /// Sends the realms their shares.
    Register2,
    /// Asks the realms what is registered.
    Recover1,
    /// Looks at the heads of realms' logs, if the application demands any.
    Heads,
    /// Has the realms evaluate the PIN.
    Recover2,
    /// Fetches the shares of the secret's key.
    Recover3,
    /// Has the realms delete.
    Delete,
    /// Asks the realms which requests counted.
    Attempts,
    /// Waits for checkpoints that cover what they said.
    Receipts,
    /// Asks the realms what is registered, and what is staged beside it.
    Versions,
    /// Has the realms put a new registration beside the present one.
    Stage,
    /// Has the realms put the new registration in the place of the present one.
    Activate,
}

impl Client {
    /// Leaves a rule out.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn with_planted_bug(mut self, bug: Bug) -> Self {
        let link = Arc::get_mut(&mut self.link).expect("nothing is under way");
        link.bugs.planted = Some(bug);
        self
    }

    /// Waits for what operations of this client have left under way: a registration and a recovery answer as soon as enough realms
    /// agree, and the others are sent their part in the background, for at most [`RetryPolicy::straggling`](crate::RetryPolicy) each.
    /// Without this, a client that is dropped abandons them: a realm may then miss a registration, or keep counting a guess that was
    /// right. A program calls it before it ends. The client can be used afterwards.
    pub async fn close(&self) {
        self.stragglers.turn().all_come().await;
    }

    /// The place of an operation that begins now.
    pub(crate) fn turn(&self) -> Turn {
        if self.link.bugs.has(Bug::AskOutOfTurn) { Turn::default() } else { self.stragglers.turn() }
    }

    /// Comes once no other operation of this client replaces registrations, and holds that until it is dropped.
    pub(crate) async fn alone(&self) -> Option<MutexGuard<'_, ()>> {
        if self.link.bugs.has(Bug::ReplaceAtOnce) { None } else { Some(self.replacing.lock().await) }
    }

    pub(crate) fn report(&self, step: Progress) {
        if let Some(report) = &self.on_progress {
            report(step);
        }
    }

    /// Stretches a PIN where that holds nothing up.
    pub(crate) async fn stretch(
        &self,
        configuration: &Configuration,
        pin: &Pin,
        version: &RegistrationVersion,
        user_info: &[u8],
    ) -> Result<StretchedPin, InputTooLong> {
        self.report(Progress::Stretch);
        let mode = configuration.pin_hashing_mode();
        let (pin, version, user_info) = (pin.clone(), *version, user_info.to_vec());
        self.stretcher.stretch(Stretching { mode, pin, version, user_info }).await
    }
}
