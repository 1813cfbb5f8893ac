//! HTTP/1.1 and HTTP/2 over TLS, with rustls and ring; no system library and no process-wide default is needed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::redirect::Policy;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, pem};
use rustls::{ClientConfig, crypto};
use rustls_platform_verifier::Verifier;
use url::Url;

use crate::transport::{HttpResponse, NetworkError, Transport};

const TIMEOUT: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("strongroom-client/", env!("CARGO_PKG_VERSION"));

/// The largest answer that is read, in bytes. Those of a realm are far smaller.
const MAX_ANSWER: usize = 16 * 1024;

/// The default [`Transport`]. Trusts the certificate authorities that the device trusts.
#[derive(Clone)]
pub struct Https {
    client: reqwest::Client,
}

/// The transport cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpsError {
    /// A root certificate cannot be read.
    #[error("the root certificates cannot be read: give PEM, each between BEGIN and END CERTIFICATE ({0})")]
    RootCertificate(pem::Error),
    /// There is no root certificate in what was given.
    #[error("there is no certificate in the file of root certificates: give at least one, as PEM")]
    NoRootCertificate,
    /// The device's trust store cannot be used.
    #[error("the device's root certificates cannot be used: install them, or give your own ({0})")]
    Roots(rustls::Error),
    /// The HTTP client refuses its settings.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(reqwest::Error),
}

impl Https {
    /// A transport that trusts what the device trusts.
    ///
    /// # Errors
    ///
    /// The device has no usable trust store; see [`Https::with_root_certificates`].
    pub fn new() -> Result<Self, HttpsError> {
        Self::trusting_also(Vec::new())
    }

    /// A transport that trusts the authorities in `pem` besides those that the device trusts: for realms under a
    /// certificate authority of one's own.
    ///
    /// # Errors
    ///
    /// There is no certificate in `pem`, or it cannot be used.
    pub fn with_root_certificates(pem: &[u8]) -> Result<Self, HttpsError> {
        let roots = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let roots = roots.map_err(HttpsError::RootCertificate)?;
        if roots.is_empty() { Err(HttpsError::NoRootCertificate) } else { Self::trusting_also(roots) }
    }

    fn trusting_also(roots: Vec<CertificateDer<'static>>) -> Result<Self, HttpsError> {
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = if roots.is_empty() {
            Verifier::new(provider.clone())
        } else {
            Verifier::new_with_extra_roots(roots, provider.clone())
        };
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(HttpsError::Roots)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier.map_err(HttpsError::Roots)?))
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .user_agent(USER_AGENT)
            .build()
            .map_err(HttpsError::Client)?;
        Ok(Self { client })
    }
}

#[async_trait]
impl Transport for Https {
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Vec<u8>,
    ) -> Result<HttpResponse, NetworkError> {
        let request = self.client.post(url.clone()).body(body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut response = request.send().await.map_err(network_error)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(network_error)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(NetworkError(format!("the answer is longer than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status, body })
    }
}

/// The error with its sources, which name what a person can do something about.
fn network_error(error: reqwest::Error) -> NetworkError {
    let error = error.without_url();
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        message.push_str(": ");
        message.push_str(&inner.to_string());
        source = inner.source();
    }
    NetworkError(message)
}
