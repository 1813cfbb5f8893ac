//! The client's configuration: which realms keep the secret, and how many of them are needed.
//!
//! It comes from the application's developer and is trusted: anyone who can change it can point the client at realms of
//! their own. Holding a [`Configuration`] proves that every rule of section 2 of the client protocol
//! holds; its realms are in order of their share index.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;
use strongroom_client_crypto::pin::PinHashingMode;
use strongroom_client_crypto::sharing::ShareIndex;
use strongroom_proto::ids::{RealmId, X25519Public};
use url::{Host, Position, Url};

/// One realm, as its clients need to know it.
#[derive(Clone, PartialEq, Eq)]
pub struct Realm {
    id: RealmId,
    address: Url,
    /// One for each address, that of `address` first.
    request_urls: Vec<Url>,
    public_key: Option<X25519Public>,
}

impl Realm {
    /// The realm's id.
    #[must_use]
    pub fn id(&self) -> RealmId {
        self.id
    }

    /// Where the realm is.
    #[must_use]
    pub fn address(&self) -> &Url {
        &self.address
    }

    /// Where its requests go: `req` resolved against the address (RFC 3986), so an address without a trailing
    /// slash loses its last path segment.
    #[must_use]
    pub fn request_url(&self) -> &Url {
        &self.request_urls[0]
    }

    /// Where its requests can go: [`Realm::request_url`], then the same for each of `other_addresses`.
    #[must_use]
    pub fn request_urls(&self) -> &[Url] {
        &self.request_urls
    }

    /// The X25519 key of a hardware realm; none for a software realm, which is trusted to see its requests.
    #[must_use]
    pub fn public_key(&self) -> Option<&X25519Public> {
        self.public_key.as_ref()
    }
}

impl fmt::Debug for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secret: an address may hold a name and a password for what stands in front of the realm.
        let places: Vec<_> = self.request_urls.iter().map(|url| &url[Position::BeforeHost..]).collect();
        f.debug_struct("Realm")
            .field("id", &self.id)
            .field("request_urls", &places)
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// Realms and thresholds. Parse it from JSON with [`Configuration::from_json`] or [`str::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    realms: Vec<Realm>,
    register_threshold: usize,
    recover_threshold: usize,
    pin_hashing_mode: PinHashingMode,
}

impl Configuration {
    /// Reads a configuration. Unknown fields are ignored. Realms must be reached over TLS, or on this machine.
    ///
    /// # Errors
    ///
    /// [`ConfigurationError`] names the rule that is broken and what to change.
    pub fn from_json(json: &str) -> Result<Self, ConfigurationError> {
        Self::read(json, PlainHttp::OnThisMachine)
    }

    /// As [`Configuration::from_json`], but allows plain `http` to hardware realms anywhere. Anyone on the network path
    /// can then take the auth token, and with it use up the user's guesses, or delete or replace the registration. This
    /// is for tests, and for networks that are protected by other means. Software realms still need TLS: their requests
    /// carry everything in the clear.
    ///
    /// # Errors
    ///
    /// As [`Configuration::from_json`].
    pub fn from_json_allowing_http(json: &str) -> Result<Self, ConfigurationError> {
        Self::read(json, PlainHttp::ToHardwareRealms)
    }

