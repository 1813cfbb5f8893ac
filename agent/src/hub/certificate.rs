//! The identity that other agents know this one by: a certificate, issued when its HSM has a realm and again before it
//! expires.
//!
//! Neither the agent secret nor the authority's key stays in memory: the HSM is asked again when something must be
//! issued. What stays is the certificate's own key, which is worth nothing after a day.

use super::Hub;
use crate::peers::{Identity, IssueError, Who, issue_operator};
use std::sync::Arc;
use strongroom_proto::hsm::{AgentSecret, Refusal};
use strongroom_replica::ask::{self, Unanswered};
use zeroize::Zeroizing;

/// Why this agent has no identity, or can issue no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentifyError {
    /// There is no realm to have an identity in.
    #[error("the HSM has no realm yet; make one with `realm create`, or join one with `hsm request`")]
    NoRealm,
    /// No reply.
    #[error("the HSM does not answer")]
    NoAnswer,
    /// The HSM has no secret for agents.
    #[error("the HSM gives no secret for agents; it may be older than this agent: {0}")]
    Refused(Refusal),
    /// No certificate.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl Hub {
    /// Gives this agent the identity of the HSM it has now, under a fresh certificate.
    pub(crate) async fn identify(&self) -> Result<(), IdentifyError> {
        let Some(who) = self.who() else {
            self.identity.send_if_modified(|identity| identity.take().is_some());
            self.certificate_end.set(0);
            return Ok(());
        };
        let good = |identity: &Arc<Identity>| identity.who() == who && !identity.is_old((self.time.unix)());
        if self.identity.borrow().as_ref().is_some_and(good) {
            return Ok(());
        }
        let identity = Identity::issue(who, &self.secrets(who).await?, Arc::clone(&self.time.unix))?;
        tracing::info!(hsm = %who.hsm, epoch = who.epoch, "the agent has a new certificate");
        self.certificate_end.set(i64::try_from(identity.end()).unwrap_or(i64::MAX));
        self.identity.send_replace(Some(Arc::new(identity)));
        Ok(())
    }

    /// A certificate for an operator, in PEM, valid for this many hours.
    pub(crate) async fn certify(&self, hours: u32) -> Result<Zeroizing<String>, IdentifyError> {
        let who = self.who().ok_or(IdentifyError::NoRealm)?;
        Ok(issue_operator(who, &self.secrets(who).await?, &self.time.unix, hours)?)
    }

    fn who(&self) -> Option<Who> {
        let device = self.device()?;
        Some(Who { hsm: device.hsm, realm: device.realm?.realm, epoch: self.epoch })
    }

    // Secret: wiped once the caller has issued what it needs.
    async fn secrets(&self, who: Who) -> Result<Vec<AgentSecret>, IdentifyError> {
        let mut secrets = Vec::new();
        for epoch in who.epochs() {
            let secret = self.ask_hsm(ask::AgentSecret(epoch)).await;
            secrets.push(secret.map_err(|unanswered| match unanswered {
                Unanswered::Refused(refusal) => IdentifyError::Refused(refusal),
                Unanswered::Senseless | Unanswered::Lost => IdentifyError::NoAnswer,
            })?);
        }
        Ok(secrets)
    }
}
