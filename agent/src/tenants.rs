//! The tenants of the realm and the keys with which they sign auth tokens.
//!
//! A tenant is the operator of an app. Anyone who holds a tenant's signing key can use up the guesses of that tenant's
//! users, and of no others; so each key belongs to one tenant, and weak keys are refused when the file is read. So are
//! tenants for tests, unless the configuration allows them: their keys lie wherever tests are written, and nobody
//! guards them. Secrets are wiped when dropped and appear in no error and no debug output.
//!
//! The file:
//!
//! ```toml
//! [[tenant]]
//! name = "acme"        # ^(test-)?[a-zA-Z0-9]+$
//! version = 1          # which key: tokens say `kid = "acme:1"`. Quote it if it exceeds 63 bits
//! algorithm = "HS256"  # or "RS256", "EdDSA"
//! key = "…"           # HS256: the shared secret as hexadecimal. Others: the public key as PEM or hexadecimal DER
//! ```
//!
//! To rotate a key, add the next version, switch the issuer over, and remove the old version a day later.

use crate::file::{FileError, ReadFile, Reloadable, parse_toml, toml_of};
use ed25519_dalek::VerifyingKey;
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use sha2::Sha256;
use spki::der::asn1::{AnyRef, BitStringRef, UintRef};
use spki::der::{Decode, Reader, SliceReader};
use spki::{ObjectIdentifier, SubjectPublicKeyInfo};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use zeroize::Zeroizing;

/// A tenants file, read again when it changes.
pub type Tenants = Reloadable<TenantKeys>;

/// Whether tenants named `test-…` are let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TestTenants {
    /// They are accepted like any other.
    Allowed,
    /// A file that has one is refused.
    Refused,
}

impl Tenants {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(path: PathBuf, tests: TestTenants) -> Result<Self, FileError> {
        let load: fn(&[ReadFile]) -> _ = match tests {
            TestTenants::Allowed => |files| keys_in(&files[0], TestTenants::Allowed),
            TestTenants::Refused => |files| keys_in(&files[0], TestTenants::Refused),
        };
        Self::load(vec![path], load)
    }
}

fn keys_in(file: &ReadFile, tests: TestTenants) -> Result<TenantKeys, FileError> {
    let (text, raw) = toml_of::<RawFile>(&file.path, &file.bytes)?;
    TenantKeys::from_raw(&file.path, &text, raw, tests)
}

/// The algorithms of auth tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// HMAC with SHA-256 (RFC 7518, section 3.2).
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, section 3.3), 2,048 to 4,096 bits.
    Rs256,
    /// Ed25519 (RFC 8037, section 3.1), verified strictly.
    EdDsa,
}

impl Algorithm {
    /// The name in token headers and in the tenants file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// The verifying side of one version of a tenant's key.
pub enum TenantKey {
    /// A secret shared with the tenant.
    Hs256(Zeroizing<Vec<u8>>),
    /// The tenant's RSA public key, as big-endian modulus and exponent.
    Rs256(RsaPublicKeyComponents<Vec<u8>>),
    /// The tenant's Ed25519 public key.
    EdDsa(VerifyingKey),
}

impl fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantKey({})", self.algorithm().name())
    }
}

impl TenantKey {
    /// The one algorithm with which this key may be used.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hs256(_) => Algorithm::Hs256,
            Self::Rs256(_) => Algorithm::Rs256,
            Self::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hs256(secret) => hs256(secret, message).verify_slice(signature).is_ok(),
            Self::Rs256(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
            Self::EdDsa(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
        }
    }
}

/// HMAC-SHA-256 of `message`, to be finished or compared.
pub(crate) fn hs256(secret: &[u8], message: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length").chain_update(message)
}

/// Every key of every tenant.
#[derive(Debug, Default)]
pub struct TenantKeys(BTreeMap<String, BTreeMap<u64, TenantKey>>);

impl TenantKeys {
    /// Parses the text of a tenants file. `path` is for errors.
    ///
    /// # Errors
    /// [`FileError::Content`].
    pub fn parse(path: &Path, text: &str, tests: TestTenants) -> Result<Self, FileError> {
        Self::from_raw(path, text, parse_toml(path, text)?, tests)
    }

