//! The SDK for JavaScript: what of it is Rust. Everything that is decided is decided in `strongroom-client`.
//!
//! This crate knows nothing of browsers or Node either. What it needs of them, such as `fetch` and a worker, is a *host*: an
//! object that `js/` makes, see [`host`]. An application sees neither, but the class `Client` of `js/strongroom.js`.
//!
//! Secret: what goes to JavaScript, such as a recovered secret or the body of a request, is copied there, and its garbage collector
//! wipes nothing. `js/` overwrites the copies of its own.

mod convert;
mod core;
mod host;

pub use core::Core;

use convert::{hashing_mode, pin_help_json, thrown};
use js_sys::{Array, Uint8Array};
use strongroom_client::{Pin, PinHelp, RegistrationVersion, Stretching};
use wasm_bindgen::prelude::*;

/// Stretches a PIN, on this thread: what a worker is started for. Returns 64 bytes.
///
/// # Errors
///
/// It was not called as [`host::Host::stretch`] is.
#[wasm_bindgen]
pub fn stretch(mode: &str, pin: Vec<u8>, version: &[u8], user_info: Vec<u8>) -> Result<Vec<u8>, JsError> {
    let mode = hashing_mode(mode).ok_or_else(|| JsError::new("there is no such PIN hashing mode"))?;
    let version = version.try_into().map_err(|_| JsError::new("a version has 16 bytes"))?;
    let version = RegistrationVersion(version);
    let stretched = Stretching { mode, pin: Pin::new(pin), version, user_info }.run().map_err(thrown)?;
    Ok(stretched.to_bytes().to_vec())
}

/// Looks at a PIN that a user typed. Returns the bytes to use, and the JSON of what can be said of it.
#[wasm_bindgen]
#[must_use]
pub fn pin_help(typed: &str) -> Array {
    let help = PinHelp::of(typed);
    Array::of2(&Uint8Array::from(help.pin.as_bytes()), &pin_help_json(&help).into())
}
