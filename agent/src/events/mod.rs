//! What tenants are told of their users' records: the stream of events of each group, in pages that the group's leader writes
//! beside the log, and only the tenant reads.
//!
//! Owns the pages below `realms/<realm>/events/`. An HSM opens events of committed entries and seals them to a tenant's key that custodians
//! signed; nothing here can read them. Every entry is covered by one page of a stream, whoever leads: pages are numbered and created once, and each
//! begins where the one before ended. Nothing that is served waits for this.

mod bug;
mod error;
mod metrics;
mod owner;
mod streams;
mod teller;
mod tells;
mod window;

#[cfg(feature = "planted-bugs")]
pub use bug::Bug;
pub use error::TellError;

#[cfg(not(feature = "planted-bugs"))]
use self::bug::Bug;
pub use metrics::TellMetrics;
pub use owner::{OwnerKey, WhoAsked};
pub use teller::Teller;
pub use tells::Tells;