    fn read(json: &str, plain_http: PlainHttp) -> Result<Self, ConfigurationError> {
        // Editors of some systems put a byte-order mark before text.
        let json = json.strip_prefix('\u{feff}').unwrap_or(json);
        let raw: RawConfiguration =
            serde_json::from_str(json).map_err(|e| ConfigurationError::Json(e.to_string()))?;
        let mut realms =
            raw.realms.iter().map(|realm| realm.read(plain_http)).collect::<Result<Vec<_>, _>>()?;
        realms.sort_by_key(|realm| realm.id);
        if let Some(id) = realms.windows(2).find(|pair| pair[0].id == pair[1].id).map(|pair| pair[0].id) {
            return Err(ConfigurationError::DuplicateRealm { realm: id });
        }
        let count = realms.len();
        if count == 0 || count > MAX_REALMS {
            return Err(ConfigurationError::RealmCount { count });
        }
        let threshold = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let (register, recover) = (threshold(raw.register_threshold), threshold(raw.recover_threshold));
        if recover <= count / 2 || recover > count {
            return Err(ConfigurationError::RecoverThreshold { least: count / 2 + 1, realms: count });
        }
        if register < recover || register > count {
            return Err(ConfigurationError::RegisterThreshold { least: recover, realms: count });
        }
        let pin_hashing_mode = match raw.pin_hashing_mode.as_str() {
            "Standard2019" => PinHashingMode::Standard2019,
            "FastInsecure" => PinHashingMode::FastInsecure,
            _ => return Err(ConfigurationError::PinHashingMode(raw.pin_hashing_mode)),
        };
        Ok(Self { realms, register_threshold: register, recover_threshold: recover, pin_hashing_mode })
    }

    /// The realms in order of their ids. The share index of a realm is its position plus one.
    #[must_use]
    pub fn realms(&self) -> &[Realm] {
        &self.realms
    }

    /// The share index of a realm (1 for the smallest id), whatever order the configuration lists them in.
    #[must_use]
    pub fn share_index(&self, realm: &RealmId) -> Option<ShareIndex> {
        self.members().find(|member| member.realm.id == *realm).map(|member| member.index)
    }

    /// Threshold and number of the shares.
    pub(crate) fn sharing(&self) -> (u32, u32) {
        let small = |n: usize| u32::try_from(n).expect("MAX_REALMS bounds both");
        (small(self.recover_threshold), small(self.realms.len()))
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = Member<'_>> {
        (1..).filter_map(ShareIndex::new).zip(&self.realms).map(|(index, realm)| Member { index, realm })
    }

    /// How many realms must have stored a registration for it to count.
    #[must_use]
    pub fn register_threshold(&self) -> usize {
        self.register_threshold
    }

    /// How many realms together give the secret back: more than half of them.
    #[must_use]
    pub fn recover_threshold(&self) -> usize {
        self.recover_threshold
    }

    /// How PINs are stretched.
    #[must_use]
    pub fn pin_hashing_mode(&self) -> PinHashingMode {
        self.pin_hashing_mode
    }
}

/// A realm in its place among the realms of a configuration.
#[derive(Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) index: ShareIndex,
    pub(crate) realm: &'a Realm,
}

impl Member<'_> {
    /// The position among the realms of the configuration, from 0.
    pub(crate) fn position(&self) -> usize {
        usize::try_from(self.index.number()).map_or(0, |number| number.saturating_sub(1))
    }
}

impl FromStr for Configuration {
    type Err = ConfigurationError;

    fn from_str(json: &str) -> Result<Self, ConfigurationError> {
        Self::from_json(json)
    }
}

/// The most realms one configuration may name: far beyond any use, and a bound on what one operation starts.
const MAX_REALMS: usize = 255;

