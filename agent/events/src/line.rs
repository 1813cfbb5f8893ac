//! One line for each event: for people, or as a JSON object whose fields keep their names.

use crate::reader::Event;
use chrono::{DateTime, SecondsFormat};
use serde_json::json;

/// The line for people, without its end. What is from outside has nothing in it that a terminal obeys.
#[must_use]
pub fn text(event: &Event) -> String {
    let Event { group, sequence, told, .. } = event;
    let (what, left, user) = (told.what.name(), told.guesses_left, told.user.escape_debug());
    format!("{}  {what}  {left} left  user {user}  (group {group}, sequence {sequence})", time(told.time))
}

/// The line as JSON, without its end: `time`, `time_ms`, `what`, `guesses_left`, `user`, `group`, `index`, `place`, `page`, `sequence`.
#[must_use]
pub fn json(event: &Event) -> String {
    let Event { group, page, sequence, index, told } = event;
    json!({
        "time": time(told.time),
        "time_ms": told.time,
        "what": told.what.name(),
        "guesses_left": told.guesses_left,
        "user": told.user,
        "group": group.to_string(),
        "index": index.0,
        "place": told.place,
        "page": page,
        "sequence": sequence,
    })
    .to_string()
}

/// In UTC; milliseconds since 1970, as they are, if no calendar has that time.
fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(DateTime::from_timestamp_millis);
    time.map_or(format!("{ms} ms"), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::told::{Told, What};
    use strongroom_proto::ids::{GroupId, Index};

    fn event(user: &str, time: u64) -> Event {
        let told =
            Told { after: 0, place: 3, what: What::GuessUsed, guesses_left: 2, time, user: user.into() };
        Event { group: GroupId([7; 16]), page: 4, sequence: 17, index: Index(99), told }
    }

    #[test]
    fn a_line_is_as_documented() {
        let event = event("alice", 1_796_069_703_120);
        assert_eq!(
            text(&event),
            "2026-11-30T20:15:03.120Z  guess used  2 left  user alice  (group 07070707070707070707070707070707, sequence 17)"
        );
        let fields = json!({
            "time": "2026-11-30T20:15:03.120Z", "time_ms": 1_796_069_703_120_u64, "what": "guess used", "guesses_left": 2, "user": "alice",
            "group": "07070707070707070707070707070707", "index": 99, "place": 3, "page": 4, "sequence": 17,
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json(&event)).unwrap(), fields);
    }

    #[test]
    fn a_user_cannot_write_to_the_terminal_and_no_time_is_too_late() {
        let event = event("a\u{1b}[31m\nb", u64::MAX);
        assert!(text(&event).contains("18446744073709551615 ms  guess used"), "{}", text(&event));
        assert!(text(&event).contains("user a\\u{1b}[31m\\nb  "), "{}", text(&event));
        assert!(!json(&event).contains('\n'));
    }
}
