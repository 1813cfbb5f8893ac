//! What a tenant is told of its users' records: a stream of events for each group, which the group's leader writes as numbered
//! *pages* beside the log, and which only the tenant can read.
//!
//! An agent writes them with [`page`] and [`tenant`]. A tenant reads them with a [`Consumer`], from an object store, from agents over HTTP, or from any other [`Source`], or
//! with the command `strongroom-events`. Without the features `store`, `http` and `command`, it does no I/O but for the file of [`offsets`].
//!
//! Pure but for what reads: no clock, no randomness. What is read from a store is hostile until it is checked; that a page is the right one,
//! and that none was left out, rests on what HSMs seal: see [`told`].

#[cfg(feature = "command")]
pub mod command;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "command")]
pub mod key_file;
#[cfg(feature = "command")]
pub mod line;
pub mod offsets;
pub mod page;
pub mod reader;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "command")]
pub mod tail;
pub mod tenant;
#[cfg(feature = "http")]
pub mod token;
pub mod told;

#[cfg(feature = "http")]
pub use http::HttpSource;
pub use offsets::{Offset, Offsets, OffsetsError};
pub use page::{BadPage, Page, PageEntry};
pub use reader::{Begin, Consumer, Event, ReadError, Source, Unavailable};
#[cfg(feature = "store")]
pub use store::StoreSource;
pub use tenant::{SignedKey, Tenant, TenantSecret};
#[cfg(feature = "http")]
pub use token::TokenSource;
pub use told::{Told, Untellable, What};
