//! The course of a scrub: what is due is checked, what is found is looked at twice, and how far that came is kept.

use super::lane::Lane;
use super::metrics::ScrubMetrics;
use super::parts::Parts;
use super::position::{Due, Finding, Place, Position, Way};
use super::shelf::Shelf;
use crate::check::{CheckError, Problem};
use crate::clock::Clock;
use crate::store::{Limit, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use strongroom_proto::ids::{EntryHash, GroupId, Index, RecordId};
use strongroom_proto::prefix::Prefix;
use tokio::time::{sleep, timeout};

/// How long to wait before what was found is read once more: a store may return something else for a moment.
const CONFIRM: Duration = Duration::from_secs(2);
/// How often what was found is looked at again, in seconds.
const RECHECK_S: u64 = 900;
/// One part takes no longer than this, or is begun anew.
const LONGEST: Duration = Duration::from_secs(3600);
/// The pace of an agent that leads small trees. Larger ones get four times what they need together.
const CALLS_PER_S: u32 = 8;
const BYTES_PER_S: u64 = 256 << 10;
const ROOM: u64 = 4;
/// No faster, however large: a leader's own reads go first.
const MOST_BYTES_PER_S: u64 = 8 << 20;
/// Roughly what one call reads.
const CALL_BYTES: u64 = 32 << 10;

/// How a group is scrubbed.
#[derive(Clone, Debug)]
pub struct ScrubSettings {
    /// In which time everything is checked once; zero if only what was found damaged is looked at again.
    pub period: Duration,
    /// Into how many parts the tree is divided at least, as a power of two.
    pub part_bits: u32,
    /// Where it counts.
    pub metrics: ScrubMetrics,
    /// What it shares with the scrubs of the agent's other groups.
    pub lane: Lane,
}

/// What the leader knows about its group.
#[derive(Clone, Debug)]
pub struct Led {
    /// What the group owns.
    pub prefixes: Vec<Prefix>,
    /// The newest entry of which it is known that it is stored.
    pub reached: (Index, EntryHash),
    /// What its HSM has captured.
    pub captured: Index,
    /// What the stored tree reaches at least, 0 if there need be none.
    pub snapshot: Index,
    /// How many bytes the files of the stored tree have.
    pub bytes: u64,
}

/// What came of a look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Looked {
    /// Whether something was due: then there may be more.
    pub was_due: bool,
    /// Whether a round has ended with it.
    pub round_ended: bool,
    /// Whether nothing is known to be wrong with the stored tree.
    pub tree_is_well: bool,
}

/// The scrub of one group, at its leader.
pub struct Scrub<P> {
    group: GroupId,
    parts: P,
    shelf: Shelf,
    clock: Clock,
    settings: ScrubSettings,
    position: Option<Position>,
    /// The position that could not be kept: what was found by then.
    unkept: Option<Position>,
    /// When what was found was last to be looked at again.
    rechecked: u64,
    /// Where that is, as far as it has not been looked at since.
    pending: BTreeSet<Place>,
    /// The parts of the tree that the last look has read, and whether all was well there.
    read: BTreeMap<Prefix, bool>,
}

impl<P: Parts> Scrub<P> {
    /// Asks nothing of the store yet. From now on it shows when it last did all that was due.
    pub fn new(group: GroupId, parts: P, store: &Store, clock: Clock, settings: ScrubSettings) -> Self {
        let shelf = Shelf::new(store, group);
        settings.metrics.checked(group, clock());
        let (position, unkept, rechecked) = (None, None, 0);
        let (pending, read) = (BTreeSet::new(), BTreeMap::new());
        Self { group, parts, shelf, clock, settings, position, unkept, rechecked, pending, read }
    }

    /// How far it has come, once that is known.
    pub const fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Whether nothing is known to be wrong with the stored tree.
    pub fn tree_is_well(&self) -> bool {
        self.unkept.iter().chain(&self.position).all(Position::tree_is_well)
    }

    /// Whether the last look has read a page, or all below a prefix that is deeper than a part, and all was well there.
    pub fn found_well(&self, below: &Prefix) -> bool {
        self.read.iter().any(|(part, is_well)| *is_well && part.overlaps(below))
    }