/// Why a configuration is refused. Each message says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// Not JSON, or a field is missing or of another type.
    #[error("the configuration is not the JSON object expected: {0}")]
    Json(String),
    /// No realm, or too many.
    #[error("the configuration names {count} realms: name 1 to {MAX_REALMS} of them in `realms`")]
    RealmCount {
        /// How many it names.
        count: usize,
    },
    /// A realm id is not 16 bytes of hexadecimal.
    #[error("realm id {0:?} is not 32 hexadecimal digits: copy the id that the realm's operator published")]
    RealmId(String),
    /// The same id twice.
    #[error("realm {realm} is listed twice: each realm may hold one share only, remove one of the two")]
    DuplicateRealm {
        /// The repeated id.
        realm: RealmId,
    },
    /// An address is not an absolute `https` or `http` URL.
    #[error(
        "address {address:?} of realm {realm} is not a URL such as https://realm.example/: write it with its scheme"
    )]
    Address {
        /// Whose address it is.
        realm: RealmId,
        /// As it is written.
        address: String,
    },
    /// A hardware realm without TLS: the auth tokens would cross the network readable.
    #[error(
        "realm {realm} has an http address: anyone on the network path could take the user's auth token. Use https. \
         Only in a network that is safe by other means, allow http (`Configuration::from_json_allowing_http`, \
         `--allow-http`)"
    )]
    HardwareRealmWithoutTls {
        /// The realm.
        realm: RealmId,
    },
    /// A software realm without TLS: its requests would cross the network readable.
    #[error(
        "realm {realm} has no `public_key` and an http address: use https, or add the `public_key` of the realm"
    )]
    SoftwareRealmWithoutTls {
        /// The realm.
        realm: RealmId,
    },
    /// A public key is not 32 bytes of hexadecimal.
    #[error(
        "`public_key` of realm {realm} is not 64 hexadecimal digits: copy the key that the realm's operator published"
    )]
    PublicKey {
        /// Whose key it is.
        realm: RealmId,
    },
    /// The recover threshold is not a majority, or more than there are realms.
    #[error("`recover_threshold` must be {least} to {realms} for {realms} realms, more than half of them")]
    RecoverThreshold {
        /// The smallest that is allowed.
        least: usize,
        /// How many realms there are.
        realms: usize,
    },
    /// The register threshold is below the recover threshold, or more than there are realms.
    #[error(
        "`register_threshold` must be {least} to {realms}: at least `recover_threshold`, at most all realms"
    )]
    RegisterThreshold {
        /// The smallest that is allowed.
        least: usize,
        /// How many realms there are.
        realms: usize,
    },
    /// An unknown way of stretching PINs.
    #[error("`pin_hashing_mode` {0:?} is unknown: write \"Standard2019\"")]
    PinHashingMode(String),
}

#[derive(Deserialize)]
struct RawConfiguration {
    realms: Vec<RawRealm>,
    register_threshold: u32,
    recover_threshold: u32,
    pin_hashing_mode: String,
}

#[derive(Deserialize)]
struct RawRealm {
    id: String,
    address: String,
    /// Clients in the field ignore it.
    #[serde(default)]
    other_addresses: Vec<String>,
    public_key: Option<String>,
}

/// Where `http` addresses are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PlainHttp {
    OnThisMachine,
    ToHardwareRealms,
}

impl RawRealm {
    fn read(&self, plain_http: PlainHttp) -> Result<Realm, ConfigurationError> {
        let id: RealmId = self.id.parse().map_err(|_| ConfigurationError::RealmId(self.id.clone()))?;
        let urls = std::iter::once(&self.address).chain(&self.other_addresses).map(|text| urls(id, text));
        let (mut addresses, request_urls): (Vec<_>, Vec<_>) =
            urls.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let public_key = match &self.public_key {
            None => None,
            Some(text) => {
                let mut key = [0; 32];
                hex::decode_to_slice(text, &mut key)
                    .map_err(|_| ConfigurationError::PublicKey { realm: id })?;
                Some(X25519Public(key))
            }
        };
        if addresses.iter().any(|address| address.scheme() == "http" && !is_loopback(address)) {
            if public_key.is_none() {
                return Err(ConfigurationError::SoftwareRealmWithoutTls { realm: id });
            }
            if plain_http == PlainHttp::OnThisMachine {
                return Err(ConfigurationError::HardwareRealmWithoutTls { realm: id });
            }
        }
        Ok(Realm { id, address: addresses.swap_remove(0), request_urls, public_key })
    }
}

/// An address of a realm, and where its requests go.
fn urls(realm: RealmId, text: &str) -> Result<(Url, Url), ConfigurationError> {
    let bad_address = || ConfigurationError::Address { realm, address: text.to_owned() };
    let address = Url::parse(text).map_err(|_| bad_address())?;
    if !matches!(address.scheme(), "https" | "http") {
        return Err(bad_address());
    }
    let request_url = address.join("req").map_err(|_| bad_address())?;
    Ok((address, request_url))
}

fn is_loopback(address: &Url) -> bool {
    match address.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        None => false,
    }
}
