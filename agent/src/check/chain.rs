//! Which parts of a log are there, and which are not: its sound segments, put together, and every gap between them.
//!
//! Owns what is reported about each. Sound segments that follow each other are a *run*. The stored tree and HSMs know
//! places that the log reached; everything that leads up to such a place is the log, as far as it is kept. Between two
//! runs something is missing, unless a damaged segment fills the gap; a run that reaches the next one without leading
//! to it was altered. Each place is judged by itself, so that one damage hides no other and blames no neighbour.

use super::problem::{Lost, Problem};
use std::collections::BTreeMap;
use strongroom_proto::hsm::MAX_CAPTURE_ENTRIES;
use strongroom_proto::ids::{EntryHash, GroupId, Index};
use strongroom_replica::segment::SegmentName;

/// A segment on the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its name.
    pub name: SegmentName,
    /// The hash of the entry before it.
    pub prev: EntryHash,
    /// Its last entry.
    pub last: (Index, EntryHash),
}

/// What HSMs of a group have captured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Captured {
    /// The HSM that is asked; `None` if none is, or if it is not a member.
    pub own: Option<(Index, EntryHash)>,
    /// The furthest of the others that are known, 0 for none.
    pub others: Index,
}

impl Captured {
    /// No HSM was asked.
    pub const UNKNOWN: Self = Self { own: None, others: Index::ZERO };
}

/// A group's chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its segments, in order, without a gap.
    pub links: Vec<Link>,
    /// Sound segments of the log that a missing or damaged one cuts off from those, in order.
    pub apart: Vec<Link>,
    /// How many other segments there are: what deposed leaders left, and what is being deleted.
    pub unnecessary: usize,
    /// The lowest first index of all segments, 0 for none.
    pub oldest: Index,
    /// The highest.
    pub newest: Index,
    /// Whether there are segments that begin after its end.
    pub goes_on: bool,
    /// What is wrong with it, in the order of the log.
    pub problems: Vec<Problem>,
}

impl Chain {
    /// The index of its first entry or, if that cannot be told, of the oldest that exists; 0 for none.
    #[must_use]
    pub fn begins_at(&self) -> Index {
        self.links.first().map_or(self.oldest, |link| link.name.first)
    }

    /// All sound segments of the log.
    pub fn sound(&self) -> impl Iterator<Item = &Link> {
        self.apart.iter().chain(&self.links)
    }

    /// The first and last entry of these, zero for none.
    #[must_use]
    pub fn spans(&self) -> (Index, Index) {
        let first = self.sound().map(|link| link.name.first).min();
        let last = self.sound().map(|link| link.last.0).max();
        (first.unwrap_or(Index::ZERO), last.unwrap_or(Index::ZERO))
    }
}

/// A segment that cannot be used.
pub(super) struct Bad {
    pub(super) problem: Problem,
    /// How many entries it has, if it still shows.
    pub(super) entries: Option<u64>,
}

/// Everything that is stored of a group's log.
#[derive(Default)]
pub(super) struct Found {
    links: BTreeMap<SegmentName, Link>,
    by_end: BTreeMap<(Index, [u8; 32]), SegmentName>,
    bad: BTreeMap<SegmentName, Bad>,
    /// The first index of the newest segment that was deleted meanwhile: older ones are about to be.
    pub(super) gone: Option<Index>,
}

/// Sound segments that follow each other or, if there are none, a place that the log is known to reach.
struct Run {
    links: Vec<Link>,
    begins: Index,
    ends: Index,
    /// The hash of the last entry, if it is known.
    hash: Option<EntryHash>,
}

impl Run {
    /// No segments, only the place after this entry.
    fn behind(entry: Index, hash: Option<EntryHash>) -> Self {
        Self { links: Vec::new(), begins: after(entry), ends: entry, hash }
    }
}

fn after(index: Index) -> Index {
    Index(index.0.saturating_add(1))
}

/// How surely two neighbouring runs belong to the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sure {
    /// The second one leads to the stored tree.
    Below,
    /// An HSM has captured what the second one leads to.
    Captured,
    /// Nothing shows that the second one is not a deposed leader's.
    No,
}

/// What comes next, on the way from one run to the next.
enum Place {
    /// Whatever exists: leaders delete the oldest first.
    Anything,
    /// The segment with this name.
    At(Lost),
    /// Where this damaged one ends is unknown.
    In(SegmentName),
}

impl Found {
    pub(super) fn insert(&mut self, link: Link) {
        self.by_end.insert((link.last.0, link.last.1.0), link.name);
        self.links.insert(link.name, link);
    }

    pub(super) fn insert_bad(&mut self, name: SegmentName, bad: Bad) {
        self.bad.insert(name, bad);
    }

    fn ending_with(&self, index: Index, hash: EntryHash) -> Option<&Link> {
        self.by_end.get(&(index, hash.0)).and_then(|name| self.links.get(name))
    }

    fn before(&self, link: &Link) -> Option<&Link> {
        self.ending_with(Index(link.name.first.0.saturating_sub(1)), link.prev)
    }

