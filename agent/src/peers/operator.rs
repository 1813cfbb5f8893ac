//! The certificate of an operator who is not on an agent's machine: valid for admin calls, for a few hours.

use super::authority::{Authority, Caller, IssueError};
use super::identity::{Who, authorities, client_config, roots};
use crate::clock::Clock;
use crate::file::{FileError, read};
use ed25519_dalek::pkcs8::spki::der::pem::{LineEnding, encode_string};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::hsm::AgentSecret;
use zeroize::Zeroizing;

/// The longest life of an operator's certificate.
pub const MAX_HOURS: u32 = 24;

/// Issues a certificate that is valid for `hours`, at most [`MAX_HOURS`]. Returns it, what verifies the agents, and the
/// private key, in PEM. `secrets` are those of [`Who::epochs`], in that order.
///
/// # Errors
/// [`IssueError`].
pub fn issue_operator(
    who: Who,
    secrets: &[AgentSecret],
    clock: &Clock,
    hours: u32,
) -> Result<Zeroizing<String>, IssueError> {
    let authorities = authorities(who, secrets)?;
    let own = authorities.first().ok_or_else(|| IssueError::unusable("no secret"))?;
    let mut number = [0; 16];
    getrandom::fill(&mut number).map_err(|_| IssueError::Randomness)?;
    let lifetime = Duration::from_secs(u64::from(hours.min(MAX_HOURS)) * 60 * 60);
    let issued = own.issue(Caller::Operator(number), clock(), lifetime)?;
    let trusted = authorities.iter().map(Authority::certificate);
    let mut text = Zeroizing::new(String::new());
    for certificate in std::iter::once(&issued.certificate).chain(trusted) {
        text.push_str(&pem("CERTIFICATE", certificate)?);
    }
    text.push_str(&pem("PRIVATE KEY", issued.key().secret_pkcs8_der())?);
    Ok(text)
}

fn pem(label: &str, der: &[u8]) -> Result<Zeroizing<String>, IssueError> {
    encode_string(label, LineEnding::LF, der).map(Zeroizing::new).map_err(IssueError::unusable)
}

/// Reads what [`issue_operator`] made, for connections to agents.
///
/// # Errors
/// [`FileError`]; also if anyone but the file's owner may read it.
pub fn open_operator(path: &Path, clock: Clock) -> Result<Arc<ClientConfig>, FileError> {
    let unusable = |message: String| FileError::Unusable { path: path.into(), message };
    let text = read(path)?;
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        return Err(unusable(
            "others may read it, and it holds a key; make a new one with `admin-identity`".into(),
        ));
    }
    let other = || unusable("not an operator's certificate; make one with `admin-identity`".into());
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|_| other())?;
    let (own, trusted) = certificates.split_first().ok_or_else(other)?;
    let (_, realm) = Caller::in_realm(own).ok_or_else(other)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| other())?;
    let trusted = roots(trusted.iter()).map_err(|_| other())?;
    client_config(own.clone(), key, Arc::new(trusted), realm, clock)
        .map_err(|error| unusable(error.to_string()))
}
