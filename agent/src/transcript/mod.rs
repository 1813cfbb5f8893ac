//! The transcript of a ceremony: a file that says, step by step, how a realm was made and which HSMs got it.
//!
//! One entry a line, each with the hash of the line before it, and custodians sign the last hash. Whoever reads one
//! trusts nobody but the custodians: a host can leave entries out before they are signed, and the times are its own.
//! What a transcript proves, and what an auditor has to compare elsewhere: decision 42.
//!
//! [`Chain`] holds lines that follow one another. [`Story`] holds entries that make sense one after another, with every
//! signature in them checked; [`Story::whole`] says that nothing is missing, and that enough custodians signed the end.

mod chain;
mod entry;
mod fault;
mod file;
mod record;
mod story;
mod summary;
mod whole;

pub use chain::{Chain, head_words};
pub use entry::{
    Approval, Birth, Entry, Event, FORMAT, Hex, HexBytes, Import, Outcome, Request, Rules, Sign, Step,
};
pub use fault::{Fault, Wrong};
pub use file::{TranscriptError, TranscriptFile};
pub use record::sealed_digest;
pub use story::Story;
pub(crate) use summary::seen;
pub use whole::Expected;