    /// The key that `tenant` has under `version`.
    #[must_use]
    pub fn key(&self, tenant: &str, version: u64) -> Option<&TenantKey> {
        self.0.get(tenant)?.get(&version)
    }

    /// The key of `tenant` that has the highest version, and that version.
    #[must_use]
    pub fn newest(&self, tenant: &str) -> Option<(u64, &TenantKey)> {
        self.0.get(tenant)?.last_key_value().map(|(version, key)| (*version, key))
    }

    /// The tenants whose newest key is a shared secret, with that.
    pub fn newest_secrets(&self) -> impl Iterator<Item = (&str, u64, &TenantKey)> {
        let newest =
            self.0.keys().filter_map(|name| self.newest(name).map(|(v, key)| (name.as_str(), v, key)));
        newest.filter(|(_, _, key)| key.algorithm() == Algorithm::Hs256)
    }

    fn from_raw(path: &Path, text: &str, raw: RawFile, tests: TestTenants) -> Result<Self, FileError> {
        let mut all = Self::default();
        for tenant in raw.tenant {
            let offset = tenant.span().start;
            let RawTenant { name, version, algorithm, key } = tenant.into_inner();
            let fail = |message: String| FileError::at(path, text, offset, message);
            if !is_tenant_name(&name) {
                return Err(fail("a tenant's name is letters and digits, optionally after \"test-\"".into()));
            }
            let version = version.number().ok_or_else(|| {
                fail(format!("tenant {name}: the version is a whole number from 0, below 2 to the 64"))
            })?;
            if is_test(&name) && tests == TestTenants::Refused {
                return Err(fail(format!(
                    "tenant {name}, version {version}: tenants for tests are refused here; remove it, or set \
                     `allow_test_tenants = true` in agent.toml if this realm keeps nothing of value"
                )));
            }
            let key = parse_key(&algorithm, &key.0)
                .map_err(|problem| fail(format!("tenant {name}, version {version}: {problem}")))?;
            if all.0.entry(name.clone()).or_default().insert(version, key).is_some() {
                return Err(fail(format!(
                    "tenant {name} has two keys of version {version}; number the new one higher"
                )));
            }
        }
        Ok(all)
    }
}

/// Whether `name` is `^(test-)?[a-zA-Z0-9]+$`.
#[must_use]
pub fn is_tenant_name(name: &str) -> bool {
    let rest = name.strip_prefix(TEST).unwrap_or(name);
    !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

const TEST: &str = "test-";

fn is_test(name: &str) -> bool {
    name.starts_with(TEST)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    tenant: Vec<Spanned<RawTenant>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTenant {
    name: String,
    version: RawVersion,
    algorithm: String,
    key: RawKey,
}

/// TOML integers have 63 bits and a sign; versions have 64 bits.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a whole number, or one in quotes")]
enum RawVersion {
    Number(u64),
    Text(String),
}

impl RawVersion {
    fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

// Secret: untagged, so that a value of the wrong type is not repeated in the error.
#[derive(Deserialize)]
#[serde(untagged, expecting = "the key goes in quotes")]
enum RawKeyText {
    Text(String),
}

#[derive(Deserialize)]
#[serde(from = "RawKeyText")]
struct RawKey(Zeroizing<String>);

impl From<RawKeyText> for RawKey {
    fn from(RawKeyText::Text(text): RawKeyText) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// Shortest HS256 secret, in bytes (RFC 7518, section 3.2).
const MIN_SECRET_LEN: usize = 32;
/// Anyone can make us verify a signature, and longer keys make that expensive.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

fn parse_key(algorithm: &str, text: &str) -> Result<TenantKey, &'static str> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.contains("PRIVATE KEY") {
        return Err(
            "this is a private key, which only the tenant may have; put the public key here, and have \
                    the tenant make a new pair",
        );
    }
    match algorithm {
        "HS256" => parse_secret(text),
        "RS256" => parse_rsa(&public_key(text)?),
        "EdDSA" => parse_ed25519(&public_key(text)?),
        _ => Err("the algorithm is \"HS256\", \"RS256\" or \"EdDSA\""),
    }
}

/// The algorithm of a tenant's public key in PEM.
///
/// # Errors
/// What is wrong with the key, and what to do.
pub fn public_key_algorithm(pem: &str) -> Result<&'static str, &'static str> {
    let pem = pem.trim_start_matches('\u{feff}').trim();
    if !pem.starts_with("-----BEGIN") {
        return Err("not a key in PEM; give the file that `openssl pkey -pubout` writes");
    }
    let ed25519 = Algorithm::EdDsa.name();
    if parse_key(ed25519, pem).is_ok() {
        return Ok(ed25519);
    }
    let rsa = Algorithm::Rs256.name();
    parse_key(rsa, pem).map(|_| rsa)
}

fn parse_secret(text: &str) -> Result<TenantKey, &'static str> {
    if text.starts_with("-----BEGIN") {
        return Err("HS256 takes a shared secret in hexadecimal; for a public key use RS256 or EdDSA");
    }
    let secret = hex::decode(text).map(Zeroizing::new).map_err(|_| {
        "an HS256 secret is given in hexadecimal (two digits a byte); make one with `openssl rand -hex 32`"
    })?;
    if secret.len() < MIN_SECRET_LEN {
        return Err("the HS256 secret is shorter than 32 bytes and can be guessed; make one with \
                    `openssl rand -hex 32`, and give it to the tenant");
    }
    Ok(TenantKey::Hs256(secret))
}

/// The DER of a public key given as PEM or as hexadecimal.
fn public_key(text: &str) -> Result<Vec<u8>, &'static str> {
    if text.starts_with("-----BEGIN") {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes());
        return der.map(|der| der.to_vec()).map_err(|_| {
            "the PEM has no PUBLIC KEY section; make it with `openssl pkey -pubout`, and put it between '''"
        });
    }
    hex::decode(text).map_err(|_| "a public key is given as PEM, or as its DER in hexadecimal")
}

