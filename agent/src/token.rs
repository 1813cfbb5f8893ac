//! Auth tokens: verification for the front door, and minting for demonstrations and app developers.
//!
//! A token is the tenant's word that its bearer is one of its users. Nothing in it is believed before its signature
//! is verified with the key that its `kid` names, under that key's own algorithm. The rules are section 3 of the client
//! protocol; where it leaves a choice, this uses the stricter reading.

use crate::tenants::{Algorithm, TenantKeys, hs256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;
use serde::de::{DeserializeOwned, Error, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::time::Duration;
use strongroom_proto::ids::RealmId;

/// The longest token, in characters.
pub const MAX_TOKEN_LEN: usize = 4096;
/// How far the issuer's clock and ours may differ, in seconds.
pub const LEEWAY_S: u64 = 5;
/// The longest life of a token, in seconds.
pub const MAX_LIFETIME_S: u64 = 86_400;
/// The life of a minted token, in seconds.
pub const MINTED_LIFETIME_S: u64 = 600;

/// Whom a token vouches for. To hold one is to have verified the token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedToken {
    /// The tenant's name.
    pub tenant: String,
    /// The user, as the tenant names them. Opaque, not empty.
    pub user: String,
}

/// What a token is presented for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Keeping and recovering a secret: the scope is `user`, or none.
    User,
    /// Reading what happened to the records of the tenant's users: the scope is `audit`.
    Audit,
}

impl Purpose {
    /// The scope of a token that is made for it.
    #[must_use]
    pub const fn scope(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Audit => "audit",
        }
    }
}

/// Why a token was refused. For logs; the client learns only `InvalidAuth`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`MAX_TOKEN_LEN`].
    #[error("the token is longer than {MAX_TOKEN_LEN} characters")]
    TooLong,
    /// Not three parts of base64url with JSON objects in the first two.
    #[error("the token is not a compact JWT")]
    Malformed,
    /// The header has something that this verifier does not know, or lacks something that it needs.
    #[error("the token's header is not acceptable")]
    Header,
    /// `kid` is not `tenant:version`.
    #[error("the token's kid is not `tenant:version`")]
    KeyId,
    /// No such key.
    #[error("the token names a key that is not in the tenants file")]
    UnknownKey,
    /// `alg` is not the algorithm of the key.
    #[error("the token's algorithm is not that of its key")]
    Algorithm,
    /// The signature is not the key's.
    #[error("the token's signature does not verify")]
    Signature,
    /// A claim is missing, doubled or of the wrong type.
    #[error("the token's claims are not acceptable")]
    Claims,
    /// `iss` is not the tenant of the key, or `sub` is empty.
    #[error("the token's issuer or subject is wrong")]
    Issuer,
    /// `aud` is not this realm.
    #[error("the token is for another realm")]
    Audience,
    /// Not valid now, or valid for longer than [`MAX_LIFETIME_S`].
    #[error("the token is expired, not yet valid, or valid for more than a day")]
    Time,
    /// `scope` does not allow this.
    #[error("the token's scope does not allow this")]
    Scope,
}

impl TokenError {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::TooLong,
        Self::Malformed,
        Self::Header,
        Self::KeyId,
        Self::UnknownKey,
        Self::Algorithm,
        Self::Signature,
        Self::Claims,
        Self::Issuer,
        Self::Audience,
        Self::Time,
        Self::Scope,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Header => "header",
            Self::KeyId => "key_id",
            Self::UnknownKey => "unknown_key",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Time => "time",
            Self::Scope => "scope",
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    nbf: NumericDate,
    exp: NumericDate,
    iat: Option<NumericDate>,
    scope: Option<String>,
}

/// Verifies a user's token for `realm`.
///
/// # Errors
/// [`TokenError`].
pub fn verify(
    keys: &TenantKeys,
    token: &str,
    realm: &RealmId,
    now_unix_s: u64,
) -> Result<VerifiedToken, TokenError> {
    verify_for(Purpose::User, keys, token, realm, now_unix_s)
}

