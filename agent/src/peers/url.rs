//! Where another agent is.

use serde::Deserialize;
use url::Url;

/// The address of another agent: `https://`, a host, an optional port, and nothing more. Agents never speak to each
/// other in the clear.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct PeerUrl(pub Url);

impl TryFrom<String> for PeerUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bare = |url: &Url| {
            url.scheme() == "https"
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        };
        let url = Url::parse(&text).ok().filter(bare);
        url.map(Self).ok_or("a peer is `https://host:port`, the peer_listen address of another agent")
    }
}