fn subject_key(der: &[u8], algorithm: ObjectIdentifier) -> Option<Vec<u8>> {
    let info = SubjectPublicKeyInfo::<AnyRef<'_>, BitStringRef<'_>>::from_der(der).ok()?;
    let key = info.subject_public_key.as_bytes()?;
    (info.algorithm.oid == algorithm).then(|| key.to_vec())
}

fn parse_rsa(der: &[u8]) -> Result<TenantKey, &'static str> {
    let key = subject_key(der, RSA_ENCRYPTION)
        .ok_or("not an RSA public key; give the SubjectPublicKeyInfo that `openssl pkey -pubout` writes")?;
    let (n, e) = rsa_parts(&key).ok_or("the RSA public key is damaged; export it again")?;
    let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if bits < *RSA_BITS.start() {
        return Err("an RSA key under 2,048 bits can be broken; have the tenant make one of 3,072 bits");
    }
    if bits > *RSA_BITS.end() {
        return Err(
            "an RSA key over 4,096 bits makes each token, good or not, expensive to verify; have the tenant \
                    make one of 3,072 bits",
        );
    }
    Ok(TenantKey::Rs256(RsaPublicKeyComponents { n, e }))
}

fn rsa_parts(key: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut reader = SliceReader::new(key).ok()?;
    let parts: Result<_, spki::der::Error> = reader.sequence(|reader| {
        let (n, e) = (UintRef::decode(reader)?, UintRef::decode(reader)?);
        Ok((n.as_bytes().to_vec(), e.as_bytes().to_vec()))
    });
    reader.finish().ok()?;
    let (n, e) = parts.ok()?;
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    (odd(&n) && odd(&e) && e.len() <= 4 && e != [1]).then_some((n, e))
}

fn parse_ed25519(der: &[u8]) -> Result<TenantKey, &'static str> {
    let key = subject_key(der, ED25519).ok_or(
        "not an Ed25519 public key; give the SubjectPublicKeyInfo that `openssl pkey -pubout` writes",
    )?;
    let key = <[u8; 32]>::try_from(key).ok().and_then(|key| VerifyingKey::from_bytes(&key).ok());
    match key {
        Some(key) if !key.is_weak() => Ok(TenantKey::EdDsa(key)),
        _ => Err("the Ed25519 public key is damaged or weak; have the tenant make a new pair"),
    }
}
