//! One run as a page to open in a browser: members as lanes, and everything that happened in them.
//!
//! The page holds everything it needs, and loads nothing from a network.

use super::Run;
use crate::cluster::{Event, Journal, Lane};
use serde::Serialize;

/// The page, with a place for the data.
const PAGE: &str = include_str!("timeline.html");
const PLACE: &str = "/*DATA*/";

#[derive(Serialize)]
struct Data<'a> {
    title: String,
    outcome: String,
    failed: bool,
    members: usize,
    users: usize,
    end: u64,
    events: &'a [Event],
}

/// What a page says about a run besides its events.
#[derive(Clone, Debug)]
pub struct Caption {
    pub(crate) seed: u64,
    /// Of all groups that the run begins with.
    pub(crate) members: usize,
    pub(crate) users: usize,
}

impl Run {
    /// What a page must say about it.
    #[must_use]
    pub fn caption(&self) -> Caption {
        Caption { seed: self.seed, members: self.cluster.members(), users: self.users.len() }
    }
}

impl Caption {
    /// The page, as HTML. `outcome` says how the run ended.
    ///
    /// # Panics
    /// Never: events are plain data.
    #[must_use]
    pub fn page(&self, journal: &Journal, outcome: &str, failed: bool) -> String {
        let events = journal.events();
        let member = |event: &Event| if let Lane::Member(member) = event.lane { member + 1 } else { 0 };
        let members = events.iter().map(member).max().unwrap_or(0).max(self.members);
        let data = Data {
            title: format!("run of seed {}, {} members, {} users", self.seed, self.members, self.users),
            outcome: outcome.into(),
            failed,
            members,
            users: self.users,
            end: events.last().map_or(0, |event| event.at) + 1,
            events,
        };
        // Inside a script element, a `<` may begin something else.
        let data = serde_json::to_string(&data).expect("plain data").replace('<', "\\u003c");
        PAGE.replacen(PLACE, &data, 1)
    }
}
