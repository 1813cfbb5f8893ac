//! Everything that can happen in a small group: every state that the rules allow is visited once, or a way is found to
//! break a promise.
//!
//! States that differ only in which member is which, or in the order in which entries were made, count as one.

use super::search::{self, Space, permutations, search};
use super::{Action, Model, Replies, Rule};
use std::hash::{DefaultHasher, Hash, Hasher};

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Members of the group.
    pub members: usize,
    /// Entries that are ever made.
    pub entries: usize,
    /// Guesses that one chain may charge. A guess is an entry with a reply.
    pub guesses: usize,
    /// Whether an answer to a read may wait, one at a time. Then one read is made, and what its answer breaks ends the
    /// search.
    pub reads: bool,
    /// Number of states after which to stop.
    pub states: usize,
}

impl Bounds {
    /// A small group in which a promise breaks without this rule. Without [`Rule::LeadFromCaptured`] none breaks: in
    /// the HSM, equality with the captured entry stands in for the check of its MAC. Without
    /// [`Rule::LeaderStatesFresh`] none breaks either: whoever leads has captured an own entry, or it would have stopped.
    #[must_use]
    pub const fn for_rule(rule: Rule) -> Option<Self> {
        let (members, entries, guesses, reads) = match rule {
            Rule::LeadFromCaptured | Rule::LeaderStatesFresh => return None,
            Rule::JumpIsExact | Rule::CaptureFollows => (2, 3, 0, false),
            Rule::CountOnce => (3, 3, 0, false),
            Rule::LeaderStates => (3, 2, 0, false),
            Rule::RepliesLast | Rule::ReleaseByAncestry => (2, 2, 1, false),
            Rule::JumpIsCommitted
            | Rule::JumpIsForward
            | Rule::NvramFirst
            | Rule::OwnCounted
            | Rule::Majority => (2, 2, 0, false),
            Rule::LeadDropsReads
            | Rule::FreshHasNonce
            | Rule::NonceAfterRead
            | Rule::FreshByHash
            | Rule::FreshNotAhead
            | Rule::ReadWaitsForCommit => (3, 2, 0, true),
        };
        Some(Self { members, entries, guesses, reads, states: 10_000_000 })
    }
}

/// Visits what can happen with one rule left out, or none, nearest first.
#[must_use]
pub fn explore(bounds: &Bounds, without: Option<Rule>) -> Explored {
    let space = Small { bounds, orders: permutations(bounds.members) };
    search(&space, Model::new(bounds.members, without), bounds.states, &mut |_| {})
}

/// What was found.
pub type Explored = search::Explored<Action>;

struct Small<'a> {
    bounds: &'a Bounds,
    orders: Vec<Vec<usize>>,
}

impl Space for Small<'_> {
    type State = Model;
    type Step = Action;

    fn next(&self, model: &Model) -> Vec<(Action, Model)> {
        successors(model, self.bounds)
    }

    fn fingerprint(&self, model: &Model) -> u64 {
        fingerprint(model, &self.orders)
    }

    fn broken(&self, model: &Model) -> Option<&'static str> {
        model.broken_promise(self.bounds.guesses)
    }
}

/// Everything that may happen next.
fn successors(model: &Model, bounds: &Bounds) -> Vec<(Action, Model)> {
    let waits = (0..bounds.members).any(|member| model.reads(member) > 0);
    if model.begun_reads > 0 && !waits {
        // The one read is over; what follows is what happens without reads.
        return Vec::new();
    }
    let entries = model.entries();
    let mut actions = Vec::new();
    for member in 0..bounds.members {
        if entries <= bounds.entries {
            actions.push(Action::Make { member, replies: false });
            let guessed = model.newest(member).map_or(0, |newest| {
                model.chain(newest).filter(|at| model.nodes[*at].replies != Replies::None).count()
            });
            if guessed < bounds.guesses {
                actions.push(Action::Make { member, replies: true });
            }
        }
        actions.push(Action::StepDown { member });
        if bounds.reads {
            actions.extend(reading(model, member));
        }
        for to in 0..entries {
            actions.push(Action::Lead { member, from: to });
            actions.push(Action::Capture { member, to });
            actions.push(Action::Jump { member, to });
            // This includes captures whose statement was never made: a member that has captured can state it later.
            if to == model.captured(member) || model.without == Some(Rule::NvramFirst) {
                actions.push(Action::Restart { member, captured: to });
            }
            actions.push(Action::Commit { member, entry: to });
        }
    }
    // A forbidden action changes nothing, so the copy can be used for the next one.
    let mut copy = model.clone();
    let mut successors = Vec::new();
    for action in actions {
        if copy.apply(action).is_ok() {
            successors.push((action, std::mem::replace(&mut copy, model.clone())));
        }
    }
    successors
}

