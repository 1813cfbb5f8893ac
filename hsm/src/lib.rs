//! The Strongroom HSM core.
//!
//! One function, [`Core::handle`], from request bytes to reply bytes over an [`Env`]: randomness and NVRAM. No clock,
//! no I/O, no panic that input can reach. Everything outside is hostile: hosts, networks and stores may drop, replay,
//! reorder, rewrite and fork what they carry. Each invariant of `docs/protocol.md` is named where it is kept.
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

extern crate alloc;

mod attempts;
mod config;
mod confirm;
mod core;
mod drbg;
mod enrolment;
mod entropy;
mod env;
mod event;
mod exact;
mod flash;
mod group;
mod head;
mod holding;
mod keys;
mod leadership;
mod log;
mod machine;
pub mod nvram;
mod process;
mod reads;
mod record;
mod retirement;
mod seal;
mod session;
mod start_error;
mod state;
mod telling;
mod transfer;

pub use crate::core::Core;
pub use config::Config;
pub use drbg::{DRAWS_PER_SEED, Drbg, SEED_BYTES, START_UP_BYTES};
pub use entropy::{
    EntropyError, EntropySource, HealthTests, MIN_ENTROPY_BITS, PROPORTION_CUTOFF, REPETITION_CUTOFF,
    WINDOW_BYTES,
};
pub use env::Env;
pub use flash::{Flash, FlashError, Geometry};
pub use process::SEALED_EVENT_BYTES;
pub use record::{RECORD_BYTES, SEALED_RECORD_BYTES};
pub use session::{MAX_SESSIONS_OF_A_RECORD, charged_places};
pub use start_error::StartError;
