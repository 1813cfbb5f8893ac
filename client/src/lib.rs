#![cfg_attr(feature = "https", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "https"),
    doc = "The Strongroom SDK, without its transport: see the feature `https`."
)]
#![forbid(unsafe_code)]
#![warn(missing_docs, missing_debug_implementations)]

mod auth;
mod bug;
mod builder;
mod client;
mod configuration;
mod copies;
mod delete;
mod error;
mod failure;
mod heads;
mod hearing;
#[cfg(feature = "https")]
mod https;
#[cfg(feature = "https")]
mod lane;
mod linger;
mod link;
mod phase;
mod pin;
mod recover;
mod register;
mod retry;
mod routes;
mod session;
mod status;
mod transport;
mod verdict;

pub use auth::{AuthTokens, FixedTokens, NoToken};
#[cfg(feature = "planted-bugs")]
pub use bug::Bug;
pub use builder::ClientBuilder;
pub use client::{Client, Progress};
pub use configuration::{Configuration, ConfigurationError, Realm};
pub use error::{Cause, Error, ErrorKind, Operation, RealmError};
pub use heads::{
    CLOCK_SKEW, DemandError, Evidence, ForgetfulMemory, HeadDemand, HeadError, HeadMemory, MemoryError,
};
#[cfg(feature = "https")]
pub use https::{Https, HttpsError};
pub use pin::Pin;
pub use retry::RetryPolicy;
pub use status::{RealmStatus, Registration, Status, Summary};
pub use transport::{HttpResponse, NetworkError, Transport};

// What both sides of the protocol share, and the types of the cryptography.
pub use strongroom_client_crypto::pin::PinHashingMode;
pub use strongroom_client_crypto::registration::{SecretTooLong, UserSecret};
pub use strongroom_client_crypto::sharing::ShareIndex;
pub use strongroom_proto::client::RegistrationVersion;
pub use strongroom_proto::ids::{ParseIdError, RealmId, X25519Public};

// What an application needs from other crates to write a transport, a source of tokens or a generator.
pub use async_trait::async_trait;
pub use rand_core;
pub use url::Url;
pub use zeroize::Zeroizing;

/// The 20 lines of the repository's README.
#[cfg(all(doctest, feature = "https"))]
#[doc = include_str!("../../README.md")]
mod repository {}