/// What a member may do for the one read.
fn reading(model: &Model, member: usize) -> Vec<Action> {
    let mut actions = Vec::new();
    let begun = model.begun_reads > 0;
    if !begun {
        actions.extend(model.may_read(member).into_iter().map(|of| Action::Read { member, of }));
    }
    // A nonce drawn again only forgets what was stated to the first. One drawn before the read is of use where that rule
    // is left out.
    let early = !begun && model.without == Some(Rule::NonceAfterRead);
    let first = (0..model.members.len()).all(|member| !model.has_nonce(member));
    if first && (model.reads(member) > 0 || early) {
        actions.push(Action::DrawNonce { member });
    }
    let leaders = (0..model.members.len()).filter(|leader| model.has_nonce(*leader));
    actions.extend(leaders.map(|leader| Action::StateFresh { member, leader }));
    actions.push(Action::Confirm { member });
    actions
}

impl Model {
    /// The promise that no longer holds: one chain, the guess limit, or that no member forgets what was committed.
    #[must_use]
    pub fn broken_promise(&self, guesses: usize) -> Option<&'static str> {
        let nodes = || self.nodes.iter().enumerate();
        let committed = || nodes().filter(|(_, node)| node.committed).map(|(at, _)| at);
        let newest = committed().max_by_key(|at| self.index(*at)).unwrap_or(0);
        if !committed().all(|at| self.is_on(at, newest)) {
            return Some("two entries that conflict are committed");
        }
        if self.broken_read.is_some() {
            return self.broken_read;
        }
        if nodes().filter(|(_, node)| node.replies == Replies::Released).count() > guesses {
            return Some("more guesses are answered than the limit");
        }
        let forgets = |(at, member): (usize, usize)| {
            let stated = self.nodes[at].stated >> member & 1 == 1;
            let held = |entry| self.is_on(entry, self.captured(member));
            stated && !self.chain(at).filter(|at| self.nodes[*at].committed).all(held)
        };
        let mut pairs = nodes().flat_map(|(at, _)| (0..self.members.len()).map(move |member| (at, member)));
        pairs.any(forgets).then_some("a member is behind a committed entry that it stated")
    }
}

/// The same value for states that differ only in names.
fn fingerprint(model: &Model, orders: &[Vec<usize>]) -> u64 {
    let mut children = vec![Vec::new(); model.entries()];
    for (at, node) in model.nodes.iter().enumerate().skip(1) {
        children[node.parent].push(at);
    }
    orders.iter().map(|order| subtree(model, &children, order, 0)).min().unwrap_or(0)
}

fn subtree(model: &Model, children: &[Vec<usize>], order: &[usize], at: usize) -> u64 {
    let node = &model.nodes[at];
    let mut hasher = DefaultHasher::new();
    (node.committed, node.replies, model.begun_reads, model.broken_read).hash(&mut hasher);
    for (place, member) in order.iter().enumerate() {
        let of = &model.members[*member];
        let (leading, base, newest) = of
            .leadership
            .map_or((false, false, false), |l| (l.leading && l.newest == at, l.base == at, l.newest == at));
        (node.stated >> member & 1, of.captured == at, leading, base, newest).hash(&mut hasher);
        let reading = &of.reading;
        if reading.reads.is_empty() && reading.nonce.is_none() {
            continue;
        }
        reading
            .reads
            .iter()
            .for_each(|r| (r.of == at, r.at == at, r.floor == at, r.covered).hash(&mut hasher));
        let said = |by| reading.nonce.as_ref().map(|said| said.contains(&(by, at)));
        order.iter().for_each(|by| (place, said(*by)).hash(&mut hasher));
    }
    let mut below: Vec<u64> = children[at].iter().map(|at| subtree(model, children, order, *at)).collect();
    below.sort_unstable();
    below.hash(&mut hasher);
    hasher.finish()
}
