//! Transfers inside groups of several HSMs: leaders come and go, entries are made, lost and made again on other forks, and
//! every statement is kept for ever. A group is the model of a log, with what each entry says.
//!
//! What is left out, and why nothing is lost by it. Restarts and stepping down: both only take possibilities away. Reads.
//! An entry is stated as committed as soon as a majority has captured it while its leader leads, and then all before it are, and their
//! replies are released: that is more than a host gets, and every rule asks for statements, none for their absence.
//! Nobody goes on from an entry that conflicts with a committed one: by the rules of the log nothing after it is ever
//! committed. In a group of one, entries are captured when they are made.

use super::super::search::{self, Space, fingerprint, permutations, search};
use super::super::{Action, Number};
use super::contents::{Contents, Count, Evidence, Group, Rules};
use super::forks::Forks;
use super::moves::{Chooser, Limits, Move};
use super::promises::View;
use super::rule::Rule;
use std::fmt;
use std::rc::Rc;

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Members of each group; 0 where there is no group. The first one owns the whole space.
    pub members: [usize; 3],
    /// Entries that each group ever makes.
    pub entries: [usize; 3],
    /// Transfers that are ever begun.
    pub transfers: usize,
    /// Guesses that one chain may charge.
    pub guesses: u8,
    /// The count up to which a group may count up with nothing to refuse.
    pub idle_refusals: u8,
    /// Whether groups retire and their members leave.
    pub retire: bool,
    /// Number of states after which to stop.
    pub states: usize,
}

impl Bounds {
    /// Groups of so many members that make so many entries.
    #[must_use]
    pub const fn of(members: [usize; 3], entries: [usize; 3]) -> Self {
        Self {
            members,
            entries,
            transfers: 1,
            guesses: 0,
            idle_refusals: 0,
            retire: false,
            states: 5_000_000,
        }
    }

    /// Small groups in which a promise breaks without this rule, if it is one about what happens inside groups.
    #[must_use]
    pub const fn for_rule(rule: Rule) -> Option<Self> {
        let retiring =
            Self { transfers: 0, idle_refusals: 2, retire: true, ..Self::of([1, 3, 0], [0, 3, 0]) };
        match rule {
            Rule::OutNeedsCommitted => Some(Self::of([1, 2, 0], [1, 1, 0])),
            Rule::TakeNeedsCommitted => Some(Self::of([2, 1, 0], [1, 2, 0])),
            Rule::LeaveNeedsCommitted
            | Rule::LeaveNeedsExact
            | Rule::LeaveFromAnywhere
            | Rule::RetiredIsStated => Some(retiring),
            Rule::RetiredForGood => Some(Self { members: [1, 2, 0], entries: [0, 2, 0], ..retiring }),
            _ => None,
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.members.iter().zip(self.entries).filter(|(members, _)| **members > 0);
        for (members, entries) in groups {
            write!(f, "HSMs {members} x entries {entries}; ")?;
        }
        write!(f, "transfers {}, guesses {}", self.transfers, self.guesses)?;
        if self.idle_refusals > 0 {
            write!(f, ", idle refusals {}", self.idle_refusals)?;
        }
        write!(f, "{}", if self.retire { ", retirement" } else { "" })
    }
}

/// What a member does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Leads from what it has captured.
    Lead,
    /// Makes the next entry, of this number, as the leader.
    Make(Number, Move),
    /// Captures up to an entry.
    Capture(Number),
    /// Jumps to a committed entry.
    Jump(Number),
    /// Leaves the retired group, and keeps its id.
    Leave,
    /// Joins it anew, with nothing.
    Rejoin,
}

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Where.
    pub group: Group,
    /// Who.
    pub member: usize,
    /// What.
    pub act: Act,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}, HSM {}: ", self.group, self.member)?;
        match self.act {
            Act::Lead => write!(f, "leads from what it has captured"),
            Act::Make(entry, what) => write!(f, "makes entry #{entry}: {what}"),
            Act::Capture(to) => write!(f, "captures #{to}"),
            Act::Jump(to) => write!(f, "jumps to #{to}"),
            Act::Leave => write!(f, "leaves"),
            Act::Rejoin => write!(f, "joins anew"),
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
    let (space, first) = Forked::new(bounds, without);
    search(&space, first, bounds.states, seen)
}

/// One group, with what is asked of it in every state.
struct Known {
    of: Forks,
    fingerprint: u64,
    newest: Number,
    broken: Option<&'static str>,
}

#[derive(Clone)]
struct State {
    groups: Vec<Rc<Known>>,
    begun: usize,
}

struct Forked {
    rules: Rules,
    limits: Limits,
    entries: [usize; 3],
    orders: Vec<Vec<Vec<usize>>>,
}

impl State {
    fn evidence(&self, holds: impl Fn(&Forks, Number) -> bool) -> Vec<Evidence<'_>> {
        let mut all = Vec::new();
        for (group, Known { of, .. }) in (0..).zip(self.groups.iter().map(Rc::as_ref)) {
            let shown = of.entries().filter(|at| holds(of, *at));
            all.extend(shown.map(|at| Evidence { group, says: &of.says[at] }));
        }
        all
    }
}

impl Space for Forked {
    type State = State;
    type Step = Step;

