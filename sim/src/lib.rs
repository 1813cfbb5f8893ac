//! Strongroom in one process: real cores, real replicas, real client messages.
//!
//! Trusts nothing and is trusted by nothing; what it finds is wrong with the crates it drives.
#![forbid(unsafe_code)]

pub mod app;
pub mod bench;
pub mod board;
pub mod cases;
pub mod ceremony;
pub mod chaos;
pub mod cluster;
pub mod demo;
pub mod groups;
pub mod hostile;
pub mod local;
pub mod model;
pub mod page;
pub mod replay_bench;
pub mod run;
pub mod slow_bench;
pub mod tree_bench;

/// Anything that went wrong, with what to do about it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
