//! Transfers between groups that are each their committed log: every entry is committed when it is made, and every entry
//! that was ever made is evidence. By the rules of the log that is what other groups see of a group.

use super::super::search::{self, Space, fingerprint, permutations, search};
use super::contents::{Contents, Count, Group, Rules};
use super::logs::{Facts, Log, State};
use super::moves::{Chooser, Limits, Move};
use super::promises::{Endings, View};
use super::rule::Rule;
use std::fmt;
use std::rc::Rc;

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Groups. The first one owns the whole space.
    pub groups: usize,
    /// Transfers that are ever begun, at most 5. Any number of them at once.
    pub transfers: usize,
    /// Guesses that are ever charged.
    pub guesses: u8,
    /// The count up to which a group may count up with nothing to refuse.
    pub idle_refusals: u8,
    /// Whether groups split and merge.
    pub split: bool,
    /// Whether groups retire.
    pub retire: bool,
    /// Places in an entry.
    pub places: usize,
    /// Whether what is open must be such that it can end.
    pub endings: bool,
    /// Number of states after which to stop.
    pub states: usize,
}

impl Bounds {
    /// So many groups and transfers, and nothing else.
    #[must_use]
    pub const fn of(groups: usize, transfers: usize) -> Self {
        Self {
            groups,
            transfers,
            guesses: 0,
            idle_refusals: 0,
            split: false,
            retire: false,
            places: 16,
            endings: true,
            states: 20_000_000,
        }
    }

    /// Everything at once, with this many groups and transfers.
    #[must_use]
    pub const fn all_of(groups: usize, transfers: usize) -> Self {
        Self { guesses: 1, idle_refusals: 1, split: true, retire: true, ..Self::of(groups, transfers) }
    }

    /// A few groups in which a promise breaks without this rule. `None` where none breaks, or only inside groups.
    #[must_use]
    pub const fn for_rule(rule: Rule) -> Option<Self> {
        let small = Self { endings: false, ..Self::of(2, 2) };
        let bounds = match rule {
            Rule::SourceIsOther
            | Rule::InNeedsExactPrefix
            | Rule::OutCountsUp
            | Rule::DropCountsUp
            | Rule::RetireCountsUp
            | Rule::LeaveNeedsCommitted
            | Rule::LeaveNeedsExact
            | Rule::LeaveFromAnywhere => return None,
            Rule::OutNamesSource => Self { groups: 3, idle_refusals: 1, ..small },
            Rule::TakeGivenRoot => Self { guesses: 1, ..small },
            Rule::OpenIsRepeated => Self { guesses: 1, split: true, ..small },
            Rule::OutTakesPlace => Self { places: 1, ..small },
            Rule::DecidesWhileBusy => Self { transfers: 3, split: true, endings: true, ..small },
            Rule::TakeCountsUp => Self { endings: true, ..small },
            Rule::RetiredIsStated => Self { retire: true, endings: true, ..small },
            Rule::RetireOwnsNothing
            | Rule::RetireWithoutIncoming
            | Rule::RetireWithoutOutgoing
            | Rule::RetiredIsLast
            | Rule::RetiredForGood => Self { retire: true, ..small },
            _ => small,
        };
        Some(bounds)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "groups {}, transfers {}, guesses {}", self.groups, self.transfers, self.guesses)?;
        if self.idle_refusals > 0 {
            write!(f, ", idle refusals {}", self.idle_refusals)?;
        }
        write!(f, "{}", if self.split { ", split and merge" } else { "" })?;
        write!(f, "{}", if self.retire { ", retirement" } else { "" })?;
        if self.places < 16 { write!(f, ", places {}", self.places) } else { Ok(()) }
    }
}

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A group makes an entry.
    Made(Group, Move),
    /// A group makes an entry that is shown to others and never committed.
    Lost(Group, Move),
    /// A retired group is joined anew, and brought to an entry that it had before.
    Rejoined(Group, usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made(group, what) => write!(f, "group {group} {what}"),
            Self::Lost(group, what) => write!(f, "group {group} {what}; that is shown, and never committed"),
            Self::Rejoined(group, at) => {
                write!(f, "the members of group {group} join it anew, and capture its entry {at} again")
            }
        }
    }
}

/// What was found.
pub type Explored = search::Explored<Step>;

/// Visits what can happen with one rule left out, or none, nearest first.
///
/// # Panics
/// If there are to be more than 5 transfers.
#[must_use]
pub fn explore(bounds: &Bounds, without: Option<Rule>, seen: &mut dyn FnMut(usize)) -> Explored {
    let (space, first) = Atomic::new(bounds, without);
    search(&space, first, bounds.states, seen)
}

