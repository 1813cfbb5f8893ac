//! The host daemon of one HSM.

pub mod admin;
pub mod agent;
mod causes;
pub mod check;
pub mod cli;
pub mod config;
pub mod descriptors;
pub mod file;
pub mod front;
pub mod grpc;
pub mod limits;
pub mod link;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod peers;
pub mod store;
pub mod tenants;
pub mod timing;
pub mod tls;
pub mod token;
pub mod tree;
