//! What an HSM must believe, and what two sides of a Strongroom wire must agree on.
//!
//! Four wires meet here: client and realm ([`client`], [`noise`], [`oprf`]), agent and HSM ([`frame`], [`hsm`]), HSM
//! and HSM by way of the hosts ([`entry`], [`statement`]), and the tree that both an HSM and its host hash ([`tree`]).
//! Nothing here does I/O, and nothing trusts its input. What only hosts and clients do is behind the
//! feature `outside`, which no HSM is built with. All else counts as part of the core (`.ci/trusted`).
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

pub mod bounded;
pub mod change;
pub mod checkpoint;
pub mod client;
pub mod enrolment;
pub mod entry;
pub mod events;
pub mod fingerprint;
pub mod frame;
pub mod hash;
pub mod hsm;
pub mod ids;
pub mod noise;
pub mod oprf;
pub mod prefix;
pub mod registration;
pub mod scalar;
pub mod statement;
pub mod tlog;
pub mod transfer;
pub mod tree;
