//! What keeps an agent from working, or will one day, and what to do about each: [`files`] looks at the configuration and all
//! that it names, and touches nothing; [`live`] asks the object store, the clock, the HSM and the other agents; [`upgrade`] looks at what a newer
//! version would meet.
//!
//! No finding shows a value of a file: that may be a secret.

mod files;
mod live;
mod upgrade;

pub use files::{exposed, files};
pub use live::live;
pub use upgrade::upgrade;

use crate::overview::Level;

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How bad it is; [`Level::Well`] if nothing is the matter.
    pub level: Level,
    /// What was looked at, in a word or two.
    pub about: &'static str,
    /// What was found.
    pub what: String,
    /// What to do next, if something is to be done.
    pub next: Option<String>,
}

impl Finding {
    /// Nothing is the matter.
    pub(crate) fn well(about: &'static str, what: impl Into<String>) -> Self {
        Self { level: Level::Well, about, what: what.into(), next: None }
    }

    /// The configuration cannot be used, and so nothing else was looked at.
    #[must_use]
    pub fn unusable(why: String) -> Self {
        Self::bad("configuration", why, "mend it; `docs/agent.example.toml` shows every field")
    }

    /// Somebody else than the agent's user looks.
    #[must_use]
    pub fn as_another(owner: u32, own: u32) -> Self {
        let what = format!(
            "the agent runs as user {owner} and this as {own}, who may do other things than the agent"
        );
        Self::attention("user", what, "give the command as the agent's user, to see what the agent may do")
    }

    /// Somebody should look, while every user is served.
    pub(crate) fn attention(about: &'static str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { level: Level::Attention, about, what: what.into(), next: Some(next.into()) }
    }

    fn bad(about: &'static str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { level: Level::Bad, about, what: what.into(), next: Some(next.into()) }
    }
}