    /// Everything that leads to an entry and begins after `floor`, in order.
    fn leading_to(&self, floor: Index, index: Index, hash: EntryHash) -> Vec<Link> {
        let last = self.ending_with(index, hash);
        let back = std::iter::successors(last, |link| self.before(link));
        let mut links: Vec<Link> = back.take_while(|link| link.name.first > floor).copied().collect();
        links.reverse();
        links
    }

    /// What leads to an entry, and what continues from it.
    fn run(&self, group: GroupId, floor: Index, (index, hash): (Index, EntryHash)) -> Run {
        let mut links = self.leading_to(floor, index, hash);
        let begins = links.first().map_or(after(index), |link| link.name.first);
        let mut end = (index, hash);
        while let Some(link) = self.links.get(&SegmentName::new(group, after(end.0), &end.1))
            && link.prev == end.1
        {
            links.push(*link);
            end = link.last;
        }
        Run { links, begins, ends: end.0, hash: Some(end.1) }
    }

    /// The runs between two places. One that overlaps what is known is not in the log: a deposed leader left it.
    fn runs_between(&self, floor: Index, mut begins: Index) -> Vec<Run> {
        let mut runs = Vec::new();
        let last_below = |begins: Index| {
            let inside = self.links.values().filter(|link| link.name.first > floor && link.last.0 < begins);
            inside.max_by_key(|link| (link.last.0, self.before(link).is_some()))
        };
        while let Some(link) = last_below(begins) {
            let (ends, hash) = link.last;
            let links = self.leading_to(floor, ends, hash);
            begins = links.first().map_or(link.name.first, |link| link.name.first);
            runs.push(Run { links, begins, ends, hash: Some(hash) });
        }
        runs.reverse();
        runs
    }

    pub(super) fn chain(
        self,
        group: GroupId,
        anchor: Option<(Index, EntryHash)>,
        captured: Captured,
    ) -> Chain {
        let start = anchor.unwrap_or((Index::ZERO, EntryHash::ZERO));
        let base = self.run(group, Index::ZERO, start);
        let base_ends = base.ends;
        let mut problems = captured_elsewhere(&base, start, captured.own);
        let mut runs: Vec<(Run, Sure)> = Vec::new();
        if anchor.is_some() {
            let below = self.runs_between(Index::ZERO, base.begins);
            runs.extend(below.into_iter().map(|run| (run, Sure::Below)));
            let lost = runs.is_empty() && base.begins > start.0;
            if lost && self.bad.keys().all(|name| name.first > start.0) {
                problems.push((start.0, Problem::NoAnchor(start.0)));
            }
        }
        let base_at = runs.len();
        runs.push((base, Sure::Below));
        self.add_above(group, captured, &mut runs);
        let mut lower = None;
        for (run, sure) in &runs {
            problems.extend(self.look_between(lower, run, *sure, group));
            lower = Some(run);
        }
        let links = runs.remove(base_at).0.links;
        let apart: Vec<Link> = runs.into_iter().flat_map(|(run, _)| run.links).collect();
        let unnecessary = self.links.len().saturating_sub(links.len() + apart.len());
        let firsts = || self.links.keys().chain(self.bad.keys()).map(|name| name.first);
        let goes_on = firsts().any(|first| first > base_ends);
        let oldest = firsts().min().unwrap_or(Index::ZERO);
        let newest = firsts().max().unwrap_or(Index::ZERO);
        problems.extend(self.bad.into_iter().map(|(name, bad)| (name.first, bad.problem)));
        problems.sort_by_key(|(at, _)| *at);
        let problems = problems.into_iter().map(|(_, problem)| problem).collect();
        Chain { links, apart, unnecessary, oldest, newest, goes_on, problems }
    }

    /// Adds what is above the last run: up to what HSMs have captured or, if none was asked, whatever there is.
    fn add_above(&self, group: GroupId, captured: Captured, runs: &mut Vec<(Run, Sure)>) {
        let top = |runs: &[(Run, Sure)]| runs.last().map_or(Index::ZERO, |(run, _)| run.ends);
        if let Some(own) = captured.own.filter(|own| own.0 > top(runs)) {
            let run = self.run(group, top(runs), own);
            let between = self.runs_between(top(runs), run.begins);
            runs.extend(between.into_iter().chain([run]).map(|run| (run, Sure::Captured)));
        }
        if captured.others > top(runs) {
            let between = self.runs_between(top(runs), after(captured.others));
            let end = Run::behind(captured.others, None);
            runs.extend(between.into_iter().chain([end]).map(|run| (run, Sure::Captured)));
        }
        if captured.own.is_none() {
            let between = self.runs_between(top(runs), Index(u64::MAX));
            runs.extend(between.into_iter().map(|run| (run, Sure::No)));
            // Nothing shows where the newest damaged one ends.
            let newest = self.bad.keys().map(|name| name.first).max().filter(|first| *first > top(runs));
            runs.extend(newest.map(|first| (Run::behind(first, None), Sure::No)));
        }
    }

