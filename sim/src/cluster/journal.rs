//! What happened in a cluster, written down: each event with its time, and one hash over all of them.
//!
//! The hash covers every byte that reached or left an HSM, every segment written, every message between agents and every
//! answer to a user; of what was read from the store, names, lengths and counts.

use super::store::StoreRequest;
use blake2::{Blake2s256, Digest};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use strongroom_proto::hsm::{Outcome, Reply, Request};
use strongroom_proto::ids::{EntryHash, Index};
use strongroom_replica::peer::PeerMessage;
use strongroom_replica::segment::Segment;
use strongroom_replica::{Event as Input, ReadOutcome, Role};
use strongroom_testkit::request_name;

/// Where something happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Everywhere.
    World,
    /// At the object store.
    Store,
    /// At one member: its agent or its HSM.
    Member(usize),
    /// At one user's device.
    User(usize),
}

/// What kind of thing happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An agent starts.
    AgentUp,
    /// An agent ends.
    AgentDown,
    /// An HSM lost its RAM and is back.
    HsmRestart,
    /// An HSM lost power in the middle of a write to its NVRAM.
    PowerCut,
    /// An agent's clock jumped.
    Clock,
    /// An agent's role has changed.
    Role,
    /// An HSM gave an answer that is none of the next five.
    Hsm,
    /// An HSM made an entry.
    Make,
    /// An HSM stated that it has captured an entry.
    Capture,
    /// An HSM jumped to a committed entry.
    Jump,
    /// An HSM stated an entry as committed, and released what waited for that.
    Commit,
    /// A message between agents.
    Message,
    /// A segment was written, or was not.
    Segment,
    /// The store gave any other answer.
    Store,
    /// From now on, something goes wrong.
    Trouble,
    /// Nothing is wrong any more, with a member or everywhere.
    Well,
    /// A user asked.
    Ask,
    /// A user was answered.
    Answer,
    /// The phase of the run.
    Phase,
}

/// An entry in words: its index, and the beginning of its hash, because there may be others at that index.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EntryName(String);

impl EntryName {
    fn new(index: Index, hash: &EntryHash) -> Self {
        let hash: String = hash.0[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{index} ({hash})"))
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Event {
    /// When, in milliseconds since the start.
    pub at: u64,
    /// Where.
    pub lane: Lane,
    /// What kind.
    pub kind: Kind,
    /// In words.
    pub text: String,
    /// The entries that it is about, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<EntryName>,
    /// For a message, where it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<usize>,
    /// For what takes time, when it ends; for a message, when it first arrives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// Everything that happened, and its hash.
#[derive(Default)]
pub struct Journal {
    hasher: Blake2s256,
    line: String,
    events: Vec<Event>,
    count: u64,
    /// By member.
    roles: BTreeMap<usize, &'static str>,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, lane, kind, text, to, .. } = self;
        write!(f, "{at:>6} ms  {:<9} {:<11} {text}", format!("{lane:?}"), format!("{kind:?}"))?;
        to.map_or(Ok(()), |to| write!(f, " (member {to})"))
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.events.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}

impl Journal {
    /// What happened, oldest first. Heartbeats and routine answers of the store are only in the hash.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// How many events the hash covers.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The hash over all events so far, 64 hexadecimal digits (BLAKE2s-256, RFC 7693).
    #[must_use]
    pub fn hash(&self) -> String {
        hex::encode(self.hasher.clone().finalize())
    }

    fn digest(&mut self, event: &Event, bytes: &[u8]) {
        let Event { at, lane, kind, text, entries, to, until } = event;
        self.line.clear();
        writeln!(self.line, "{at} {lane:?} {kind:?} {entries:?} {to:?} {until:?} {} {text}", bytes.len())
            .expect("writes to memory");
        self.hasher.update(self.line.as_bytes());
        self.hasher.update(bytes);
        self.count += 1;
    }
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::Starting => "starting",
        Role::Witness => "witness",
        Role::Candidate => "candidate",
        Role::Leader { .. } => "leader",
        Role::Faulted => "faulted",
    }
}

/// What an exchange with an HSM means, in words, and which entry it is about.
fn meaning(request: &Request, reply: &Reply) -> (Kind, Option<EntryName>, String) {
    match (request, reply) {
        (_, Reply::Refused(refusal)) => {
            (Kind::Hsm, None, format!("{} is refused: {refusal:?}", request_name(request)))
        }
        (_, Reply::Processed { outcomes, made: Some(made) }) => {
            let replies = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Kept)).count();
            let entry = EntryName::new(made.entry.index, &made.entry.hash());
            let text = format!("makes entry {entry}; {replies} replies wait in the HSM for its commit");
            (Kind::Make, Some(entry), text)
        }
        (Request::Jump(..), Reply::Captured(captured)) => {
            let entry = EntryName::new(captured.index, &captured.hash);
            let text = format!("jumps to entry {entry}");
            (Kind::Jump, Some(entry), text)
        }
        (_, Reply::Captured(captured)) => {
            let entry = EntryName::new(captured.index, &captured.hash);
            let text = format!("states that its NVRAM holds entry {entry}");
            (Kind::Capture, Some(entry), text)
        }
        (_, Reply::Committed { statement, released }) => {
            let replies: usize = released.iter().map(|released| released.replies.len()).sum();
            let entry = EntryName::new(statement.index, &statement.hash);
            let text = format!("a majority has captured entry {entry}; releases {replies} replies");
            (Kind::Commit, Some(entry), text)
        }
        (_, Reply::Leading(term)) => (Kind::Hsm, None, format!("leads, in the term {term}")),
        _ => (Kind::Hsm, None, format!("answers {}", request_name(request))),
    }
}

/// The entries of a segment.
fn names(segment: &[u8]) -> Vec<EntryName> {
    let decoded = Segment::decode(segment);
    let entries = decoded.iter().flat_map(|segment| segment.entries());
    entries.map(|made| EntryName::new(made.entry.index, &made.entry.hash())).collect()
}

/// What the store said, without the bytes.
fn summary(event: &Input) -> String {
    match event {
        Input::Loaded { load, result } => {
            let found = result.as_ref().map(|l| (l.pages.len(), l.leaves.len(), &l.damaged));
            format!("{load:?} {found:?}")
        }
        Input::Read { name, result } => match result {
            ReadOutcome::Found(bytes) => format!("{name} has {} bytes", bytes.len()),
            other => format!("{name} {other:?}"),
        },
        other => format!("{other:?}"),
    }
}

impl Journal {
    /// Writes down what happens now.
    pub(super) fn note(&mut self, at: u64, lane: Lane, kind: Kind, text: String) {
        self.event(&[], Event { at, lane, kind, text, entries: Vec::new(), to: None, until: None });
    }

