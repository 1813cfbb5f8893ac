//! The Strongroom SDK: keeps a secret under a short PIN in several realms, which destroy it after a fixed number of
//! wrong guesses.
//!
//! No realm learns the PIN or the secret, and fewer realms than the configuration's recover threshold cannot test a
//! PIN. A [`Client`] speaks the client protocol (sections 2 and 8 to 10) over a [`Transport`], as the user that
//! [`AuthTokens`] name. The network and every realm are untrusted; the application, its configuration and the device
//! are trusted.
//!
//! ```no_run
//! use std::num::NonZeroU8;
//! use strongroom_client::{Client, Configuration, FixedTokens, Https, Pin, RecoverError, UserSecret};
//!
//! # async fn example(json: &str, tokens: FixedTokens) -> Result<(), Box<dyn std::error::Error>> {
//! let configuration = Configuration::from_json(json)?;
//! let client = Client::new(configuration, vec![], tokens, Https::new()?);
//! let (pin, secret) = (Pin::from("4821"), UserSecret::new(b"a key of 128 bytes at most")?);
//! client.register(&pin, &secret, b"", NonZeroU8::new(10).unwrap()).await?;
//! match client.recover(&pin, b"").await {
//!     Ok(secret) => assert_eq!(secret.as_bytes(), b"a key of 128 bytes at most"),
//!     Err(RecoverError::InvalidPin { guesses_remaining, .. }) => println!("{guesses_remaining} guesses left"),
//!     Err(error) => println!("{error}"),
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod auth;
mod bug;
mod client;
mod configuration;
mod copies;
mod delete;
mod error;
mod hearing;
mod https;
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
pub use client::{Client, Progress};
pub use configuration::{Configuration, ConfigurationError, Realm};
pub use error::{Cause, DeleteError, RealmError, RecoverError, RegisterError};
pub use https::{Https, HttpsError};
pub use pin::Pin;
pub use retry::RetryPolicy;
pub use status::{RealmStatus, Registration, Status, Summary};
pub use transport::{HttpResponse, NetworkError, Transport};

pub use strongroom_proto::client::RegistrationVersion;
pub use strongroom_proto::ids::{RealmId, X25519Public};
pub use strongroom_proto::pin::{InputTooLong, PinHashingMode};
pub use strongroom_proto::registration::{SecretTooLong, UserSecret};
pub use strongroom_proto::sharing::ShareIndex;
