//! Scrubbing: in the background and little by little, all that is stored of a group is read and checked, once in a period.
//!
//! Owns the order in which that happens, how far it has come, and what was found and is not mended. Whoever leads a group
//! does it. How far it has come is an object beside the tree, so a restart or another leader loses one part at most, and
//! what was found stays known. What is right and wrong is decided by [`crate::check`]; everything is read anew from the
//! store, never from what the agent holds in memory. Nothing is changed.

mod course;
mod lane;
mod metrics;
mod parts;
mod position;
mod shelf;

pub use course::{Led, Looked, Scrub, ScrubSettings};
pub use lane::Lane;
pub use metrics::ScrubMetrics;
pub use parts::{Parts, Stored};
pub use position::{Finding, Place, Position};
