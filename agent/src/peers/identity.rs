//! What this agent shows the others, and how it recognises them: mutual TLS 1.3 under the realm's private authority.
//!
//! An agent presents a certificate of its own epoch and accepts those of the neighbouring epochs, so that the epoch can
//! be raised at one agent after another. Sessions are never resumed: a resumed one would outlive its certificate.

use super::authority::{Authority, Caller, IssueError, Issued, LIFETIME};
use crate::clock::Clock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::hsm::AgentSecret;
use strongroom_proto::ids::{HsmId, RealmId};
use tokio::sync::watch;

/// After how long a certificate is replaced by a new one.
const RENEWED: Duration = Duration::from_secs(6 * 60 * 60);

/// The identity that an agent has now, if its HSM has a realm.
pub type Identities = watch::Receiver<Option<Arc<Identity>>>;

/// The identity of an agent: a connection is made under one, and ends with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Who {
    /// Its HSM.
    pub hsm: HsmId,
    /// The HSM's realm.
    pub realm: RealmId,
    /// The epoch of its certificate.
    pub epoch: u32,
}

impl Who {
    /// The epochs whose certificates it accepts, its own first.
    #[must_use]
    pub fn epochs(&self) -> Vec<u32> {
        let beside = [self.epoch.checked_sub(1), self.epoch.checked_add(1)];
        std::iter::once(self.epoch).chain(beside.into_iter().flatten()).collect()
    }
}

/// A certificate of this agent with its key, and what verifies those of others.
pub struct Identity {
    who: Who,
    issued_at: u64,
    authority: [u8; 32],
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.who).finish()
    }
}

impl Identity {
    /// Issues a certificate. `secrets` are those of [`Who::epochs`], in that order.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue(who: Who, secrets: &[AgentSecret], clock: Clock) -> Result<Self, IssueError> {
        let now = clock();
        let authorities = authorities(who, secrets)?;
        let own = authorities.first().ok_or_else(|| IssueError::unusable("no secret"))?;
        let issued = own.issue(Caller::Agent(who.hsm), now, LIFETIME)?;
        let roots = Arc::new(roots(authorities.iter().map(Authority::certificate))?);
        let server = server_config(&issued, &roots, &clock)?;
        let (certificate, key) = (issued.certificate.clone(), issued.key().clone_key().into());
        let authority = Sha256::digest(own.certificate()).into();
        let client = client_config(certificate, key, roots, who.realm, clock)?;
        Ok(Self { who, issued_at: now, authority, server, client })
    }

    /// Who the agent is.
    #[must_use]
    pub const fn who(&self) -> Who {
        self.who
    }

    /// The SHA-256 of the certificate of the authority that issued its own: that of its epoch.
    pub(crate) const fn authority(&self) -> [u8; 32] {
        self.authority
    }

    /// Whether it must be replaced by a new one at `now`, in Unix seconds.
    pub(crate) const fn is_old(&self, now: u64) -> bool {
        now.abs_diff(self.issued_at) >= RENEWED.as_secs()
    }

    /// When its certificate expires, in Unix seconds.
    pub(crate) const fn end(&self) -> u64 {
        self.issued_at.saturating_add(LIFETIME.as_secs())
    }

    /// For incoming connections. [`Self::caller`] says who is at the other end of one.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For connections to others, each an agent of the realm.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// Who is at the other end of a connection after its handshake.
    #[must_use]
    pub fn caller(&self, connection: &rustls::CommonState) -> Option<Caller> {
        Caller::of(connection.peer_certificates()?.first()?, self.who.realm)
    }
}

pub(super) fn authorities(who: Who, secrets: &[AgentSecret]) -> Result<Vec<Authority>, IssueError> {
    let derive = |(epoch, secret)| Authority::derive(secret, who.realm, epoch);
    who.epochs().into_iter().zip(secrets).map(derive).collect()
}

pub(super) fn roots<'a>(
    certificates: impl Iterator<Item = &'a CertificateDer<'static>>,
) -> Result<RootCertStore, IssueError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(IssueError::unusable)?;
    }
    Ok(roots)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn server_config(
    issued: &Issued,
    roots: &Arc<RootCertStore>,
    clock: &Clock,
) -> Result<Arc<ServerConfig>, IssueError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider())
        // A stranger is told nothing about the realm.
        .clear_root_hint_subjects()
        .build()
        .map_err(IssueError::unusable)?;
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(Told(Arc::clone(clock))))
        .with_protocol_versions(&[&TLS13])
        .map_err(IssueError::unusable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![issued.certificate.clone()], issued.key().clone_key().into())
        .map_err(IssueError::unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

pub(super) fn client_config(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    realm: RealmId,
    clock: Clock,
) -> Result<Arc<ClientConfig>, IssueError> {
    let verifier = AgentsOnly { roots, provider: provider(), realm };
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(Told(clock)))
        .with_protocol_versions(&[&TLS13])
        .map_err(IssueError::unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(vec![certificate], key)
        .map_err(IssueError::unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The time by the agent's clock.
struct Told(Clock);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

impl TimeProvider for Told {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs((self.0)())))
    }
}

/// Accepts any agent of the realm as the server: its certificate shows which one it is.
#[derive(Debug)]
struct AgentsOnly {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    realm: RealmId,
}

impl ServerCertVerifier for AgentsOnly {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        match Caller::of(certificate, self.realm) {
            Some(Caller::Agent(_)) => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("agents speak TLS 1.3".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
