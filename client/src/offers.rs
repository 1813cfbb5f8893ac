//! Asks a realm which extensions of the client protocol it offers (`docs/protocol.md`, section 18).
//!
//! It is asked only when an extension is needed, and a realm that does not list one never gets a message of it.

use tokio::sync::watch;

use crate::configuration::Realm;
use crate::error::Cause;
use crate::heads::Asks;
use crate::link::Link;
use crate::retry::Backoff;

/// The longest list that is read, in bytes.
const MOST: usize = 4096;

impl Link {
    /// Whether a realm offers to stage registrations. One that shows no list offers nothing.
    pub(crate) async fn offers_staging(
        &self,
        realm: &Realm,
        enough: watch::Receiver<bool>,
    ) -> Result<bool, Cause> {
        if let Some(known) = self.extensions.known_staging(&realm.id()) {
            return Ok(known);
        }
        let mut backoff = Backoff::new(self.retry, enough.clone());
        loop {
            match self.read(realm, Asks::Anybody, "extensions", MOST, &enough).await {
                // What is no list may be from something in front of the realm, and pass: it can be asked again when it is needed again.
                Ok(shown) => {
                    return Ok(self
                        .extensions
                        .learn(realm.id(), shown.as_deref().map(AsRef::as_ref))
                        .unwrap_or(false));
                }
                Err(failure) if !failure.is_transient() => return Ok(false),
                Err(_) if backoff.quick_pause().await => {}
                Err(failure) => return Err(failure.into_cause()),
            }
        }
    }
}
