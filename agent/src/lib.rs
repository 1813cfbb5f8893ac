//! The host daemon of one HSM.
//!
//! What it decides about its group is in [`strongroom_replica`]; this crate carries that out. No module uses one that
//! stands below it in this list:
//!
//! | | |
//! |---|---|
//! | [`grpc`], [`clock`], [`mod@file`], [`limits`], [`tenants`], [`token`], [`tls`], [`link`], [`traces`] | what the others are made of |
//! | [`store`], [`tree`], [`peers`], [`front`], [`usage`], [`publish`] | what an agent depends on, what talks to it, what it counts, and what outsiders check |
//! | [`timing`], [`config`], [`metrics`] | how all of those are set, and what they count |
//! | `hub` | what the services share: the HSM's queue, the replicas, the way of a request |
//! | [`admin`] | what an operator asks |
//! | [`overview`] | the whole realm, and whether all is well |
//! | [`balance`] | which prefixes go where, so that all groups have about the same to do |
//! | [`custodian`] | how custodians keep their keys |
//! | [`transcript`] | what a ceremony leaves behind for auditors |
//! | [`daemon`] | sockets and services, around one hub |
//! | [`check`], [`doctor`], [`cli`] | the command |

/// The version, with the commit that it was built from if that is known, and the kind of build.
pub const BUILD: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("STRONGROOM_COMMIT"),
    ", ",
    env!("STRONGROOM_PROFILE"),
    ")"
);

mod accept;
pub mod admin;
pub mod balance;
mod causes;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod custodian;
pub mod daemon;
pub mod descriptors;
pub mod doctor;
pub mod events;
pub mod file;
pub mod front;
pub mod grpc;
mod hub;
pub mod limits;
pub mod link;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod overview;
pub mod peers;
mod planted;
pub mod publish;
pub mod scrub;
mod segments;
pub mod store;
pub mod tenants;
pub mod timing;
pub mod tls;
pub mod token;
pub mod traces;
pub mod transcript;
pub mod tree;
pub mod usage;
mod vital;
