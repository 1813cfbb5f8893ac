//! TLS of the front door: a certificate and a key from PEM files, read again when they change.
//!
//! The channel protects tokens and what they reveal about users. Guesses and secrets do not rely on it: they are
//! encrypted between client and HSM inside it.

use crate::clock::Clock;
use crate::file::{FileError, ReadFile, Reloadable};
use prometheus_client::metrics::gauge::Gauge;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use spki::der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use spki::der::{DateTime, Decode, SliceReader, Tag, Tagged};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::MissedTickBehavior;

/// A server's TLS settings, read again when their files change.
pub type Tls = Reloadable<Served>;

/// How long before a certificate expires the warnings begin, in seconds.
const WARNED: u64 = 14 * DAY;
const DAY: u64 = 24 * 60 * 60;

/// What a server presents.
#[derive(Debug)]
pub struct Served {
    config: Arc<ServerConfig>,
    end: Option<u64>,
}

impl Served {
    /// The settings for TLS.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// When the certificate expires, in Unix seconds; `None` if that cannot be read from it.
    #[must_use]
    pub const fn end(&self) -> Option<u64> {
        self.end
    }
}

/// Makes *ring* the provider of everything in this process that does not name its own. Call it first thing in every
/// binary: with two providers compiled in, a library that asks for the default would panic.
pub fn install_provider() {
    // A provider that was installed before is just as good.
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
                // The machine's clock may be wrong, and an agent does more than serve clients, so it starts anyway.
                if let Err(error) = not_expired(&files[0]) {
                    tracing::error!(%error, "clients will refuse the certificate");
                }
                served(&files[0], &files[1])
            },
            |files| {
                not_expired(&files[0])?;
                served(&files[0], &files[1])
            },
        )
    }
}

fn served(certificate: &ReadFile, key: &ReadFile) -> Result<Served, FileError> {
    let config = Arc::new(server_config(certificate, key)?);
    let first = CertificateDer::from_pem_slice(&certificate.bytes).ok();
    if first.as_ref().is_some_and(|der| is_of_authority(der)) {
        tracing::warn!(
            file = %certificate.path.display(),
            "the certificate is that of a certificate authority (CA:TRUE), and most clients refuse a server that shows \
             one; make one with CA:FALSE"
        );
    }
    Ok(Served { config, end: first.and_then(|der| not_after(&der)).map(|end| end.unix_duration().as_secs()) })
}

/// Whether clients would take this for an authority's certificate instead of a server's.
fn is_of_authority(der: &CertificateDer<'_>) -> bool {
    // As the first of a chain it could be accepted only if it issued itself, so here it is its own anchor.
    let anchor = webpki::anchor_from_trusted_cert(der);
    let (Ok(certificate), Ok(anchor)) = (webpki::EndEntityCert::try_from(der), anchor) else { return false };
    let (usage, now, anchors) = (webpki::KeyUsage::server_auth(), UnixTime::now(), [anchor]);
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    let verified = certificate.verify_for_usage(algorithms, &anchors, &[], now, usage, None, None);
    matches!(verified, Err(webpki::Error::CaUsedAsEndEntity))
}

/// Shows when the certificate in use expires, and logs a warning once a day when that is near. Spawn it.
pub async fn warn_of_end(tls: Arc<Tls>, shown: Gauge, unix: Clock, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warned = None;
    loop {
        ticks.tick().await;
        let (end, now) = (tls.current().end(), unix());
        shown.set(end.and_then(|end| i64::try_from(end).ok()).unwrap_or_default());
        if let Some(warning) = end.and_then(|end| warning(end, now, &mut warned)) {
            tracing::warn!("{warning}");
        }
    }
}

/// The warning that is due for a certificate that expires then, given the last warning: about which expiry, and when.
fn warning(end: u64, now: u64, warned: &mut Option<(u64, u64)>) -> Option<String> {
    let left = end.saturating_sub(now);
    let said = warned.is_some_and(|(of, at)| of == end && now.saturating_sub(at) < DAY);
    if left > WARNED || said {
        return None;
    }
    *warned = Some((end, now));
    Some(match (left / DAY, left) {
        (_, 0) => "the certificate of the front door has expired, and clients refuse it; renew it".into(),
        (0, _) => "the certificate of the front door expires within a day; renew it".into(),
        (days, _) => format!("the certificate of the front door expires in {days} days; renew it"),
    })
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
    // What is wrong with a certificate without an expiry is reported elsewhere.
    match first.and_then(|der| not_after(&der)) {
        Some(end) if SystemTime::UNIX_EPOCH.elapsed().is_ok_and(|now| end.unix_duration() < now) => {
            Err(unusable(
                certificate,
                format!("the certificate expired at {end}; renew it, or correct the machine's clock"),
            ))
        }
        _ => Ok(()),
    }
}

/// When a certificate expires (RFC 5280, section 4.1).
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

/// What is inside a sequence.
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
            "the private key is encrypted, and the agent cannot ask for its password; decrypt it with \
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_expires_within_14_days_is_warned_of_once_a_day_and_a_new_one_at_once() {
        let (end, mut warned) = (1_000 * DAY, None);
        let mut at = |end: u64, now| warning(end, now, &mut warned);
        assert_eq!(at(end, end - 14 * DAY - 1), None);
        assert!(at(end, end - 14 * DAY).is_some_and(|said| said.contains("expires in 14 days")));
        assert_eq!(at(end, end - 13 * DAY - 1), None, "it was said today");
        assert!(at(end, end - 13 * DAY).is_some_and(|said| said.contains("expires in 13 days")));
        assert!(at(end + 5, end - 13 * DAY).is_some(), "another one");
        assert!(at(end + 5, end - 1).is_some_and(|said| said.contains("within a day")));
        assert!(at(end + 5, end + DAY).is_some_and(|said| said.contains("has expired")));
    }

    #[tokio::test]
    async fn the_expiry_of_the_certificate_in_use_is_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
        let pair = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(["realm.example".to_owned()]).expect("a name");
        parameters.not_after = rcgen::date_time_ymd(2040, 1, 1);
        let made = parameters.self_signed(&pair).expect("a certificate");
        std::fs::write(&certificate, made.pem()).expect("writable");
        std::fs::write(&key, pair.serialize_pem()).expect("writable");
        let tls = Arc::new(Tls::open(certificate, key).expect("usable"));
        let (shown, looks) = (Gauge::default(), Arc::new(tokio::sync::Notify::new()));
        let looked = Arc::clone(&looks);
        let clock: Clock = Arc::new(move || {
            looked.notify_one();
            0
        });
        tokio::spawn(warn_of_end(tls, shown.clone(), clock, Duration::from_secs(1)));
        looks.notified().await;
        tokio::task::yield_now().await;
        assert_eq!(shown.get(), 2_208_988_800);
    }

    #[test]
    fn a_certificate_of_an_authority_is_told_from_one_of_a_server() {
        let pair = rcgen::KeyPair::generate().expect("a key");
        let of = |is_ca| {
            let mut parameters = rcgen::CertificateParams::new(["realm.example".to_owned()]).expect("a name");
            parameters.is_ca = is_ca;
            parameters.self_signed(&pair).expect("a certificate").der().clone()
        };
        assert!(is_of_authority(&of(rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained))));
        assert!(!is_of_authority(&of(rcgen::IsCa::ExplicitNoCa)));
        assert!(!is_of_authority(&of(rcgen::IsCa::NoCa)));
    }
}
