//! What a tenant is told of its users' records: a stream of events for each group, which the group's leader writes as numbered
//! *pages* beside the log, and which only the tenant can read.
//!
//! Pure but for what reads: no clock, no randomness. What is read from a store is hostile until it is checked; that a page is the right one,
//! and that none was left out, rests on what HSMs seal: see [`told`].

pub mod page;
pub mod tenant;
pub mod told;

pub use page::{BadPage, Page, PageEntry};
pub use tenant::{SignedKey, TenantSecret};
pub use told::{Told, Untellable, What};
