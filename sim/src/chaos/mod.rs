//! Three hosts as real processes, everything around their HSMs going wrong, and a history of what users were told.
//!
//! [`Realm::start`] makes the hosts, and a realm of them; [`Doors`] gives its users.

mod daemon;
mod door;
mod link;
mod programs;
mod realm;
mod store;

pub use daemon::Daemon;
pub use door::{Doors, Sent};
pub use link::{Link, Mode};
pub use programs::Programs;
pub use realm::{HOSTS, Host, Realm};
pub use store::{Kind, Store};
