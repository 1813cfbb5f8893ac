//! How far a round has come, what is due next, and what was found.

use crate::check::Problem;
use minicbor::{Decode, Decoder, Encode};
use std::collections::BTreeMap;
use std::fmt;
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;

/// The version of what is stored.
const VERSION: u8 = 1;
/// The longest that is read.
const MAX_BYTES: usize = 1 << 22;
/// How many places of the tree with findings are kept, how many findings of each place, and how many characters of each.
const MAX_PLACES: usize = 64;
const MAX_OF_PLACE: usize = 16;
const MAX_CHARS: usize = 512;
/// How often in a round the log is checked: what there is of it changes faster than the tree.
const LOGS: u32 = 32;
/// A part of the tree has at most about so many bytes: read within less time than merged files stay.
const PART_BYTES: u64 = 4 << 20;
/// How many bits of a record id the course knows.
const BITS: u32 = 64;

/// Where something is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// The log.
    Log,
    /// The stored tree, below a prefix or on the way there.
    Tree(Prefix),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log => f.write_str("log"),
            Self::Tree(prefix) => write!(f, "tree below {prefix}"),
        }
    }
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Its kind, as [`crate::check::Problem::kind`] says it.
    pub kind: &'static str,
    /// What, and what to do.
    pub what: String,
}

/// How far a round has come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// The number of the round.
    pub round: u64,
    /// When it began, in Unix seconds.
    pub began: u64,
    /// When the last whole round ended, 0 for never.
    pub ended: u64,
    /// All records are done whose ids begin with less than these bits.
    pub(super) cursor: u64,
    /// Whether all of the tree is done.
    pub(super) tree_done: bool,
    /// How often the log was checked in this round.
    pub(super) logs: u32,
    /// What was found and is not mended.
    pub findings: BTreeMap<Place, Vec<Finding>>,
    /// What becomes of damage of the tree for which there was no room among these.
    pub(super) more: Option<More>,
}

/// What becomes of damage for which there was no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum More {
    /// It is sought when all is mended that there was room for.
    #[n(0)]
    Waits,
    /// All of the tree is read again, without a pause between parts.
    #[n(1)]
    Sought,
}

impl Finding {
    /// What is kept and said of the problems of one place.
    pub(super) fn all(problems: &[Problem]) -> Vec<Self> {
        let what = |problem: &Problem| -> String { problem.to_string().chars().take(MAX_CHARS).collect() };
        let all = problems.iter().take(MAX_OF_PLACE);
        all.map(|problem| Self { kind: problem.kind(), what: what(problem) }).collect()
    }
}

/// What is to be done next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    Check(Place),
    NextRound,
    Nothing,
}

/// What a round has to go through, and in which time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    /// What the group owns.
    pub(super) prefixes: &'a [Prefix],
    /// Into how many parts that is divided at least, as a power of two.
    pub(super) part_bits: u32,
    /// How many bytes the tree has.
    pub(super) bytes: u64,
    pub(super) period_s: u64,
}

/// The first record id below a prefix, and how many there are, as far as the course knows them.
fn span(prefix: &Prefix) -> (u128, u128) {
    let first = prefix.bits().first_chunk::<8>().map_or(0, |bits| u64::from_be_bytes(*bits));
    let free = BITS.saturating_sub(u32::from(prefix.len()));
    (first.into(), 1_u128 << free)
}

