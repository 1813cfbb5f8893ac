//! Three hosts, or five with two groups, as real processes, with everything around their HSMs going wrong, and a history of what users were told.
//!
//! [`run`] is `strongroom-sim chaos`. [`Realm::start`] makes the hosts and their realm; [`Doors`] gives users access to
//! it.

pub mod check;
mod daemon;
mod device;
mod door;
mod failover;
mod faults;
pub mod history;
mod link;
mod moves;
mod options;
mod programs;
mod realm;
mod report;
pub mod rolling;
mod run;
mod store;
mod users;

pub use daemon::Daemon;
pub use device::{Device, Recorder};
pub use door::{Doors, End, Pass, Sent};
pub use failover::{Going, Met, Trials, failover};
pub use link::{Link, Mode};
pub use options::Options;
pub use programs::Programs;
pub(crate) use realm::address;
pub use realm::{HOSTS, Host, Realm, Wires};
pub use run::run;
pub use store::{Kind, Store};
