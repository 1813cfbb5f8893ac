//! Agents as clients, tenants and other agents meet them, with what stands in for HSMs and stores.

#[allow(dead_code, reason = "the simulator's tests of servers share it")]
#[path = "../support/mod.rs"]
mod support;

#[path = "../support/bare.rs"]
mod bare;
#[path = "../support/door.rs"]
mod door;

mod agents;
mod edge;
mod grpc;
mod relay;
mod requests;
mod store_trust;
mod strangers;
mod tenant_events;
mod tokens;
