#![cfg_attr(feature = "https", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "https"),
    doc = "The Strongroom SDK, without its transport: see the feature `https`."
)]
#![forbid(unsafe_code)]
#![warn(missing_docs, missing_debug_implementations)]

mod attempts;
mod auth;
mod bug;
mod builder;
mod change;
mod client;
mod configuration;
mod copies;
mod delete;
mod error;
mod extensions;
mod failure;
mod heads;
mod hearing;
#[cfg(feature = "https")]
mod https;
#[cfg(feature = "https")]
mod lane;
mod linger;
mod link;
mod offers;
mod open;
mod phase;
mod pin;
mod pin_help;
mod recover;
mod register;
mod repair;
mod retry;
mod routes;
mod runtime;
mod session;
mod status;
mod stragglers;
mod stretch;
mod transport;
mod verdict;
mod versions;

pub use attempts::{
    AttemptList, Attempts, Counted, CountedRequest, RealmAttempts, RealmReceipt, counted_requests,
};
pub use auth::{AuthTokens, FixedTokens, NoToken};
#[cfg(feature = "planted-bugs")]
pub use bug::Bug;
pub use builder::ClientBuilder;
pub use client::{Client, Progress};
pub use configuration::{Configuration, ConfigurationError, Realm};
pub use error::{Cause, Error, ErrorKind, Operation, RealmError};
pub use heads::{
    CLOCK_SKEW, DemandError, Evidence, ForgetfulMemory, HeadDemand, HeadError, HeadMemory, MemoryError,
    ReceiptFailure,
};
#[cfg(feature = "https")]
pub use https::{Https, HttpsError};
pub use pin::Pin;
pub use pin_help::{CommonPin, PinHelp, PinOddity};
pub use recover::Recovered;
pub use repair::{Mended, RealmRepair, Repair};
pub use retry::RetryPolicy;
pub use runtime::Shareable;
pub use status::{RealmStatus, Registration, Status, Summary};
pub use stretch::{Stretcher, Stretching};
pub use transport::{HttpResponse, NetworkError, Transport};

// What both sides of the protocol share, and the types of the cryptography.
pub use strongroom_client_crypto::pin::{InputTooLong, PinHashingMode, StretchedPin};
pub use strongroom_client_crypto::registration::{SecretTooLong, UserSecret};
pub use strongroom_client_crypto::sharing::ShareIndex;
pub use strongroom_proto::client::{Attempt, AttemptsResponse, RegistrationVersion};
pub use strongroom_proto::ids::{ParseIdError, RealmId, X25519Public};
// What receipts are verified with.
pub use strongroom_tlog::history::{Broken as BrokenHistory, History as AttemptHistory};
pub use strongroom_tlog::receipt::{Standing, standing};
pub use strongroom_tlog::{ClaimedReceipt, Note, RealmStatement, Receipt, ReceiptError};

// What an application needs from other crates to write a transport, a source of tokens or a generator.
pub use async_trait::async_trait;
pub use rand_core;
pub use url::Url;
pub use zeroize::Zeroizing;

/// The 20 lines of the repository's README.
#[cfg(all(doctest, feature = "https"))]
#[doc = include_str!("../../README.md")]
mod repository {}
