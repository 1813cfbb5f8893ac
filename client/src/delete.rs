//! Deletion (client protocol, section 10): every realm of the current configuration forgets the user.

use strongroom_proto::client::{SecretsRequest, SecretsResponse};

use crate::client::{Client, Progress};
use crate::error::{Cause, Error, Failed, Operation};

impl Client {
    /// Deletes what this user registered at the realms of the current configuration. Needs no PIN, and succeeds
    /// where there is nothing.
    ///
    /// # Errors
    ///
    /// Some realms may still hold their shares: delete again.
    pub async fn delete(&self) -> Result<(), Error> {
        let _alone = self.alone().await;
        self.report(Progress::Delete);
        self.remember_opened(None);
        let questions: Vec<_> =
            self.configuration.members().map(|member| (member, SecretsRequest::Delete)).collect();
        let read = |_, response| match response {
            SecretsResponse::Delete => Ok(()),
            _ => Err(Cause::Assertion("it answered another request than Delete")),
        };
        // Gives up on no realm: a record left behind would stay.
        let mut causes = self.link.ask_all(&self.turn(), questions, |_| false, read).await.causes;
        causes.sort_by_key(|error| error.realm);
        match causes.first() {
            None => Ok(()),
            Some(first) => Err(Failed::with(first.cause.clone(), causes).end(Operation::Delete, false)),
        }
    }
}
