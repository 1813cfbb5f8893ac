//! Simulated clusters: replicas, cores and users, with time and faults from a seed.

#[macro_use]
mod scenario;

mod answers;
mod bugs;
mod changes;
mod hosts;
mod idle;
mod liars;
mod reads;
mod rivals;
mod storage;
mod stream;
