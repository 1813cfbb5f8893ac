//! What tests and the simulator put around a core: the device it runs in, the realm it is in, the user it serves, and
//! the object store that its agent would write to.
//!
//! Each thing is here once. It knows nothing about agents, clusters or hosts, honest or not. Nothing that ships may use
//! it.
#![forbid(unsafe_code)]

mod core;
mod device;
pub mod env;
#[cfg(feature = "store")]
pub mod faulty;
mod flash;
pub mod founding;
mod names;
pub mod tape;
mod user;

pub use core::Bug;
pub use device::Device;
pub use env::{CutFlash, GEOMETRY, Scripted, TestEnv};
pub use flash::MemoryFlash;
pub use founding::{Custodians, Hsm};
pub use names::request_name;
pub use tape::{Entropy, Event, Randomness, Tape};
pub use user::registration;
