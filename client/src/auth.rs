//! Where the client gets the tokens that name its user to a realm.
//!
//! Tokens come from the application's own server, which signs them (client protocol, section 3). The client passes
//! them on unread; a token is a credential and never appears in an error.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use strongroom_proto::ids::RealmId;
use zeroize::Zeroizing;

use crate::runtime::Shareable;

/// A source of auth tokens. The client calls it for every request, so it can refresh a token that is about to expire.
///
/// ```
/// use strongroom_client::{AuthTokens, NoToken, RealmId, Zeroizing, async_trait};
///
/// struct Backend;
///
/// impl Backend {
///     async fn fetch(&self, realm: &str) -> Option<String> {
/// #       let _ = realm;
///         // Asks the application's own server.
/// #       None
///     }
/// }
///
/// #[async_trait]
/// impl AuthTokens for Backend {
///     async fn token(&self, realm: &RealmId) -> Result<Zeroizing<String>, NoToken> {
///         self.fetch(&realm.to_string()).await.map(Zeroizing::new).ok_or(NoToken)
///     }
/// }
/// ```
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
pub trait AuthTokens: Shareable {
    /// A token for `realm`: its `aud` is that realm's id, its `sub` the user.
    ///
    /// # Errors
    ///
    /// [`NoToken`], when the user is not signed in or the application's server refuses.
    async fn token(&self, realm: &RealmId) -> Result<Zeroizing<String>, NoToken>;
}

/// There is no token for this realm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("no auth token for this realm: sign the user in and supply one")]
pub struct NoToken;

/// Tokens known beforehand, one for each realm.
#[derive(Clone, Default)]
pub struct FixedTokens {
    tokens: BTreeMap<RealmId, Zeroizing<String>>,
}

impl FixedTokens {
    /// No tokens yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds, or replaces, the token for `realm`.
    pub fn insert(&mut self, realm: RealmId, token: String) {
        self.tokens.insert(realm, Zeroizing::new(token));
    }
}

impl fmt::Debug for FixedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secret: anyone who reads a token is the user to its realm.
        f.write_str("FixedTokens for ")?;
        f.debug_set().entries(self.tokens.keys()).finish()
    }
}

impl FromIterator<(RealmId, String)> for FixedTokens {
    fn from_iter<I: IntoIterator<Item = (RealmId, String)>>(tokens: I) -> Self {
        Self { tokens: tokens.into_iter().map(|(realm, token)| (realm, Zeroizing::new(token))).collect() }
    }
}

#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
impl AuthTokens for FixedTokens {
    async fn token(&self, realm: &RealmId) -> Result<Zeroizing<String>, NoToken> {
        self.tokens.get(realm).cloned().ok_or(NoToken)
    }
}