    /// Whether the last look has read the part that a record is in.
    pub fn has_read(&self, id: &RecordId) -> bool {
        self.read.keys().any(|part| part.contains(id))
    }

    /// Checks what is due, if anything is, and the parts that these records are in, which were found damaged by others.
    ///
    /// # Errors
    /// [`CheckError`]: it goes on from the same place the next time.
    pub async fn look(&mut self, led: &Led, noticed: &BTreeSet<RecordId>) -> Result<Looked, CheckError> {
        self.read.clear();
        let now = (self.clock)();
        let mut position = self.known(now).await?;
        let period_s = self.settings.period.as_secs();
        let part_bits = self.settings.part_bits;
        let way = Way { prefixes: &led.prefixes, part_bits, bytes: led.bytes, period_s };
        position.settle(&way, now);
        let before = position.clone();
        if let Some(unkept) = &self.unkept {
            position.take_over(unkept);
        }
        position.seek_more();
        self.parts.keep_to(limit(self.settings.lane.enter(self.group, led.bytes), period_s));
        self.settings.metrics.show(self.group, &position, way.done_ppm(&position));
        let mut failed = None;
        for place in self.again(&position, &way, noticed, now) {
            if let Err(error) = self.examine(&mut position, place, led).await {
                failed = Some(error);
            }
        }
        let mut was_due = false;
        if period_s > 0 || position.seeks_more() {
            match self.step(&mut position, &way, led).await {
                Ok(due) => was_due = due,
                Err(error) => failed = Some(error),
            }
        }
        self.settings.metrics.show(self.group, &position, way.done_ppm(&position));
        let round_ended = position.ended != before.ended;
        let tree_is_well = position.tree_is_well();
        if position != before && !self.shelf.keep(&position).await {
            // Somebody else may have gone on from there, or it is not known whether this is kept: that is read again. What was found
            // is known all the same.
            self.unkept = Some(position);
            self.position = None;
            return Err(CheckError::Store);
        }
        self.unkept = None;
        self.position = Some(position);
        if failed.is_none() {
            self.settings.metrics.checked(self.group, (self.clock)());
        }
        failed.map_or(Ok(Looked { was_due, round_ended, tree_is_well }), Err)
    }

    /// Reads how far it had come and what was found, if that is not known yet.
    ///
    /// # Errors
    /// [`CheckError::Store`].
    pub async fn recall(&mut self) -> Result<(), CheckError> {
        if self.position.is_none() {
            self.position = Some(self.known((self.clock)()).await?);
        }
        Ok(())
    }

    async fn known(&mut self, now: u64) -> Result<Position, CheckError> {
        if let Some(position) = &self.position {
            return Ok(position.clone());
        }
        let read = self.shelf.read(now).await.map_err(|_| CheckError::Store)?;
        // What another leader found is looked at soon.
        self.rechecked = 0;
        Ok(read.unwrap_or_else(|| Position::begin(None, now)))
    }

    /// What is to be looked at because something was found there: what is new and, of what is known, one place, so that much damage does
    /// not keep what is due from being checked. Each comes again when all others have had their turn.
    fn again(
        &mut self,
        position: &Position,
        way: &Way<'_>,
        noticed: &BTreeSet<RecordId>,
        now: u64,
    ) -> BTreeSet<Place> {
        let is_known = |place: &Place| position.findings.contains_key(place);
        self.pending.retain(is_known);
        let is_time = now.saturating_sub(self.rechecked) >= RECHECK_S || now < self.rechecked;
        if is_time && self.pending.is_empty() {
            self.pending = position.findings.keys().copied().collect();
            self.rechecked = now;
        }
        let noticed = noticed.iter().filter_map(|id| way.part_of(id)).map(Place::Tree);
        noticed.filter(|place| !is_known(place)).chain(self.pending.pop_first()).collect()
    }

