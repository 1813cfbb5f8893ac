//! How the object stores of clouds are reached: TLS only where it is needed, and errors with everything that is known
//! about them.

use super::options::is_true;
use crate::causes::causes;
use async_trait::async_trait;
use hyper_util::client::proxy::matcher::Matcher;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{ClientOptions, Result};
use std::sync::Arc;

/// Makes the HTTP clients of a store.
#[derive(Debug)]
pub(super) struct Connector {
    /// The proxy settings from the environment.
    proxies: Arc<Matcher>,
}

impl Connector {
    pub(super) fn new() -> Self {
        Self { proxies: Arc::new(Matcher::from_system()) }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        let (client, without_roots) = match ReqwestConnector::default().connect(options) {
            // The machine may have no certificate authorities and need none.
            Err(_) if plain.is_some_and(|plain| is_true(&plain)) => {
                let none = options.clone().with_config(ClientConfigKey::NoSystemCertificates, "true");
                (ReqwestConnector::default().connect(&none)?, true)
            }
            connected => (connected?, false),
        };
        let proxy = options.get_config_value(&ClientConfigKey::ProxyUrl);
        Ok(HttpClient::new(Told { client, without_roots, proxy, proxies: Arc::clone(&self.proxies) }))
    }
}

/// A client whose errors include their causes, and name the proxy that was used.
#[derive(Debug)]
struct Told {
    client: HttpClient,
    /// Whether there were no authorities to trust.
    without_roots: bool,
    /// The proxy that the options name, which overrides those of the environment.
    proxy: Option<String>,
    proxies: Arc<Matcher>,
}

/// What went wrong with a request.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Cause(String);

#[async_trait]
impl HttpService for Told {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let uri = request.uri().clone();
        let answer = self.client.execute(request).await;
        answer.map_err(|error| {
            let said = causes(&error);
            let said = said.strip_prefix("HTTP error: ").unwrap_or(&said);
            let by = match &self.proxy {
                Some(proxy) => {
                    place(proxy).map(|proxy| format!("; it went through the proxy {proxy} (proxy_url)"))
                }
                None => self.proxies.intercept(&uri).and_then(|proxy| {
                    let proxy = place(&proxy.uri().to_string())?;
                    Some(format!(
                        "; it went through the proxy {proxy} (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY)"
                    ))
                }),
            };
            let roots = match self.without_roots && uri.scheme_str() == Some("https") {
                true => "; this machine has no certificate authorities: install them",
                false => "",
            };
            HttpError::new(error.kind(), Cause(format!("{said}{}{roots}", by.unwrap_or_default())))
        })
    }
}

/// Where a proxy is, without the password that its address may have.
fn place(proxy: &str) -> Option<String> {
    let url = url::Url::parse(proxy).ok()?;
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{}{port}", url.scheme(), url.host_str()?))
}
