//! What firmware of the Strongroom HSM is made of, apart from the core and the registers of one board.
//!
//! Owns the driver of a CFI flash over a bus, and the link over a carrier of bytes. Both are plain code over a small
//! trait, so that they are tested on the host; `main.rs` and `board/` bring the registers.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cfi;
pub mod link;
