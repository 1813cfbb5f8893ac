//! Where PINs are stretched.
//!
//! Stretching takes a good part of a second. Under tokio it happens on a thread for such work. A browser has no such threads, only
//! workers that somebody starts and sends messages to: whoever puts the client there says how, with a [`Stretcher`].

use std::fmt;

use async_trait::async_trait;
use strongroom_client_crypto::pin::{InputTooLong, PinHashingMode, StretchedPin, stretch};
use strongroom_proto::client::RegistrationVersion;

use crate::pin::Pin;
use crate::runtime::{Shareable, compute};

/// The stretching of one PIN, for one registration of one user.
#[derive(Clone)]
pub struct Stretching {
    /// How much work it is.
    pub mode: PinHashingMode,
    /// The PIN.
    pub pin: Pin,
    /// The registration.
    pub version: RegistrationVersion,
    /// What the application calls the user.
    pub user_info: Vec<u8>,
}

impl Stretching {
    /// Does it, on this thread: 16 MiB of memory and a good part of a second, if the mode protects anything.
    ///
    /// # Errors
    ///
    /// PIN or user info is 4 GiB long or longer.
    pub fn run(&self) -> Result<StretchedPin, InputTooLong> {
        stretch(self.mode, self.pin.as_bytes(), &self.version, &self.user_info)
    }
}

impl fmt::Debug for Stretching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stretching").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// Has PINs stretched where that holds nothing up. Given to [`ClientBuilder::stretcher`](crate::ClientBuilder::stretcher).
///
/// It sees PINs, and so does whatever it hands them to: that must be the application itself, on the user's device.
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
pub trait Stretcher: Shareable {
    /// What [`Stretching::run`] returns, from elsewhere. If that place cannot be reached, an implementation runs it here.
    ///
    /// # Errors
    ///
    /// As [`Stretching::run`].
    async fn stretch(&self, stretching: Stretching) -> Result<StretchedPin, InputTooLong>;
}

/// The default: a thread of tokio's, or where there is none, this one.
pub(crate) struct Threads;

#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
impl Stretcher for Threads {
    async fn stretch(&self, stretching: Stretching) -> Result<StretchedPin, InputTooLong> {
        compute(move || stretching.run()).await
    }
}
