//! What must always be so, between groups.

use super::super::search::fingerprint;
use super::contents::{Contents, Count, Evidence, Prefix, Rules};
use super::moves::{Chooser, Limits};
use super::rule::Rule;
use std::cell::RefCell;
use std::collections::HashMap;

/// What all groups say now, and everything that was ever stated.
pub(super) struct View<'a> {
    /// By group.
    pub(super) newest: &'a [Contents],
    pub(super) evidence: &'a [Evidence<'a>],
    /// Guesses that were charged.
    pub(super) charged: Count,
    pub(super) places: usize,
}

impl View<'_> {
    /// The promise that does not hold: one owner, nothing lost, the newest count, and bounded entries.
    pub(super) fn broken(&self) -> Option<&'static str> {
        for half in [Prefix::Lower, Prefix::Upper] {
            let owners = || self.newest.iter().filter(|says| !says.retired && says.owns(half));
            let under_way = self.under_way(half);
            match owners().count() {
                0 if under_way == 0 => {
                    return Some("a record is owned by nobody, and no transfer can deliver it");
                }
                0 if under_way == 1 => {}
                0 => return Some("two transfers can deliver the same record"),
                1 if under_way == 0 => {}
                1 => return Some("a record is owned, and a second copy can still arrive"),
                _ => return Some("a record is owned twice"),
            }
            let behind = |says: &Contents| {
                let roots = [Prefix::Whole, Prefix::Lower].map(|prefix| says.root(prefix));
                roots.iter().flatten().any(|root| *root < self.charged)
            };
            if half == Prefix::Lower && owners().any(behind) {
                return Some("a record's owner has forgotten a guess");
            }
        }
        let too_long = self.newest.iter().any(|says| says.places() > self.places);
        too_long.then_some("an entry is longer than it may be")
    }

    /// Transfers that can still deliver this half: they wait, and were given away.
    fn under_way(&self, half: Prefix) -> usize {
        let waiting = (0..).zip(self.newest).filter(|(_, says)| !says.retired);
        let waits = waiting.flat_map(|(group, says)| {
            let by_id = says.incoming.iter().enumerate();
            by_id.filter_map(move |(id, incoming)| Some((group, id, (*incoming)?)))
        });
        let arrives = waits.filter(|(group, id, incoming)| {
            let given = |evidence: &Evidence<'_>| {
                let outgoing = evidence.says.outgoing[*id];
                evidence.group == incoming.source && outgoing.is_some_and(|o| o.destination == *group)
            };
            incoming.prefix.covers(half) && self.evidence.iter().any(given)
        });
        arrives.count()
    }
}

/// Whether everything that is open can be brought to an end, with nothing but what groups can still state: each its newest
/// entry, and a retired one that it is retired. Remembers what it has found out.
#[derive(Default)]
pub(super) struct Endings(RefCell<HashMap<u64, bool>>);

impl Endings {
    pub(super) fn can_end(&self, rules: &Rules, newest: &[Contents], begun: usize) -> bool {
        // What was charged is of no consequence.
        let newest: Vec<Contents> = newest.iter().map(|says| says.uncharged()).collect();
        if newest.iter().all(Contents::is_idle) {
            return true;
        }
        let name = fingerprint(&newest);
        if let Some(known) = self.0.borrow().get(&name) {
            return *known;
        }
        // Steps that end transfers only count up or close, so this ends.
        self.0.borrow_mut().insert(name, false);
        let ends = after_ends(rules, &newest, begun).iter().any(|after| self.can_end(rules, after, begun));
        self.0.borrow_mut().insert(name, ends);
        ends
    }
}

fn after_ends(rules: &Rules, newest: &[Contents], begun: usize) -> Vec<Vec<Contents>> {
    let limits = Limits { transfers: 0, guesses: 0, idle_refusals: 0, split: false, retire: false };
    let stated = |says: &Contents| !says.retired || rules.keep(Rule::RetiredIsStated);
    let all_groups = || (0..).zip(newest);
    let shown = all_groups().filter(|(_, says)| stated(says));
    let evidence: Vec<Evidence<'_>> = shown.map(|(group, says)| Evidence { group, says }).collect();
    let mut all = Vec::new();
    for (me, of) in all_groups() {
        let chooser =
            Chooser { rules, limits: &limits, me, begun, newest: of, evidence: &evidence, loose: &[] };
        for (_, after) in chooser.ends(false) {
            let mut next = newest.to_vec();
            next[usize::from(me)] = after;
            all.push(next);
        }
    }
    all
}