    fn event(&mut self, bytes: &[u8], event: Event) {
        self.digest(&event, bytes);
        self.events.push(event);
    }

    /// Adds bytes only to the hash.
    pub(super) fn bytes(&mut self, at: u64, lane: Lane, kind: Kind, bytes: &[u8]) {
        let (text, entries) = (String::new(), Vec::new());
        self.digest(&Event { at, lane, kind, text, entries, to: None, until: None }, bytes);
    }

    pub(super) fn exchange(
        &mut self,
        at: u64,
        member: usize,
        request: &Request,
        bytes: [&[u8]; 2],
        reply: &Reply,
    ) {
        let (kind, entry, text) = meaning(request, reply);
        let (lane, bytes) = (Lane::Member(member), bytes.concat());
        // Status and keeping alive are routine.
        if kind == Kind::Hsm && !matches!(reply, Reply::Refused(_) | Reply::Leading(_)) {
            return self.bytes(at, lane, kind, &bytes);
        }
        let entries = entry.into_iter().collect();
        self.event(&bytes, Event { at, lane, kind, text, entries, to: None, until: None });
    }

    pub(super) fn message(&mut self, at: u64, from: usize, to: usize, message: &PeerMessage, delays: &[u64]) {
        let (lane, kind, bytes) = (Lane::Member(from), Kind::Message, message.to_bytes());
        let (entries, text) = match message {
            PeerMessage::Heartbeat { .. } => return self.bytes(at, lane, kind, &bytes),
            PeerMessage::Push { first, segment, .. } => {
                (names(segment), format!("pushes the segment from entry {first} on"))
            }
            PeerMessage::Follows { leader, newest, .. } => {
                (Vec::new(), format!("says that {leader} leads, up to entry {newest}"))
            }
            PeerMessage::Yield { .. } => (Vec::new(), "leads no longer, and says whose turn it is".into()),
            PeerMessage::Seek { .. } => (Vec::new(), "asks who leads".into()),
            PeerMessage::StateFresh { .. } => {
                (Vec::new(), "asks what the other's HSM has captured now".into())
            }
            PeerMessage::Fresh { statement, .. } => {
                let entry = EntryName::new(statement.index, &statement.hash);
                let text = format!("hands on that its HSM has captured entry {entry} as of now");
                (vec![entry], text)
            }
            PeerMessage::Captured { statement, .. } => {
                let entry = EntryName::new(statement.index, &statement.hash);
                let text = format!("hands on that its HSM has captured entry {entry}");
                (vec![entry], text)
            }
        };
        let until = delays.iter().min().map(|delay| at + delay);
        let text = if until.is_none() { format!("{text}; the message is lost") } else { text };
        self.event(&bytes, Event { at, lane, kind, text, entries, to: Some(to), until });
    }

    pub(super) fn store(&mut self, at: u64, member: usize, request: &StoreRequest, event: &Input) {
        let StoreRequest::Write(name, bytes) = request else {
            let said = format!("{member} {} {}", request.summary(), summary(event));
            return self.bytes(at, Lane::Store, Kind::Store, said.as_bytes());
        };
        let Input::Wrote { outcome, .. } = event else { return };
        let entries = names(bytes);
        let (first, outcome) = (name.first, format!("{outcome:?}").to_lowercase());
        let last = entries.last().map_or_else(|| first.to_string(), EntryName::to_string);
        let text = format!("entries from {first} to {last}, written by member {member}: {outcome}");
        let (lane, kind, to) = (Lane::Store, Kind::Segment, Some(member));
        self.event(bytes, Event { at, lane, kind, text, entries, to, until: None });
    }

    /// Writes down the role of a member's agent if it has changed.
    pub(super) fn role(&mut self, at: u64, member: usize, now: Option<Role>) {
        let now = now.map_or("down", role);
        if self.roles.insert(member, now) != Some(now) {
            self.note(at, Lane::Member(member), Kind::Role, now.into());
        }
    }
}

impl Journal {
    /// Several journals, each with how many members it is about, as one by time. Members of each are counted on from
    /// those before it. The hash is over theirs.
    #[must_use]
    pub fn merged(parts: Vec<(usize, Self)>) -> Self {
        let mut all = Self::default();
        let mut first = 0;
        for (size, part) in parts {
            all.hasher.update(part.hasher.finalize());
            all.count += part.count;
            all.events.extend(part.events.into_iter().map(|mut event| {
                if let Lane::Member(member) = &mut event.lane {
                    *member += first;
                }
                event.to = event.to.map(|to| to + first);
                event
            }));
            first += size;
        }
        all.events.sort_by_key(|event| event.at);
        all
    }
}
