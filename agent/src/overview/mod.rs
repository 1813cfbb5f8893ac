//! The whole realm as one agent sees it: hosts, HSMs, groups, what they own, how busy they are, and what is on its way
//! from one group to another; and a verdict with what to do next.
//!
//! Any agent can give it: it asks the others. What they say is theirs: it is shown, and nothing rests on it. Texts are
//! short and without control characters by the time they are here ([`crate::admin`]); the page escapes them.

mod drawing;
mod gather;
mod json;
mod page;
mod seen;
mod serve;
mod space;
mod verdict;
mod watch;

pub use json::json;
pub use seen::{Agent, Group, Host, Load, Member, MemberState, Move, Overview, PrefixLoad, Step};
pub(crate) use serve::routes;
pub use verdict::{Level, Reason, Verdict, judge};
pub(crate) use watch::Watch;
