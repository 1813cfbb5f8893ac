//! TLS of the front door: a certificate and a key from PEM files, read again when they change.
//!
//! The channel protects tokens and what they reveal about users. Guesses and secrets do not rely on it: they are
//! encrypted between client and HSM inside of it.

use crate::file::{FileError, ReadFile, Reloadable};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::Arc;

/// A server's TLS settings, read again when their files change.
pub type Tls = Reloadable<ServerConfig>;

/// Makes *ring* the provider of everything in this process that does not name its own. To be called first thing in
/// every binary: with two providers compiled in, a library that asks for the default would panic.
pub fn install_provider() {
    // A provider that someone installed before is as good.
    let _ = ring::default_provider().install_default();
}

impl Tls {
    /// Reads a PEM certificate chain, the server's own certificate first, and its PEM private key.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(certificate: PathBuf, key: PathBuf) -> Result<Self, FileError> {
        Self::load(vec![certificate, key], |files| server_config(&files[0], &files[1]))
    }
}

fn server_config(certificate: &ReadFile, key: &ReadFile) -> Result<ServerConfig, FileError> {
    let unusable =
        |file: &ReadFile, message: String| FileError::Unusable { path: file.path.clone(), message };
    let chain = CertificateDer::pem_slice_iter(&certificate.bytes).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| {
        unusable(certificate, "no PEM certificate; give the server's certificate, then its issuers'".into())
    })?;
    let private_key = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|_| {
        unusable(key, "no PEM private key; give the one that the certificate was made for".into())
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private_key))
        .map_err(|error| unusable(certificate, format!("cannot be used with its key: {error}")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
