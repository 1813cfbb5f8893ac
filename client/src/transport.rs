//! How bytes reach a realm. The network is hostile: everything that a [`Transport`] returns is unproven.

use async_trait::async_trait;
use url::Url;

/// Carries one request to a realm and its answer back.
///
/// The client sets every header that the protocol needs; an implementation adds a `User-Agent` and what HTTP itself
/// needs. It must not follow redirects, must bound the size of an answer, and must give up after about 30 seconds.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends `body` with `POST`.
    ///
    /// # Errors
    ///
    /// [`NetworkError`] when there is no answer. The realm may have acted on the request all the same.
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Vec<u8>,
    ) -> Result<HttpResponse, NetworkError>;
}

/// What a realm, or something in front of it, answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// No answer came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NetworkError(
    /// What went wrong, for a person; without header values or bodies.
    pub String,
);
