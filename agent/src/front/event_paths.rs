//! What a tenant may ask of its events, as the path says it.

use super::metrics::ReadLabel;
use std::time::Duration;
use strongroom_proto::ids::GroupId;

/// The longest time that a request waits for a page.
pub const LONGEST_POLL: Duration = Duration::from_secs(25);

/// What a tenant may ask of its events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventsRead {
    /// The groups in which it has a stream: an id on each line.
    Groups,
    /// The lowest number of the pages of a group, of those not below `from`.
    Oldest {
        /// The group.
        group: GroupId,
        /// Not below this one.
        from: u64,
    },
    /// The highest number of the pages of a group.
    Newest {
        /// The group.
        group: GroupId,
    },
    /// A page, as it is in the store; a byte more than a page may have, if it is longer.
    Page {
        /// The group.
        group: GroupId,
        /// The page.
        number: u64,
    },
}

/// Why a path is none of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unasked {
    Path,
    Query,
}

impl EventsRead {
    /// What is asked with this path and query, in the one spelling that they have, and for how long to wait for it.
    pub(super) fn at(path: &str, query: Option<&str>) -> Result<(Self, Duration), Unasked> {
        let named = |name| match query.map(|query| query.split_once('=')) {
            None => Ok(None),
            Some(Some((given, value))) if given == name => number(value).map(Some).ok_or(Unasked::Query),
            Some(_) => Err(Unasked::Query),
        };
        let none = || if query.is_none() { Ok(Duration::ZERO) } else { Err(Unasked::Query) };
        if path == "/events" {
            return Ok((Self::Groups, none()?));
        }
        let (name, rest) =
            path.strip_prefix("/events/").and_then(|path| path.split_once('/')).ok_or(Unasked::Path)?;
        let group: GroupId = name.parse().map_err(|_| Unasked::Path)?;
        if group.to_string() != name {
            return Err(Unasked::Path);
        }
        Ok(match rest {
            "oldest" => (Self::Oldest { group, from: named("from")?.unwrap_or(0) }, Duration::ZERO),
            "newest" => (Self::Newest { group }, none()?),
            page => {
                let number = number(page).ok_or(Unasked::Path)?;
                let wait = Duration::from_secs(named("wait")?.unwrap_or(0));
                (Self::Page { group, number }, wait.min(LONGEST_POLL))
            }
        })
    }

    pub(super) const fn label(self) -> ReadLabel {
        match self {
            Self::Page { .. } => ReadLabel::Events,
            Self::Groups | Self::Oldest { .. } | Self::Newest { .. } => ReadLabel::Streams,
        }
    }

    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Page { .. } => "application/cbor",
            Self::Groups | Self::Oldest { .. } | Self::Newest { .. } => "text/plain; charset=utf-8",
        }
    }
}

/// A whole number, without zeros before it.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "0123456789abcdef0123456789abcdef";

    fn at(asked: &str) -> Result<(EventsRead, u64), Unasked> {
        let asked = asked.replace("GROUP", GROUP);
        let (path, query) =
            asked.split_once('?').map_or((&*asked, None), |(path, query)| (path, Some(query)));
        EventsRead::at(path, query).map(|(what, wait)| (what, wait.as_secs()))
    }

    #[test]
    fn a_path_has_one_spelling_and_names_nothing_else_of_the_store() {
        let group: GroupId = GROUP.parse().expect("an id");
        let page = |number| EventsRead::Page { group, number };
        for (asked, expected) in [
            ("/events", (EventsRead::Groups, 0)),
            ("/events/GROUP/oldest", (EventsRead::Oldest { group, from: 0 }, 0)),
            ("/events/GROUP/oldest?from=7", (EventsRead::Oldest { group, from: 7 }, 0)),
            ("/events/GROUP/newest", (EventsRead::Newest { group }, 0)),
            ("/events/GROUP/0", (page(0), 0)),
            ("/events/GROUP/18446744073709551615", (page(u64::MAX), 0)),
            ("/events/GROUP/7?wait=3", (page(7), 3)),
            ("/events/GROUP/7?wait=18446744073709551615", (page(7), 25)),
        ] {
            assert_eq!(at(asked), Ok(expected), "{asked}");
        }
        for asked in [
            "/events/",
            "/events/GROUP",
            "/events/GROUP/",
            "/events//7",
            "/events/GROUP/07",
            "/events/GROUP/+7",
            "/events/GROUP/7/",
            "/events/GROUP/18446744073709551616",
            "/events/GROUP/key",
            "/events/GROUP/../7",
            "/events/0123456789ABCDEF0123456789abcdef/7",
            "/events/61636d65/GROUP/7",
            "/Events",
        ] {
            assert_eq!(at(asked), Err(Unasked::Path), "{asked}");
        }
        for asked in [
            "/events?",
            "/events?tenant=acme",
            "/events/GROUP/newest?from=7",
            "/events/GROUP/oldest?wait=7",
            "/events/GROUP/oldest?from=",
            "/events/GROUP/7?wait=-1",
            "/events/GROUP/7?wait=1&wait=2",
            "/events/GROUP/7?wait",
        ] {
            assert_eq!(at(asked), Err(Unasked::Query), "{asked}");
        }
    }
}
