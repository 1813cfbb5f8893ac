//! Strongroom in one process: real cores, real replicas, real client messages.
//!
//! Trusts nobody and is trusted by nobody; what it finds is found in the crates it drives.
#![forbid(unsafe_code)]

pub mod board;
mod ceremony;
pub mod chaos;
pub mod cluster;
mod core;
pub mod demo;
mod env;
pub mod faulty;
pub mod hostile;
pub mod local;
pub mod model;
pub mod replay_bench;
pub mod run;
pub mod tree_bench;
