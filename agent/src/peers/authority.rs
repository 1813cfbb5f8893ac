//! The realm's private certificate authority, which every agent of the realm derives for itself, and what it issues.
//!
//! Its key comes from the agent secret (`docs/protocol.md`, sections 2 and 10), so everyone with an HSM of the realm
//! has it, and no one else. It is derived when a certificate must be issued, and wiped at once. TLS needs certificates
//! as the form; nothing is registered anywhere, and there is nothing to revoke, because they are short-lived.

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{EncodePrivateKey, KeypairBytes};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::time::Duration;
use strongroom_proto::hsm::AgentSecret;
use strongroom_proto::ids::{HsmId, RealmId};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// How long an agent's certificate is valid, and how long before its issue that begins, for clocks that are behind.
pub(crate) const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const BACKDATED: Duration = Duration::from_secs(24 * 60 * 60);
/// The end of every name in a certificate. Reserved (RFC 6761), so that nobody can own such a name.
const DOMAIN: &str = "strongroom.invalid";

/// Whom a certificate speaks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Caller {
    /// The agent of this HSM, which has the realm.
    Agent(HsmId),
    /// A person who was given a certificate at an agent's admin socket. The number tells such certificates apart.
    Operator([u8; 16]),
}

impl Caller {
    /// The name in the certificate.
    fn name(&self, realm: RealmId) -> String {
        let (id, kind) = match self {
            Self::Agent(hsm) => (hex::encode(hsm.0), "agent"),
            Self::Operator(number) => (hex::encode(number), "operator"),
        };
        format!("{id}.{}.{kind}.{DOMAIN}", hex::encode(realm.0))
    }

    /// Whom a certificate verified under the realm's authority speaks for; `None` if it does not have that form.
    pub(super) fn of(certificate: &CertificateDer<'_>, realm: RealmId) -> Option<Self> {
        Self::in_realm(certificate).filter(|(_, of)| *of == realm).map(|(caller, _)| caller)
    }

    /// The same, and for which realm.
    pub(super) fn in_realm(certificate: &CertificateDer<'_>) -> Option<(Self, RealmId)> {
        let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
        let mut names = certificate.valid_dns_names();
        let (name, None) = (names.next()?, names.next()) else { return None };
        let mut parts = name.split('.').map(|part| hex::decode(part).ok()?.try_into().ok());
        let (id, realm) = (parts.next()??, RealmId(parts.next()??));
        let mut either = [Self::Agent(HsmId(id)), Self::Operator(id)].into_iter();
        either.find(|caller| caller.name(realm) == name).map(|caller| (caller, realm))
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Randomness,
    /// A certificate or its key could not be made, or TLS does not accept it.
    #[error("a certificate could not be made: {0}")]
    Unusable(String),
}

impl IssueError {
    pub(super) fn unusable(error: impl std::fmt::Display) -> Self {
        Self::Unusable(error.to_string())
    }
}

/// A key in rcgen's form.
// Secret: wiped when dropped.
struct Key(SigningKey);

impl rcgen::PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        AsRef::<ed25519_dalek::VerifyingKey>::as_ref(&self.0).as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(ed25519_dalek::Signer::sign(&self.0, message).to_bytes().to_vec())
    }
}

/// A certificate and its private key.
pub(super) struct Issued {
    pub(super) certificate: CertificateDer<'static>,
    // Secret: in PKCS#8, version 1.
    key: Zeroizing<Vec<u8>>,
}

impl Issued {
    pub(super) fn key(&self) -> PrivatePkcs8KeyDer<'_> {
        PrivatePkcs8KeyDer::from(self.key.as_slice())
    }
}

/// The certificate authority of a realm's agents in one epoch.
pub(super) struct Authority {
    realm: RealmId,
    issuer: Issuer<'static, Key>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// Identical, byte for byte, at every agent that has the secret.
    pub(super) fn derive(secret: &AgentSecret, realm: RealmId, epoch: u32) -> Result<Self, IssueError> {
        let key = Key(SigningKey::from_bytes(&secret.authority_key(&realm)));
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, format!("Strongroom realm {realm}"));
        params.distinguished_name.push(DnType::CommonName, format!("agents, epoch {epoch}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.serial_number = Some(SerialNumber::from(u64::from(epoch) + 1));
        // It ends when no agent accepts its epoch any more.
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(9999, 12, 31));
        let certificate = params.self_signed(&key).map_err(IssueError::unusable)?.der().clone();
        Ok(Self { realm, issuer: Issuer::new(params, key), certificate })
    }

    /// What verifies everything that it issues. Not secret.
    pub(super) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A certificate with a key of its own, valid from a day before `now`, in Unix seconds, until `lifetime` after it.
    pub(super) fn issue(&self, to: Caller, now: u64, lifetime: Duration) -> Result<Issued, IssueError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|_| IssueError::Randomness)?;
        let key = Key(SigningKey::from_bytes(&seed));
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names =
            vec![SanType::DnsName(to.name(self.realm).try_into().map_err(IssueError::unusable)?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match to {
            Caller::Agent(_) => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Caller::Operator(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        let at = |seconds: u64| {
            let seconds = i64::try_from(seconds).map_err(IssueError::unusable)?;
            OffsetDateTime::from_unix_timestamp(seconds).map_err(IssueError::unusable)
        };
        params.not_before = at(now.saturating_sub(BACKDATED.as_secs()))?;
        params.not_after = at(now.saturating_add(lifetime.as_secs()))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(IssueError::unusable)?.der().clone();
        // Version 1 of the form, without the public key, is the form that other programs read.
        let pair = KeypairBytes { secret_key: key.0.to_bytes(), public_key: None };
        let key = pair.to_pkcs8_der().map_err(IssueError::unusable)?;
        Ok(Issued { certificate, key: Zeroizing::new(key.as_bytes().to_vec()) })
    }
}