    /// Does what is due. Returns whether anything was.
    async fn step(&mut self, position: &mut Position, way: &Way<'_>, led: &Led) -> Result<bool, CheckError> {
        let now = (self.clock)();
        position.skip_tree(way, now);
        match position.due(way, now) {
            Due::Nothing => return Ok(false),
            Due::NextRound => *position = Position::begin(Some(position), now),
            Due::Check(place) => {
                let examined = self.examine(position, place, led).await;
                if examined.is_ok() {
                    position.pass(way, place, now);
                } else if place == Place::Log
                    && let Some(part) = position.due_part(way, now)
                {
                    // A log that cannot be read keeps no part waiting. It waits for none itself: what is due of it comes first.
                    let part = Place::Tree(part);
                    self.examine(position, part, led).await?;
                    position.pass(way, part, now);
                }
                examined?;
            }
        }
        Ok(true)
    }

    /// Checks a place, and takes note of what is wrong there.
    async fn examine(&mut self, position: &mut Position, place: Place, led: &Led) -> Result<(), CheckError> {
        let mut problems = self.problems(place, led).await?;
        if !problems.is_empty() {
            sleep(CONFIRM).await;
            let again = self.problems(place, led).await?;
            problems.retain(|problem| again.contains(problem));
            // Twice something is wrong, and not the same: that is not sound, and what it is shows later.
            if problems.is_empty() && !again.is_empty() {
                return Err(CheckError::Varies);
            }
        }
        if !problems.is_empty() && !self.parts.leads() {
            return Err(CheckError::Moving);
        }
        if let Place::Tree(part) = place {
            self.read.insert(part, problems.is_empty());
        }
        let found = Finding::all(&problems);
        if found.is_empty() || position.has_room(place) {
            self.report(position, place, &found);
        } else if position.more.is_none() {
            tracing::error!(
                group = %self.group, %place, problems = problems.len(),
                "the scrub finds more stored wrongly than it keeps; run `strongroom-agent check`, which names everything"
            );
        }
        position.put(place, found);
        Ok(())
    }

    async fn problems(&self, place: Place, led: &Led) -> Result<Vec<Problem>, CheckError> {
        let metrics = &self.settings.metrics;
        match place {
            Place::Log => {
                let log = self.parts.log(led.reached, led.captured);
                let log = timeout(LONGEST, log).await.map_err(|_| CheckError::Store)??;
                metrics.segments.inc_by(log.segments);
                Ok(log.problems)
            }
            Place::Tree(within) => {
                let part =
                    timeout(LONGEST, self.parts.tree(within)).await.map_err(|_| CheckError::Store)??;
                metrics.pages.inc_by(part.pages);
                metrics.leaves.inc_by(part.leaves);
                let mut problems = part.problems;
                // Without a tree there is nothing that could be wrong with it.
                if part.snapshot.is_none() && problems.is_empty() && led.snapshot > Index::ZERO {
                    problems.push(Problem::LostTree(led.snapshot));
                }
                Ok(problems)
            }
        }
    }

    /// Says what is new, and what is over.
    fn report(&self, position: &Position, place: Place, found: &[Finding]) {
        let known = position.findings.get(&place).map_or(&[][..], Vec::as_slice);
        for Finding { kind, what } in found.iter().filter(|finding| !known.contains(finding)) {
            self.settings.metrics.found(kind);
            let todo = match place {
                Place::Log => "restore it from the bucket's versions",
                Place::Tree(_) => {
                    "run `strongroom-agent check`; restore what it names from the bucket's versions, or stop the group's agents and \
                     run `strongroom-agent rebuild-tree`"
                }
            };
            tracing::error!(group = %self.group, %place, kind, what, todo, "the scrub found something that is stored wrongly");
        }
        for Finding { what, .. } in known.iter().filter(|finding| !found.contains(finding)) {
            tracing::info!(group = %self.group, %place, was = what, "what the scrub had found is not there any more");
        }
    }
}

impl<P> Drop for Scrub<P> {
    fn drop(&mut self) {
        self.settings.lane.leave(self.group);
    }
}

/// How fast trees of this size may be read.
fn limit(bytes: u64, period_s: u64) -> Limit {
    let needed = bytes.saturating_mul(ROOM).checked_div(period_s).unwrap_or(0);
    let bytes_per_s = needed.clamp(BYTES_PER_S, MOST_BYTES_PER_S);
    let calls = u32::try_from(bytes_per_s / CALL_BYTES).unwrap_or(u32::MAX);
    Limit { calls_per_s: calls.max(CALLS_PER_S), bytes_per_s }
}
