//! HTTP/1.1 and HTTP/2 over TLS, with rustls and ring; no system library and no process-wide default is needed.
//!
//! Secret: the bodies and header values that the HTTP client is given wipe themselves when it drops its last reference.
//! It copies them once more into the buffers that it writes from (HTTP/1.1 puts head and body into one, HTTP/2
//! compresses headers into another, TLS encrypts its own copy), and reads answers into buffers of its own; none of
//! those are wiped.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier, crypto};
use rustls_platform_verifier::Verifier;
use url::Url;
use zeroize::Zeroizing;

use crate::lane::Lane;
use crate::transport::{HttpResponse, NetworkError, Transport};

const TIMEOUT: Duration = Duration::from_secs(30);
/// How long connecting may take, including TLS. The addresses of a name that have the same IP version share this time,
/// one after another; the other version is tried alongside after 300 ms.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const USER_AGENT: &str = concat!("strongroom-client/", env!("CARGO_PKG_VERSION"));

/// The largest answer that is read, in bytes. A realm's answers are far smaller.
const MAX_ANSWER: usize = 16 * 1024;

/// The default [`Transport`]. Trusts the certificate authorities that the device trusts.
#[derive(Clone)]
pub struct Https {
    roots: Arc<[CertificateDer<'static>]>,
    /// For TLS. Made when it is first needed: a device may have no authorities and need none.
    client: Arc<OnceLock<Lane>>,
    /// For plain http, which a proxy would carry off this machine, readable on the way.
    direct: Arc<Lane>,
    /// The proxy settings from the environment.
    proxies: Arc<Matcher>,
}

/// The transport cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpsError {
    /// A root certificate cannot be read.
    #[error(
        "the root certificates cannot be read: give PEM, each certificate between BEGIN and END CERTIFICATE ({0})"
    )]
    RootCertificate(String),
    /// There is no root certificate in what was given.
    #[error("there is no certificate in the file of root certificates: give at least one, as PEM")]
    NoRootCertificate,
    /// The device's trust store cannot be used.
    #[error("the device's root certificates cannot be used: install them, or give your own ({0})")]
    Roots(String),
    /// The HTTP client refused its settings.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

impl HttpsError {
    fn roots(error: rustls::Error) -> Self {
        Self::Roots(error.to_string())
    }

    fn client(error: reqwest::Error) -> Self {
        Self::Client(error.to_string())
    }
}

impl fmt::Debug for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secret: the address of a proxy may hold its password.
        f.debug_struct("Https").field("own_roots", &self.roots.len()).finish_non_exhaustive()
    }
}

impl Https {
    /// A transport that trusts what the device trusts. It reads the device's trust store at the first request over TLS,
    /// or in [`Https::load_roots`].
    ///
    /// # Errors
    ///
    /// The HTTP client refused its settings.
    pub fn new() -> Result<Self, HttpsError> {
        Self::trusting_also(Vec::new())
    }

    /// A transport that trusts the authorities in `pem` in addition to those that the device trusts: for realms under a
    /// certificate authority of your own.
    ///
    /// # Errors
    ///
    /// There is no certificate in `pem`, or it cannot be used.
    pub fn with_root_certificates(pem: &[u8]) -> Result<Self, HttpsError> {
        let pem = pem.strip_prefix("\u{feff}".as_bytes()).unwrap_or(pem);
        let roots = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let roots = roots.map_err(|error| HttpsError::RootCertificate(error.to_string()))?;
        if roots.is_empty() { Err(HttpsError::NoRootCertificate) } else { Self::trusting_also(roots) }
    }

    /// Reads the device's trust store now instead of at the first request over TLS.
    ///
    /// # Errors
    ///
    /// The device has no usable trust store; see [`Https::with_root_certificates`].
    pub fn load_roots(&self) -> Result<(), HttpsError> {
        self.over_tls().map(drop)
    }

    fn trusting_also(roots: Vec<CertificateDer<'static>>) -> Result<Self, HttpsError> {
        let mut trusted = RootCertStore::empty();
        // Damaged ones must be noticed now, although they are used later.
        roots.iter().try_for_each(|root| trusted.add(root.clone())).map_err(HttpsError::roots)?;
        let nobody = tls_builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let direct = Lane::new(move |builder| http_client(builder, nobody.clone()).no_proxy());
        let direct = Arc::new(direct.map_err(HttpsError::client)?);
        let proxies = Arc::new(Matcher::from_system());
        Ok(Self { roots: roots.into(), client: Arc::default(), direct, proxies })
    }