    fn next(&self, state: &State) -> Vec<(Step, State)> {
        let committed = state.evidence(Forks::is_committed);
        let captured = state.evidence(|of, at| of.model.nodes[at].stated != 0);
        let mut all = Vec::new();
        for (group, Known { of, .. }) in (0..).zip(state.groups.iter().map(Rc::as_ref)) {
            for member in 0..of.members() {
                for act in self.logged(of, member) {
                    let mut after = of.clone();
                    if self.apply(&mut after, member, act) {
                        all.push((Step { group, member, act }, self.with(state, group, after, 0)));
                    }
                }
                let leads =
                    of.model.newest(member).filter(|at| of.model.leads(member) && self.goes_on(of, *at));
                let may_make = of.says.len() <= self.entries[usize::from(group)] && !of.has_left(member);
                let Some(newest) = leads.filter(|_| may_make) else { continue };
                let Self { rules, limits, .. } = self;
                let (newest, begun) = (&of.says[newest], state.begun);
                let (evidence, loose) = (&committed, &captured);
                let chooser = Chooser { rules, limits, me: group, begun, newest, evidence, loose };
                for (what, says) in chooser.moves() {
                    let act = Act::Make(of.says.len(), what);
                    let begins = usize::from(matches!(what, Move::Wait { .. }));
                    let mut after = of.clone();
                    after.make(member, what, says);
                    all.push((Step { group, member, act }, self.with(state, group, after, begins)));
                }
            }
        }
        all
    }

    fn fingerprint(&self, state: &State) -> u64 {
        let groups: Vec<u64> = state.groups.iter().map(|known| known.fingerprint).collect();
        fingerprint(&(state.begun, groups))
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let inside = state.groups.iter().find_map(|known| known.broken);
        let newest: Vec<Contents> = state.groups.iter().map(|known| known.of.says[known.newest]).collect();
        let evidence = state.evidence(Forks::is_committed);
        let mut answered: Vec<Count> = state.groups.iter().flat_map(|known| known.of.answered()).collect();
        answered.sort_unstable();
        if answered.windows(2).any(|two| two[0] == two[1]) {
            return Some("two guesses are answered and charged as one");
        }
        let charged = answered.last().copied().unwrap_or(0);
        let view = View { newest: &newest, evidence: &evidence, charged, places: self.rules.places };
        inside.or_else(|| view.broken())
    }
}

impl Forked {
    fn new(bounds: &Bounds, without: Option<Rule>) -> (Self, State) {
        assert!(bounds.transfers <= super::contents::IDS, "at most 5 transfers");
        let Bounds { transfers, guesses, idle_refusals, retire, .. } = *bounds;
        let limits = Limits { transfers, guesses, idle_refusals, split: false, retire };
        let members = bounds.members.into_iter().filter(|members| *members > 0);
        let orders = members.clone().map(permutations).collect();
        let rules = Rules { without, places: 16 };
        let space = Self { rules, limits, entries: bounds.entries, orders };
        let group = |(at, members): (usize, usize)| {
            let says = if at == 0 { Contents::genesis() } else { Contents::default() };
            space.known(at, Forks::new(members, says))
        };
        let first = State { groups: members.enumerate().map(group).collect(), begun: 0 };
        (space, first)
    }

    /// Whether entries after this one matter. Where the rules of the log do not hold, all do.
    fn goes_on(&self, of: &Forks, entry: Number) -> bool {
        of.is_live(entry) || !self.rules.keep(Rule::RetiredForGood)
    }

    /// What a member may try that makes no entry.
    fn logged(&self, of: &Forks, member: usize) -> Vec<Act> {
        if of.has_left(member) {
            return if self.rules.keep(Rule::RetiredForGood) { Vec::new() } else { vec![Act::Rejoin] };
        }
        let captured = of.model.captured(member);
        let mut acts = if self.limits.retire { vec![Act::Leave] } else { Vec::new() };
        if of.members() > 1 {
            acts.push(Act::Lead);
            acts.extend(
                of.entries().filter(|to| *to != captured && of.model.is_on(captured, *to)).map(Act::Capture),
            );
            acts.extend(of.entries().filter(|to| *to != captured && of.is_committed(*to)).map(Act::Jump));
        }
        acts
    }

    fn apply(&self, of: &mut Forks, member: usize, act: Act) -> bool {
        match act {
            Act::Lead => of.act(Action::Lead { member, from: of.model.captured(member) }),
            Act::Capture(to) => of.act(Action::Capture { member, to }),
            Act::Jump(to) => of.act(Action::Jump { member, to }),
            Act::Leave => of.leave(member, &self.rules),
            Act::Rejoin => {
                of.rejoin(member);
                true
            }
            Act::Make(..) => false,
        }
    }

    fn with(&self, state: &State, group: Group, of: Forks, begins: usize) -> State {
        let mut after = state.clone();
        after.groups[usize::from(group)] = self.known(group.into(), of);
        after.begun += begins;
        after
    }

    fn known(&self, group: usize, of: Forks) -> Rc<Known> {
        let fingerprint = of.fingerprint(&self.orders[group], self.rules.without.is_some());
        let (newest, broken) = (of.newest(), of.broken(&self.rules));
        Rc::new(Known { of, fingerprint, newest, broken })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::search::walks_stay_inside;
    use super::{Bounds, Forked};

    #[test]
    fn whatever_members_do_was_explored() {
        let charging = Bounds { guesses: 1, ..Bounds::of([2, 1, 0], [3, 3, 0]) };
        let retiring = Bounds { retire: true, ..Bounds::of([1, 2, 0], [2, 4, 0]) };
        for bounds in [charging, retiring] {
            let (space, first) = Forked::new(&bounds, None);
            walks_stay_inside(&space, &first, 100);
        }
    }
}