/// Takes these steps with one rule left out, or none, and says which promise is broken then.
///
/// # Errors
/// The first step that is not allowed.
///
/// # Panics
/// If there are to be more than 5 transfers.
pub fn follow(bounds: &Bounds, without: Option<Rule>, way: &[Step]) -> Result<Option<&'static str>, Step> {
    let (space, mut state) = Atomic::new(bounds, without);
    for step in way {
        let mut next = space.next(&state).into_iter();
        (_, state) = next.find(|(may, _)| may == step).ok_or(*step)?;
    }
    Ok(space.broken(&state))
}

struct Atomic {
    rules: Rules,
    limits: Limits,
    orders: Vec<Vec<usize>>,
    endings: Option<Endings>,
}

impl Space for Atomic {
    type State = State;
    type Step = Step;

    fn next(&self, state: &State) -> Vec<(Step, State)> {
        let evidence = state.evidence();
        let Self { rules, limits, .. } = self;
        let mut all = Vec::new();
        // A guess is charged by whoever owns the record, and the limit is one for all.
        let limits =
            Limits { guesses: if state.charged < limits.guesses { Count::MAX } else { 0 }, ..*limits };
        for (me, log) in (0..).zip(&state.logs) {
            let begun = state.begun;
            let chooser = Chooser {
                rules,
                limits: &limits,
                me,
                begun,
                newest: &log.newest,
                evidence: &evidence,
                loose: &[],
            };
            for (what, says) in chooser.moves() {
                all.push((Step::Made(me, what), self.after(state, me, what, says, true)));
                let shown = match what {
                    Move::Wait { .. } => !rules.keep(Rule::OutNeedsCommitted),
                    Move::Give { .. } => !rules.keep(Rule::TakeNeedsCommitted),
                    _ => false,
                };
                if shown {
                    all.push((Step::Lost(me, what), self.after(state, me, what, says, false)));
                }
            }
            if log.newest.retired && !rules.keep(Rule::RetiredForGood) {
                for (at, says) in log.stated.iter().enumerate() {
                    let mut after = state.clone();
                    Rc::make_mut(&mut after.logs[usize::from(me)]).newest = *says;
                    all.push((Step::Rejoined(me, at), after));
                }
            }
        }
        all
    }

    fn fingerprint(&self, state: &State) -> u64 {
        if self.rules.without.is_some_and(|rule| Bounds::for_rule(rule).is_some()) {
            return fingerprint(&(state.begun, state.charged, &state.logs));
        }
        let facts = Facts::of(state, &self.limits, &self.rules);
        self.orders.iter().map(|order| facts.fingerprint(order)).min().unwrap_or(0)
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let newest = state.newest();
        let evidence = state.evidence();
        let places = self.rules.places;
        let view = View { newest: &newest, evidence: &evidence, charged: state.charged, places };
        let ends = |endings: &Endings| endings.can_end(&self.rules, &newest, state.begun);
        let stuck = || self.endings.as_ref().is_some_and(|endings| !ends(endings));
        view.broken().or_else(|| stuck().then_some("what is open can never be brought to an end"))
    }
}

impl Atomic {
    fn new(bounds: &Bounds, without: Option<Rule>) -> (Self, State) {
        assert!(bounds.transfers <= super::contents::IDS, "at most 5 transfers");
        let Bounds { groups, transfers, guesses, idle_refusals, split, retire, places, .. } = *bounds;
        let limits = Limits { transfers, guesses, idle_refusals, split, retire };
        let rules = Rules { without, places };
        let endings = bounds.endings.then(Endings::default);
        let space = Self { rules, limits, orders: permutations(groups), endings };
        let log = |group| {
            let newest = if group == 0 { Contents::genesis() } else { Contents::default() };
            Rc::new(Log { newest, stated: vec![newest] })
        };
        (space, State { logs: (0..groups).map(log).collect(), begun: 0, charged: 0 })
    }

    fn after(&self, state: &State, me: Group, what: Move, says: Contents, committed: bool) -> State {
        let mut after = state.clone();
        let log = Rc::make_mut(&mut after.logs[usize::from(me)]);
        if committed {
            log.newest = says;
        }
        // With all rules, no root but a given one is looked at in evidence.
        let stated = if self.rules.without.is_none() { says.uncharged() } else { says };
        if !log.stated.contains(&stated) {
            log.stated.push(stated);
        }
        match what {
            Move::Charge => after.charged += 1,
            Move::Wait { id, .. } => after.begun = after.begun.max(id + 1),
            _ => {}
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::search::walks_stay_inside;
    use super::{Atomic, Bounds};

    #[test]
    fn whatever_groups_do_was_explored() {
        for bounds in [Bounds::all_of(2, 2), Bounds { guesses: 1, ..Bounds::of(3, 2) }] {
            let (space, first) = Atomic::new(&bounds, None);
            walks_stay_inside(&space, &first, 100);
        }
    }
}
