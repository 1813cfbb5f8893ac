//! The client: what its operations share.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};

use getrandom::SysRng;
use rand_core::{CryptoRng, UnwrapErr};
use strongroom_proto::client::RegistrationVersion;
use strongroom_proto::pin::{InputTooLong, StretchedPin, stretch};
use tokio::task::spawn_blocking;

use crate::auth::AuthTokens;
use crate::bug::Bugs;
use crate::configuration::Configuration;
use crate::link::Link;
use crate::pin::Pin;
use crate::retry::RetryPolicy;
use crate::routes::Routes;
use crate::session::Sessions;
use crate::transport::Transport;

/// Registers, recovers and deletes one user's secret at the realms of a configuration.
///
/// Keeps Noise sessions for a few seconds, so use one client for a sequence of operations. Operations may run at the
/// same time; those of one user then compete, as they would from two devices.
pub struct Client {
    pub(crate) configuration: Configuration,
    pub(crate) previous: Vec<Configuration>,
    pub(crate) link: Link,
    progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
}

/// The step that an operation begins.
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
    /// Has the realms evaluate the PIN.
    Recover2,
    /// Fetches the shares of the secret's key.
    Recover3,
    /// Has the realms delete.
    Delete,
}

impl Client {
    /// A client that registers with `configuration`, and recovers from it or else from the first of `previous` that
    /// knows the user. Draws from the operating system and retries by the default [`RetryPolicy`].
    pub fn new(
        configuration: Configuration,
        previous: Vec<Configuration>,
        tokens: impl AuthTokens + 'static,
        transport: impl Transport + 'static,
    ) -> Self {
        let link = Link {
            tokens: Arc::new(tokens),
            transport: Arc::new(transport),
            rng: Mutex::new(Box::new(UnwrapErr(SysRng))),
            retry: RetryPolicy::default(),
            sessions: Sessions::default(),
            routes: Routes::default(),
            bugs: Bugs::default(),
        };
        Self { configuration, previous, link, progress: None }
    }

    /// Retries by another policy.
    #[must_use]
    pub fn with_retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.link.retry = policy;
        self
    }

    /// Draws from another generator. Whoever can predict it learns the secret.
    #[must_use]
    pub fn with_rng(mut self, rng: impl CryptoRng + Send + 'static) -> Self {
        self.link.rng = Mutex::new(Box::new(rng));
        self
    }

    /// Calls `progress` at the beginning of every step.
    #[must_use]
    pub fn with_progress(mut self, progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Leaves a rule out.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn with_planted_bug(mut self, bug: crate::bug::Bug) -> Self {
        self.link.bugs.planted = Some(bug);
        self
    }

    pub(crate) fn report(&self, step: Progress) {
        if let Some(progress) = &self.progress {
            progress(step);
        }
    }

    /// Stretches a PIN on a thread where it holds nothing up.
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
