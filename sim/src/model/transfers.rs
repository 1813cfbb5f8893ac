//! Moves of prefixes between groups, as rules over what committed entries say: splitting, merging, the four steps of a
//! transfer with refusing and dropping, and retirement.
//!
//! A change of these begins here, like one of the log. `contents` has the rules: what an entry may say after the one
//! before it, given an entry of another group as evidence. They are explored twice: between groups that are each their
//! committed log ([`atomic`]), and inside groups of several HSMs whose entries may be lost ([`forked`]).
//! [`table`] prints both, with every rule left out once.
//!
//! Keeps invariant 11, *the whole space, once*. Evidence, once stated, is at hand for ever: that is the most that a host
//! can arrange. Whether transfers can always end is asked the other way round: the host has lost everything but what HSMs
//! can state anew.

pub mod atomic;
mod contents;
pub mod forked;
mod forks;
mod logs;
mod moves;
mod promises;
mod rule;
pub mod table;

pub use contents::{Count, Group, Id, Prefix};
pub use moves::Move;
pub use rule::Rule;
