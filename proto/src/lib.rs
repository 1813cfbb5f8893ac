//! What two sides of a Strongroom wire must agree on.
//!
//! Four wires meet here: client and realm ([`client`], [`noise`], [`oprf`] and their relatives), agent and HSM
//! ([`frame`], [`hsm`]), HSM and HSM by way of the hosts ([`entry`], [`statement`]), and the tree that both an HSM
//! and its host hash ([`tree`]). Nothing here does I/O, and nothing trusts its input.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod hash;
pub mod ids;