impl Way<'_> {
    /// How long the prefixes of parts are, below this one.
    fn part_len(&self, prefix: &Prefix) -> u16 {
        let of_size = self.bytes.checked_div(PART_BYTES).and_then(u64::checked_ilog2).unwrap_or(0);
        let owned = u64::try_from(self.prefixes.len()).ok().and_then(u64::checked_ilog2).unwrap_or(0);
        let bits = self.part_bits.max(of_size).saturating_sub(owned);
        let len = u32::from(prefix.len()).saturating_add(bits).min(BITS);
        u16::try_from(len).unwrap_or(prefix.len()).max(prefix.len())
    }

    /// The part that a record is in, if the group owns it.
    pub(super) fn part_of(&self, id: &RecordId) -> Option<Prefix> {
        let owned = self.prefixes.iter().find(|prefix| prefix.contains(id))?;
        Prefix::of(id, self.part_len(owned))
    }

    /// The first part that is not done.
    fn next(&self, cursor: u64) -> Option<Prefix> {
        let left = self.prefixes.iter().filter(|prefix| {
            let (first, size) = span(prefix);
            first + size > u128::from(cursor)
        });
        let next = left.min_by_key(|prefix| span(prefix).0)?;
        let (first, _) = span(next);
        if first < u128::from(cursor) {
            let mut id = RecordId([0; RecordId::LEN]);
            id.0.get_mut(..8)?.copy_from_slice(&cursor.to_be_bytes());
            return Prefix::of(&id, self.part_len(next));
        }
        Prefix::of(&RecordId(*next.bits()), self.part_len(next))
    }

    /// When in a round all is done that a position has done, in seconds from its beginning.
    fn time_of(&self, position: &Position) -> u64 {
        let time = u128::from(self.period_s) * u128::from(self.done_ppm(position)) / 1_000_000;
        u64::try_from(time).unwrap_or(self.period_s)
    }

    /// How often the log is checked in the first seconds of a round.
    fn logs_by(&self, passed: u64) -> u32 {
        let due = passed.saturating_mul(LOGS.into()).checked_div(self.period_s);
        let due = due.and_then(|due| u32::try_from(due).ok()).unwrap_or(LOGS);
        due.saturating_add(1).min(LOGS)
    }

    /// How much is done, in millionths.
    pub(super) fn done_ppm(&self, position: &Position) -> u64 {
        const WHOLE: u64 = 1_000_000;
        if position.tree_done {
            return WHOLE;
        }
        let spans = || self.prefixes.iter().map(span);
        let all: u128 = spans().map(|(_, size)| size).sum();
        let done = spans().map(|(first, size)| u128::from(position.cursor).saturating_sub(first).min(size));
        let done: u128 = done.sum();
        // Of 64 bits, so a million times as much fits.
        (done * u128::from(WHOLE)).checked_div(all).and_then(|ppm| u64::try_from(ppm).ok()).unwrap_or(WHOLE)
    }
}

impl Position {
    /// The first of all, or the one after another.
    pub(super) fn begin(last: Option<&Self>, now: u64) -> Self {
        let (round, ended) = last.map_or((1, 0), |last| (last.round.saturating_add(1), last.ended));
        let findings = last.map(|last| last.findings.clone()).unwrap_or_default();
        let more = last.and_then(|last| last.more);
        Self { round, began: now, ended, findings, more, ..Self::default() }
    }

    /// Believes no time that has not come: the clock was wrong then, or is now. A round that began in such a time goes on as if it had
    /// come so far by now, and the log waits for no more than its usual time.
    pub(super) fn settle(&mut self, way: &Way<'_>, now: u64) {
        if self.began > now {
            self.began = now.saturating_sub(way.time_of(self));
        }
        self.ended = self.ended.min(now);
        self.logs = self.logs.min(way.logs_by(now.saturating_sub(self.began)));
    }

    /// What is due at a time.
    pub(super) fn due(&self, way: &Way<'_>, now: u64) -> Due {
        let passed = now.saturating_sub(self.began);
        let log_at = way.period_s.saturating_mul(self.logs.into()) / u64::from(LOGS);
        if self.logs < LOGS && passed >= log_at {
            return Due::Check(Place::Log);
        }
        match self.due_part(way, now) {
            Some(part) => Due::Check(Place::Tree(part)),
            None if self.is_whole() && passed >= way.period_s => Due::NextRound,
            None => Due::Nothing,
        }
    }

    /// The part of the tree that is due at a time, whatever else is.
    pub(super) fn due_part(&self, way: &Way<'_>, now: u64) -> Option<Prefix> {
        let is_due = self.seeks_more() || now.saturating_sub(self.began) >= way.time_of(self);
        way.next(self.cursor).filter(|_| is_due && !self.tree_done)
    }

    /// This was checked.
    pub(super) fn pass(&mut self, way: &Way<'_>, place: Place, now: u64) {
        match place {
            // Those that were missed are not made up for: each reads all that there is.
            Place::Log => self.logs = way.logs_by(now.saturating_sub(self.began)),
            Place::Tree(part) => {
                let (first, size) = span(&part);
                match u64::try_from(first + size) {
                    Ok(cursor) => self.cursor = cursor,
                    Err(_) => self.end_tree(),
                }
                if way.next(self.cursor).is_none() {
                    self.end_tree();
                }
            }
        }
        if self.is_whole() {
            self.ended = now;
        }
    }

    fn end_tree(&mut self) {
        self.tree_done = true;
        if self.seeks_more() {
            self.more = None;
        }
    }

    /// Ends with the tree if nothing is left of it: what was to come has left, or nothing is owned.
    pub(super) fn skip_tree(&mut self, way: &Way<'_>, now: u64) {
        if self.tree_done || way.next(self.cursor).is_some() {
            return;
        }
        self.end_tree();
        if self.is_whole() {
            self.ended = now;
        }
    }

