//! The replica: everything that an agent decides about its group.
//!
//! It does no I/O and has no clock or randomness of its own: [`Event`]s go in, [`Action`]s come out, and the same
//! events give the same actions. It holds nothing that must survive: the HSM keeps what was captured, the store the
//! log. Nothing here is trusted for the guess limit; a mistake here costs availability.
//!
//! Kept here: a segment's name is written with one content only, and no leadership begins before the writes of the
//! previous one are settled; nothing is captured unless it is in the store with everything before it, and only to the
//! end of a segment; every client request is answered exactly once; a client hears a reply only from the HSM. Whatever
//! of this, and of the modules' own invariants, can be checked between two events is asserted there: see
//! `replica/invariants.rs`.

// Time, order and randomness come in with events and settings, and only actions go out: see clippy.toml.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![forbid(unsafe_code)]

mod ahead;
pub mod ask;
mod audit;
mod bug;
mod candidate;
mod capture;
mod catch_up;
mod clients;
mod context;
mod flights;
mod following;
mod freshness;
mod guesses;
mod interface;
mod leader;
pub mod leftover;
mod log;
pub mod moving;
mod orders;
mod outbox;
mod pace;
mod paths;
pub mod peer;
mod reads;
mod replay;
mod replica;
mod search;
pub mod segment;
mod settling;
mod shared;
mod silence;
mod snapshots;
mod standing;
pub mod stored;
mod stream;
mod trees;
mod trouble;
mod turn;
mod under_way;
mod yielding;

pub use bug::Bug;
pub use interface::{
    Action, Answer, CallId, CreateOutcome, Damage, Event, Fault, LoadId, MAX_OWNER_BYTES, Millis, Order,
    Ordered, Owner, Purpose, ReadOutcome, Role, Settings, Status, Storage, Ticket, Unavailable,
};
pub use replica::Replica;
pub use shared::Shared;