    /// What is wrong between two neighbours.
    fn look_between(
        &self,
        lower: Option<&Run>,
        upper: &Run,
        sure: Sure,
        group: GroupId,
    ) -> Vec<(Index, Problem)> {
        let lower = lower.filter(|lower| sure != Sure::No || lower.ends > Index::ZERO);
        let mut way = Way::from(group, lower, sure);
        let first = lower.map_or(Index::ZERO, |lower| after(lower.ends));
        if lower.is_some() && Some(first) <= self.gone {
            return Vec::new();
        }
        let inside = self.bad.iter().filter(|(name, _)| name.first >= first && name.first < upper.begins);
        let inside: Vec<_> = inside.filter(|(name, _)| Some(name.first) > self.gone).collect();
        for (at, (name, bad)) in inside.iter().enumerate() {
            // Inside another run: a deposed leader left one of the two.
            if matches!(way.place, Place::At(lost) if lost.first > name.first) {
                continue;
            }
            way.reach(name.first, Next::Bad(**name));
            let next = inside.get(at + 1).map_or(upper.begins, |(next, _)| next.first);
            let ends = bad.entries.map(|entries| Index(name.first.0.saturating_add(entries)));
            way.last = name.to_string();
            way.place = match ends.filter(|ends| *ends <= next) {
                Some(first) => Place::At(Lost { group, first, prev: None }),
                None => Place::In(**name),
            };
        }
        let next = upper.links.first().map_or(Next::Known(upper.hash.is_some()), |link| Next::Run(link.name));
        way.reach(upper.begins, next);
        way.problems
    }
}

/// Where the way between two runs gets to.
#[derive(Clone, Copy)]
enum Next {
    /// A damaged segment.
    Bad(SegmentName),
    /// The segment that the second run begins with, to which the first does not lead.
    Run(SegmentName),
    /// A place without a segment; whether a hash other than the first run's is known there.
    Known(bool),
}

/// The way from one run to the next.
struct Way<'a> {
    lower: Option<&'a Link>,
    sure: Sure,
    place: Place,
    /// The last segment that was passed.
    last: String,
    problems: Vec<(Index, Problem)>,
}

impl<'a> Way<'a> {
    fn from(group: GroupId, lower: Option<&'a Run>, sure: Sure) -> Self {
        let place = lower.map_or(Place::Anything, |run| {
            let first = after(run.ends);
            let prev = run.hash.map(|hash| SegmentName::new(group, first, &hash).prev);
            Place::At(Lost { group, first, prev })
        });
        let lower = lower.and_then(|run| run.links.last());
        let last = lower.map_or("the stored tree".into(), |link| link.name.to_string());
        Self { lower, sure, place, last, problems: Vec::new() }
    }

    /// Reports what is missing before `next`, which begins with the entry `first`.
    fn reach(&mut self, first: Index, next: Next) {
        let end = Index(first.0.saturating_sub(1));
        let object = match next {
            Next::Bad(name) | Next::Run(name) => Some(name),
            Next::Known(_) => None,
        };
        let beyond = |end| object.map(|object| Problem::Beyond { object, end, last: self.last.clone() });
        let problem = match self.place {
            Place::At(lost) if lost.first < first => match self.sure {
                Sure::Below => Some(Problem::Hole { object: lost, last: end }),
                Sure::Captured => Some(Problem::Missing { object: lost, last: end }),
                Sure::No => beyond(Index(lost.first.0.saturating_sub(1))),
            },
            Place::At(lost) if lost.first == first && lost.prev.is_some() => match (next, self.lower) {
                (Next::Bad(name), _) if Lost::from(name) == lost => None,
                (Next::Known(false), _) | (_, None) => None,
                (Next::Known(true), Some(link)) if self.sure == Sure::Captured => {
                    Some(Problem::Forked { index: end, object: Some(link.name) })
                }
                _ if self.sure == Sure::No => beyond(end),
                (_, Some(link)) => Some(Problem::Astray { object: link.name, end }),
            },
            Place::In(bad) if first.0.saturating_sub(bad.first.0) > MAX_CAPTURE_ENTRIES as u64 => {
                Some(Problem::Between { object: bad, last: end })
            }
            Place::Anything | Place::At(_) | Place::In(_) => None,
        };
        let at = match self.place {
            Place::At(lost) => lost.first.min(first),
            Place::Anything | Place::In(_) => first,
        };
        self.problems.extend(problem.map(|problem| (at, problem)));
    }
}

/// Reports that the HSM has captured a different entry from the one that the run has there.
fn captured_elsewhere(
    base: &Run,
    start: (Index, EntryHash),
    own: Option<(Index, EntryHash)>,
) -> Vec<(Index, Problem)> {
    let inside = own.filter(|own| own.0 > Index::ZERO && (own.0 >= base.begins || own.0 == start.0));
    let Some(own) = inside.filter(|own| own.0 <= base.ends && *own != start) else { return Vec::new() };
    if base.links.iter().any(|link| link.last == own) {
        return Vec::new();
    }
    let object = base.links.iter().find(|link| link.last.0 >= own.0).map(|link| link.name);
    vec![(own.0, Problem::Forked { index: own.0, object })]
}

#[cfg(test)]
mod tests;
