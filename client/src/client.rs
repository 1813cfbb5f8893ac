//! The client: what its operations share.

use std::fmt;
use std::panic::resume_unwind;

use strongroom_client_crypto::pin::{InputTooLong, StretchedPin, stretch};
use strongroom_proto::client::RegistrationVersion;
use tokio::task::spawn_blocking;

use crate::configuration::Configuration;
use crate::heads::Heads;
use crate::link::Link;
use crate::pin::Pin;

/// Registers, recovers and deletes one user's secret at the realms of a configuration.
///
/// It keeps Noise sessions open for a few seconds, so use one client for a sequence of operations. Operations may run
/// concurrently; those of one user then compete, as they would from two devices.
pub struct Client {
    pub(crate) configuration: Configuration,
    pub(crate) previous: Vec<Configuration>,
    pub(crate) link: Link,
    /// What the application demands of realms' logs, if anything.
    pub(crate) heads: Option<Heads>,
    pub(crate) on_progress: Option<Box<OnProgress>>,
}

/// The application's callback for the beginning of every step.
pub(crate) type OnProgress = dyn Fn(Progress) + Send + Sync;

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
}

impl Client {
    /// Leaves a rule out.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn with_planted_bug(mut self, bug: crate::bug::Bug) -> Self {
        self.link.bugs.planted = Some(bug);
        self
    }

    pub(crate) fn report(&self, step: Progress) {
        if let Some(report) = &self.on_progress {
            report(step);
        }
    }

    /// Stretches a PIN on a thread where that holds nothing up.
    pub(crate) async fn stretch(
        &self,
        configuration: &Configuration,
        pin: &Pin,
        version: &RegistrationVersion,
        user_info: &[u8],
    ) -> Result<StretchedPin, InputTooLong> {
        self.report(Progress::Stretch);
        let (mode, pin, version, user_info) =
            (configuration.pin_hashing_mode(), pin.clone(), *version, user_info.to_vec());
        let stretched = spawn_blocking(move || stretch(mode, pin.as_bytes(), &version, &user_info)).await;
        // The task is never cancelled; if it panics, so does its caller.
        stretched.unwrap_or_else(|error| resume_unwind(error.into_panic()))
    }
}