    /// Whether nothing is known to be wrong with the stored tree.
    pub(super) fn tree_is_well(&self) -> bool {
        self.more.is_none() && self.damaged_parts() == 0
    }

    fn damaged_parts(&self) -> usize {
        self.findings.keys().filter(|place| **place != Place::Log).count()
    }

    const fn is_whole(&self) -> bool {
        self.tree_done && self.logs >= LOGS
    }

    /// Whether what is found at a place is kept. There is always room for the log: it is one place.
    pub(super) fn has_room(&self, place: Place) -> bool {
        place == Place::Log || self.findings.contains_key(&place) || self.damaged_parts() < MAX_PLACES
    }

    /// Takes what was found at a place for all that is wrong there.
    pub(super) fn put(&mut self, place: Place, mut found: Vec<Finding>) {
        found.truncate(MAX_OF_PLACE);
        if found.is_empty() {
            self.findings.remove(&place);
        } else if self.has_room(place) {
            self.findings.insert(place, found);
        } else {
            self.more = Some(More::Waits);
        }
    }

    /// Takes what was found by a position that could not be kept.
    pub(super) fn take_over(&mut self, other: &Self) {
        for (place, found) in &other.findings {
            self.put(*place, found.clone());
        }
        if other.more.is_some() {
            self.more.get_or_insert(More::Waits);
        }
    }

    pub(super) fn seeks_more(&self) -> bool {
        self.more == Some(More::Sought)
    }

    /// If all is mended that there was room for, and there was more: looks for that, from the beginning of the tree on.
    pub(super) fn seek_more(&mut self) {
        if self.more == Some(More::Waits) && self.damaged_parts() == 0 {
            (self.more, self.cursor, self.tree_done) = (Some(More::Sought), 0, false);
        }
    }
}

#[derive(Encode, Decode)]
struct Kept {
    #[n(0)]
    version: u8,
    #[n(1)]
    round: u64,
    #[n(2)]
    began: u64,
    #[n(3)]
    ended: u64,
    #[n(4)]
    cursor: u64,
    #[n(5)]
    tree_done: bool,
    #[n(6)]
    logs: u32,
    #[n(7)]
    findings: Vec<KeptFinding>,
    #[n(8)]
    more: Option<More>,
}

#[derive(Encode, Decode)]
struct KeptFinding {
    /// None is the log.
    #[n(0)]
    below: Option<Prefix>,
    #[n(1)]
    kind: String,
    #[n(2)]
    what: String,
}

/// All kinds of problems. What is stored may say anything, and is shown as one of these.
pub(super) const KINDS: [&str; 11] = [
    "damaged",
    "misnamed",
    "missing",
    "missing-behind",
    "altered",
    "beyond",
    "forked",
    "forged",
    "unproven",
    "no-tree",
    "tree",
];

impl Position {
    /// Its bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let findings = self.findings.iter().flat_map(|(place, found)| {
            found.iter().map(move |finding| KeptFinding {
                below: if let Place::Tree(prefix) = place { Some(*prefix) } else { None },
                kind: finding.kind.to_owned(),
                what: finding.what.clone(),
            })
        });
        let Self { round, began, ended, cursor, tree_done, logs, more, .. } = *self;
        let findings = findings.collect();
        let kept = Kept { version: VERSION, round, began, ended, cursor, tree_done, logs, findings, more };
        minicbor::to_vec(kept).unwrap_or_default()
    }

    /// Reads what takes up all of `bytes`, and believes no time that has not come. `None` for anything else.
    pub(super) fn from_bytes(bytes: &[u8], now: u64) -> Option<Self> {
        if bytes.len() > MAX_BYTES {
            return None;
        }
        let mut d = Decoder::new(bytes);
        let kept: Kept = d.decode().ok()?;
        if d.position() != bytes.len() || kept.version != VERSION {
            return None;
        }
        let Kept { round, began, ended, cursor, tree_done, logs, findings, more, .. } = kept;
        let ended = if ended > now { 0 } else { ended };
        let (began, logs) = (began.min(now), logs.min(LOGS));
        let mut position = Self { round, began, ended, cursor, tree_done, logs, more, ..Self::default() };
        for finding in findings {
            let kind = KINDS.into_iter().find(|kind| *kind == finding.kind)?;
            let place = finding.below.map_or(Place::Log, Place::Tree);
            let mut found = position.findings.get(&place).cloned().unwrap_or_default();
            found.push(Finding { kind, what: finding.what });
            position.put(place, found);
        }
        Some(position)
    }
}

#[cfg(test)]
mod tests;
