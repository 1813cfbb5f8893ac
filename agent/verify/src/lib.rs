//! Checks what a realm publishes, for someone who trusts nobody there.
//!
//! Owns the checks of `strongroom verify`, and what each of them says. The one thing that is taken for granted is the statement
//! of the realm, once enough of its custodians have signed it: whether those are the right people is for the reader. The store
//! and everybody who writes to it are hostile: what is read is bounded, and counts for nothing until a hash or a signature leads to it from the
//! statement. Nothing is written.
//!
//! Memory does not grow with the log: some tens of megabytes, most of it for segments, which are long.

mod check;
mod checkpoint;
mod consistency;
mod earlier;
mod failure;
mod founding;
mod open;
mod published;
mod rebuild;
mod report;
mod segments;
mod source;
mod verify;

pub use check::{Check, Finding, Outcome};
pub use earlier::{BadFile, read_checkpoints, write_checkpoints};
pub use failure::Failure;
pub use open::{OpenError, check_url};
pub use report::{Report, Verdict};
pub use source::Source;
pub use strongroom_proto::ids::GroupId;
pub use verify::{Asked, Step, verify};
