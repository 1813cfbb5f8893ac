//! TLS of the front door: a certificate and a key from PEM files, read again when they change.
//!
//! The channel protects tokens and what they reveal about users. Guesses and secrets do not rely on it: they are
//! encrypted between client and HSM inside of it.

use crate::file::{FileError, ReadFile, Reloadable};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use spki::der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use spki::der::{DateTime, Decode, SliceReader, Tag, Tagged};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

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
        Self::load_first(
            vec![certificate, key],
            |files| {
                // The machine's clock may be wrong, and an agent does more than serve clients: it starts all the same.
                if let Err(error) = not_expired(&files[0]) {
                    tracing::error!(%error, "clients will refuse the certificate");
                }
                server_config(&files[0], &files[1])
            },
            |files| {
                not_expired(&files[0])?;
                server_config(&files[0], &files[1])
            },
        )
    }
}

/// The object identifier of P-521, in DER.
const P_521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn unusable(file: &ReadFile, message: String) -> FileError {
    FileError::Unusable { path: file.path.clone(), message }
}

fn not_expired(certificate: &ReadFile) -> Result<(), FileError> {
    let first = CertificateDer::from_pem_slice(&certificate.bytes).ok();
    // Others say what is wrong with a certificate that has no end.
    match first.and_then(|der| not_after(&der)) {
        Some(end) if SystemTime::UNIX_EPOCH.elapsed().is_ok_and(|now| end.unix_duration() < now) => {
            Err(unusable(
                certificate,
                format!("the certificate expired at {end}; renew it, or set the machine's clock right"),
            ))
        }
        _ => Ok(()),
    }
}

/// When a certificate ends (RFC 5280, section 4.1).
fn not_after(der: &[u8]) -> Option<DateTime> {
    let end = |reader: &mut SliceReader<'_>| -> spki::der::Result<DateTime> {
        let mut certificate = sequence(reader)?;
        let mut signed = sequence(&mut certificate)?;
        if Tag::peek(&signed)?.is_context_specific() {
            AnyRef::decode(&mut signed)?; // version
        }
        for _ in ["serial number", "signature", "issuer"] {
            AnyRef::decode(&mut signed)?;
        }
        let mut validity = sequence(&mut signed)?;
        AnyRef::decode(&mut validity)?;
        let end = AnyRef::decode(&mut validity)?;
        match end.tag() {
            Tag::UtcTime => end.decode_as::<UtcTime>().map(|time| time.to_date_time()),
            _ => end.decode_as::<GeneralizedTime>().map(|time| time.to_date_time()),
        }
    };
    end(&mut SliceReader::new(der).ok()?).ok()
}

/// What is inside of a sequence.
fn sequence<'a>(reader: &mut SliceReader<'a>) -> spki::der::Result<SliceReader<'a>> {
    let sequence = AnyRef::decode(reader)?;
    sequence.tag().assert_eq(Tag::Sequence)?;
    SliceReader::new(sequence.value())
}

fn server_config(certificate: &ReadFile, key: &ReadFile) -> Result<ServerConfig, FileError> {
    let unusable =
        |file: &ReadFile, message: String| FileError::Unusable { path: file.path.clone(), message };
    let chain = CertificateDer::pem_slice_iter(&certificate.bytes).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| {
        unusable(certificate, "no PEM certificate; give the server's certificate, then its issuers'".into())
    })?;
    let private_key = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|_| {
        let message = if contains(&key.bytes, b"ENCRYPTED") {
            "the private key is encrypted, and the agent has nobody to ask for its password; decrypt it with \
             `openssl pkey`, and let only the agent's user read it"
        } else {
            "no PEM private key; give the one that the certificate was made for"
        };
        unusable(key, message.into())
    })?;
    if contains(private_key.secret_der(), P_521) {
        return Err(unusable(
            key,
            "the key is on the curve P-521, which is not supported; make a key and a certificate on P-256"
                .into(),
        ));
    }
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private_key))
        .map_err(|error| unusable(certificate, format!("cannot be used with its key: {error}")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