    fn over_tls(&self) -> Result<&Lane, HttpsError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = if self.roots.is_empty() {
            Verifier::new(provider)
        } else {
            Verifier::new_with_extra_roots(self.roots.iter().cloned(), provider)
        };
        let mut tls = tls_builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier.map_err(HttpsError::roots)?))
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let lane = Lane::new(move |builder| http_client(builder, tls.clone())).map_err(HttpsError::client)?;
        Ok(self.client.get_or_init(|| lane))
    }

    fn lane(&self, url: &Url) -> Result<&Lane, NetworkError> {
        if url.scheme() != "https" {
            return Ok(&self.direct);
        }
        self.over_tls().map_err(|error| NetworkError::Untrusted(error.to_string()))
    }

    async fn send(
        &self,
        mut request: reqwest::RequestBuilder,
        url: &Url,
        headers: &[(&'static str, &str)],
        most: usize,
    ) -> Result<HttpResponse, NetworkError> {
        let proxied = url.scheme() == "https";
        let network_error = |error| network_error(error, proxied.then(|| self.proxy(url)).flatten());
        for (name, value) in headers {
            request = request.header(*name, header_value(value)?);
        }
        let mut response = request.send().await.map_err(network_error)?;
        let status = response.status().as_u16();
        // Secret: a buffer that grew would leave copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(most));
        while let Some(chunk) = response.chunk().await.map_err(network_error)? {
            if body.len() + chunk.len() > most {
                return Err(NetworkError::Lost(format!("the answer is longer than {most} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status, body })
    }

    /// The proxy that the environment names for `url`, without the password that its address may have.
    fn proxy(&self, url: &Url) -> Option<String> {
        let proxy = self.proxies.intercept(&url.as_str().parse().ok()?)?;
        let proxy = Url::parse(&proxy.uri().to_string()).ok()?;
        Some(format!("{}:{}", proxy.host_str()?, proxy.port_or_known_default()?))
    }
}

fn tls_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, HttpsError> {
    let provider = Arc::new(crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(HttpsError::roots)
}

fn http_client(builder: reqwest::ClientBuilder, tls: ClientConfig) -> reqwest::ClientBuilder {
    builder
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .timeout(TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(USER_AGENT)
}

#[async_trait]
impl Transport for Https {
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        let client = self.lane(url)?.usual(url);
        self.send(posted(&client, url, body), url, headers, MAX_ANSWER).await
    }

    async fn post_afresh(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        let client = self.lane(url)?.afresh(url).map_err(|error| network_error(error, None))?;
        self.send(posted(&client, url, body), url, headers, MAX_ANSWER).await
    }

    async fn get(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        most: usize,
    ) -> Result<HttpResponse, NetworkError> {
        let client = self.lane(url)?.usual(url);
        self.send(client.get(url.clone()), url, headers, most).await
    }

    async fn get_afresh(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        most: usize,
    ) -> Result<HttpResponse, NetworkError> {
        let client = self.lane(url)?.afresh(url).map_err(|error| network_error(error, None))?;
        self.send(client.get(url.clone()), url, headers, most).await
    }
}

fn posted(client: &reqwest::Client, url: &Url, body: Zeroizing<Vec<u8>>) -> reqwest::RequestBuilder {
    client.post(url.clone()).body(Bytes::from_owner(body))
}

/// A value that wipes itself, and that stays out of the HTTP client's debug output and HTTP/2's tables.
fn header_value(value: &str) -> Result<HeaderValue, NetworkError> {
    let owned = Bytes::from_owner(Zeroizing::new(value.as_bytes().to_vec()));
    let mut value = HeaderValue::from_maybe_shared(owned).map_err(|_| {
        NetworkError::Lost("a header, such as the auth token, has characters that HTTP forbids".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The error with its sources, which name what a person can act on, and with the proxy that was used.
fn network_error(error: reqwest::Error, proxy: Option<String>) -> NetworkError {
    let error = error.without_url();
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    let mut untrusted = false;
    while let Some(inner) = source {
        untrusted |= is_of_certificate(inner);
        message.push_str(": ");
        message.push_str(&inner.to_string());
        source = inner.source();
    }
    if message.contains("CaUsedAsEndEntity") {
        // Usually a self-signed one, as `openssl req -x509` makes by default.
        message.push_str(
            "; it shows the certificate of a certificate authority (CA:TRUE), which no server may: its operator has to \
             make one with CA:FALSE",
        );
    }
    if message.contains("UnknownIssuer") {
        message
            .push_str("; no authority that is trusted here made its certificate: give that authority's own");
    }
    if let Some(proxy) = proxy {
        message.push_str(&format!("; it went through the proxy {proxy} (HTTPS_PROXY or ALL_PROXY)"));
    }
    if untrusted { NetworkError::Untrusted(message) } else { NetworkError::Lost(message) }
}

/// Whether TLS refused the certificate at the other end. An I/O error does not list what it wraps among its sources.
fn is_of_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
        || inner.is_some_and(|inner| is_of_certificate(inner))
}