/// Verifies a token for `purpose`.
///
/// # Errors
/// [`TokenError`].
pub fn verify_for(
    purpose: Purpose,
    keys: &TenantKeys,
    token: &str,
    realm: &RealmId,
    now_unix_s: u64,
) -> Result<VerifiedToken, TokenError> {
    if token.len() > MAX_TOKEN_LEN {
        return Err(TokenError::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(TokenError::Malformed)?;
    let signature = decode_base64(signature)?;
    let header: Header = decode_object(header, TokenError::Header)?;
    let tenant = header.check(keys, message.as_bytes(), &signature)?;
    let claims: Claims = decode_object(claims, TokenError::Claims)?;
    claims.check(purpose, tenant, realm, now_unix_s)?;
    Ok(VerifiedToken { tenant: claims.iss, user: claims.sub })
}

impl Header {
    /// Checks everything that the header decides, the signature last. Returns the tenant whose key it was.
    fn check(&self, keys: &TenantKeys, message: &[u8], signature: &[u8]) -> Result<&str, TokenError> {
        if self.crit || !self.typ.as_deref().is_none_or(is_jwt) {
            return Err(TokenError::Header);
        }
        let (tenant, version) = self.kid.as_deref().and_then(parse_key_id).ok_or(TokenError::KeyId)?;
        let key = keys.key(tenant, version).ok_or(TokenError::UnknownKey)?;
        if self.alg != key.algorithm().name() {
            return Err(TokenError::Algorithm);
        }
        if key.verifies(message, signature) { Ok(tenant) } else { Err(TokenError::Signature) }
    }
}

impl Claims {
    fn check(
        &self,
        purpose: Purpose,
        tenant: &str,
        realm: &RealmId,
        now_unix_s: u64,
    ) -> Result<(), TokenError> {
        // An empty subject is a fault of the issuer that would make strangers share one record.
        if self.iss != tenant || self.sub.is_empty() {
            return Err(TokenError::Issuer);
        }
        if self.aud != realm.to_string() {
            return Err(TokenError::Audience);
        }
        let late = Duration::from_secs(now_unix_s.saturating_add(LEEWAY_S));
        let early = Duration::from_secs(now_unix_s.saturating_sub(LEEWAY_S));
        let most = Duration::from_secs(MAX_LIFETIME_S);
        let lives = self.exp.0.checked_sub(self.nbf.0).is_some_and(|life| life <= most);
        let issued = self.iat.as_ref().is_none_or(|iat| iat.0 <= late);
        if !(lives && issued && self.nbf.0 <= late && early <= self.exp.0) {
            return Err(TokenError::Time);
        }
        match (purpose, self.scope.as_deref()) {
            (Purpose::User, None | Some("user")) | (Purpose::Audit, Some("audit")) => Ok(()),
            _ => Err(TokenError::Scope),
        }
    }
}

/// Seconds since 1970, perhaps with a fraction (RFC 7519, section 2).
struct NumericDate(Duration);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_f64(AnyNumber)
    }
}

/// Whole numbers are kept as they are: as floating point, large ones would be rounded.
struct AnyNumber;

impl Visitor<'_> for AnyNumber {
    type Value = NumericDate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds since 1970")
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<NumericDate, E> {
        Ok(NumericDate(Duration::from_secs(seconds)))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<NumericDate, E> {
        Duration::try_from_secs_f64(seconds).map(NumericDate).map_err(E::custom)
    }
}

/// Splits `tenant:version`. The version is decimal digits without leading zeros: one key, one name.
fn parse_key_id(kid: &str) -> Option<(&str, u64)> {
    let (tenant, digits) = kid.split_once(':')?;
    let version: u64 = digits.parse().ok()?;
    (version.to_string() == digits).then_some((tenant, version))
}

fn is_jwt(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    typ == "jwt" || typ.ends_with("+jwt")
}

fn decode_base64(text: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed)
}

fn decode_object<T: DeserializeOwned>(text: &str, otherwise: TokenError) -> Result<T, TokenError> {
    let json = decode_base64(text)?;
    // A derived struct would also be read from an array of its fields.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(TokenError::Malformed);
    }
    serde_json::from_slice(&json).map_err(|_| otherwise)
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Mints an HS256 token for `user` with a life of [`MINTED_LIFETIME_S`], as a tenant's server would.
#[must_use]
pub fn mint(
    secret: &[u8],
    tenant: &str,
    version: u64,
    user: &str,
    realm: &RealmId,
    now_unix_s: u64,
) -> String {
    mint_for(Purpose::User, secret, (tenant, version), user, realm, now_unix_s)
}

/// The same for `purpose`, with this version of the key of `tenant`.
#[must_use]
pub fn mint_for(
    purpose: Purpose,
    secret: &[u8],
    (tenant, version): (&str, u64),
    user: &str,
    realm: &RealmId,
    now_unix_s: u64,
) -> String {
    #[derive(Serialize)]
    struct MintedHeader<'a> {
        alg: &'a str,
        kid: String,
        typ: &'a str,
    }
    #[derive(Serialize)]
    struct MintedClaims<'a> {
        iss: &'a str,
        sub: &'a str,
        aud: String,
        nbf: u64,
        exp: u64,
        scope: &'a str,
    }
    let header =
        MintedHeader { alg: Algorithm::Hs256.name(), kid: format!("{tenant}:{version}"), typ: "JWT" };
    let claims = MintedClaims {
        iss: tenant,
        sub: user,
        aud: realm.to_string(),
        nbf: now_unix_s,
        exp: now_unix_s.saturating_add(MINTED_LIFETIME_S),
        scope: purpose.scope(),
    };
    let mut token = format!("{}.{}", encode(&header), encode(&claims));
    let tag = hs256(secret, token.as_bytes()).finalize().into_bytes();
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(tag, &mut token);
    token
}

fn encode(part: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).expect("strings and integers always serialize"))
}
