//! The tree as stored: pages of four levels and sealed leaves, complete up to one committed entry, the *snapshot*.
//!
//! Owns what is stored and how much of it may be believed. A snapshot moves forward in one atomic step with everything
//! that changed, and never runs ahead of the log: it is taken only at entries that are committed. The store is trusted
//! for availability alone; what is read from it counts only under a digest that comes from an entry.

mod adopt;
mod advance;
mod cache;
mod clock;
mod database;
mod gate;
mod generation;
mod hold;
mod key;
mod load;
mod metrics;
mod moment;
mod reader;
mod retired;
mod store;
mod sweep;

pub use adopt::{AdoptError, Adopted};
pub use database::{Timeouts, TreeSettings};
pub use generation::TreePlace;
pub use metrics::TreeMetrics;
pub use reader::TreeReader;
pub use retired::Emptied;
pub use store::TreeStore;
pub use sweep::{Sweep, Swept};
