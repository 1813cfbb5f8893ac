//! How bytes reach a realm. The network is hostile: everything that a [`Transport`] returns is unproven.

use std::fmt;

use async_trait::async_trait;
use url::Url;
use zeroize::Zeroizing;

use crate::runtime::Shareable;

/// Carries one request to a realm and its answer back.
///
/// The client sets every header that the protocol needs; an implementation adds a `User-Agent` and what HTTP itself
/// needs. It must not follow redirects, must bound the size of an answer, and must give up after about 30 seconds.
///
/// Headers and bodies carry auth tokens; those of a software realm, including its answers, carry secrets in the clear.
/// An implementation wipes every copy that it keeps, where it can.
///
/// ```
/// use strongroom_client::{HttpResponse, NetworkError, Transport, Url, Zeroizing, async_trait};
///
/// /// A device that is offline.
/// struct Offline;
///
/// #[async_trait]
/// impl Transport for Offline {
///     async fn post(
///         &self,
///         _url: &Url,
///         _headers: &[(&'static str, &str)],
///         _body: Zeroizing<Vec<u8>>,
///     ) -> Result<HttpResponse, NetworkError> {
///         Err(NetworkError::Lost("this device is offline".to_owned()))
///     }
/// }
/// ```
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
pub trait Transport: Shareable {
    /// Sends `body` with `POST`.
    ///
    /// # Errors
    ///
    /// [`NetworkError`] when there is no answer. The realm may still have acted on the request.
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError>;

    /// As [`Transport::post`], over a connection of its own, and to another address of the same name if there are
    /// several: the request before has had no answer for a while, and the host at the other end of its connection may
    /// be gone.
    ///
    /// # Errors
    ///
    /// As [`Transport::post`].
    async fn post_afresh(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        self.post(url, headers, body).await
    }

    /// Asks with `GET`, without a body. Reads at most `most` bytes of the answer; a longer one is no answer. Only a demand for heads
    /// of logs ([`ClientBuilder::demand_heads`](crate::ClientBuilder::demand_heads)) needs it.
    ///
    /// # Errors
    ///
    /// As [`Transport::post`]; [`NetworkError::CannotGet`] if it is not implemented.
    async fn get(
        &self,
        _url: &Url,
        _headers: &[(&'static str, &str)],
        _most: usize,
    ) -> Result<HttpResponse, NetworkError> {
        Err(NetworkError::CannotGet)
    }

    /// [`Transport::get`], as [`Transport::post_afresh`] is to [`Transport::post`].
    ///
    /// # Errors
    ///
    /// As [`Transport::get`].
    async fn get_afresh(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        most: usize,
    ) -> Result<HttpResponse, NetworkError> {
        self.get(url, headers, most).await
    }
}

/// What a realm, or something in front of it, answered.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secret: a software realm answers with shares of the secret's key.
        let body = format_args!("{} bytes", self.body.len());
        f.debug_struct("HttpResponse").field("status", &self.status).field("body", &body).finish()
    }
}

/// No answer came. Says what went wrong, for people to read, without header values or bodies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The certificate at the other end is not accepted. Nothing was sent, and trying again does not help.
    #[error("{0}")]
    Untrusted(String),
    /// The transport has no way to ask with `GET`. Nothing was sent.
    #[error("the transport has no way to ask with GET")]
    CannotGet,
    /// Anything else. The request may have arrived.
    #[error("{0}")]
    Lost(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_printed_without_its_body() {
        let answer = HttpResponse { status: 200, body: b"a share".to_vec().into() };
        assert_eq!(format!("{answer:?}"), "HttpResponse { status: 200, body: 7 bytes }");
    }
}
