//! One group of several HSMs: its log with every fork, what each entry says, and who has left.

use super::super::search::fingerprint;
use super::super::{Action, Member, Model, Number, Replies};
use super::contents::{Contents, Count, Prefix, Rules};
use super::moves::Move;
use super::rule::Rule;

/// One group.
#[derive(Clone)]
pub(super) struct Forks {
    pub(super) model: Model,
    /// What each entry says.
    pub(super) says: Vec<Contents>,
    /// Members, by bit, that have left.
    left: u16,
}

impl Forks {
    /// So many members; the first entry, which all have captured, says this.
    pub(super) fn new(members: usize, says: Contents) -> Self {
        let mut of = Self { model: Model::new(members, None), says: vec![says], left: 0 };
        if members == 1 {
            of.act(Action::Lead { member: 0, from: 0 });
        }
        of
    }

    pub(super) fn members(&self) -> usize {
        self.model.members.len()
    }

    pub(super) fn has_left(&self, member: usize) -> bool {
        self.left >> member & 1 == 1
    }

    pub(super) fn entries(&self) -> std::ops::Range<Number> {
        0..self.model.entries()
    }

    pub(super) fn is_committed(&self, entry: Number) -> bool {
        self.model.nodes[entry].committed
    }

    /// The newest entry that is stated as committed.
    pub(super) fn newest(&self) -> Number {
        let committed = self.entries().filter(|at| self.is_committed(*at));
        committed.max_by_key(|at| self.model.index(*at)).unwrap_or(0)
    }

    /// Whether an entry may still be committed, or is.
    pub(super) fn is_live(&self, entry: Number) -> bool {
        let newest = self.newest();
        self.model.is_on(newest, entry) || self.model.is_on(entry, newest)
    }

    /// Does it, if the rules of the log allow it, and states as committed whatever a leader can state, and all before it.
    pub(super) fn act(&mut self, action: Action) -> bool {
        let done = self.model.apply(action).is_ok();
        for member in 0..if done { self.members() } else { 0 } {
            let leadership = self.model.members[member].leadership;
            for entry in leadership.map(|l| self.model.own(l)).unwrap_or_default() {
                if !self.is_committed(entry) && self.model.apply(Action::Commit { member, entry }).is_ok() {
                    self.commit_before(entry);
                }
            }
        }
        done
    }

    /// Whoever kept replies for what is committed now may get the statements to release them.
    fn commit_before(&mut self, entry: Number) {
        for before in self.model.chain(entry).collect::<Vec<_>>() {
            let node = &mut self.model.nodes[before];
            node.committed = true;
            if node.replies == Replies::Kept {
                node.replies = Replies::Released;
            }
        }
    }

    /// A leader makes the next entry. The only member of a group captures it at once.
    pub(super) fn make(&mut self, member: usize, what: Move, says: Contents) {
        self.says.push(says);
        let made = self.act(Action::Make { member, replies: what == Move::Charge });
        debug_assert!(made, "it leads");
        if self.members() == 1 {
            self.act(Action::Capture { member, to: self.says.len() - 1 });
        }
    }

    /// A member leaves the retired group, if it may.
    pub(super) fn leave(&mut self, member: usize, rules: &Rules) -> bool {
        let may = self.may_leave(member, rules);
        if may {
            self.left |= 1 << member;
            self.model.drop_leadership(member);
        }
        may
    }

    /// What no member may do: it joins what it has left, with nothing.
    pub(super) fn rejoin(&mut self, member: usize) {
        self.left &= !(1 << member);
        self.model.members[member].captured = 0;
    }

    /// The retiring entry, if one is committed.
    fn retired(&self) -> Option<Number> {
        self.entries().find(|at| self.says[*at].retired && self.is_committed(*at))
    }

    fn may_leave(&self, member: usize, rules: &Rules) -> bool {
        let captured = self.model.captured(member);
        let mut retiring = self.entries().filter(|at| self.says[*at].retired);
        retiring.any(|at| {
            let node = &self.model.nodes[at];
            let stated = if !rules.keep(Rule::LeaveNeedsCommitted) {
                node.stated != 0
            } else if !rules.keep(Rule::LeaveNeedsExact) {
                captured == at && self.model.chain(at).any(|before| self.is_committed(before))
            } else {
                node.committed
            };
            stated && self.is_within_reach(member, at, rules)
        })
    }

    fn is_within_reach(&self, member: usize, at: Number, rules: &Rules) -> bool {
        let captured = self.model.captured(member);
        rules.keep(Rule::LeaveFromAnywhere) || self.model.index(at) >= self.model.index(captured)
    }

    /// Whether everybody can still leave, if nothing is at hand but entries and what members can state anew.
    fn all_can_leave(&self, retired: Number, rules: &Rules) -> bool {
        let stays = || (0..self.members()).filter(|member| !self.has_left(*member));
        let is_stated = self.left != 0 && rules.keep(Rule::RetiredIsStated);
        // They capture it, one of them leads from it, and it is committed again.
        let follows = |member: &usize| self.model.is_on(self.model.captured(*member), retired);
        let majority = stays().filter(follows).count() > self.members() / 2;
        let reach = stays().all(|member| self.is_within_reach(member, retired, rules));
        stays().count() == 0 || ((is_stated || majority) && reach)
    }

    /// The promise about leaving, or about the log, that does not hold.
    pub(super) fn broken(&self, rules: &Rules) -> Option<&'static str> {
        let retired = self.retired();
        if self.left != 0 && retired.is_none() {
            return Some("a member has left a group that goes on");
        }
        if retired.is_some_and(|at| !self.all_can_leave(at, rules)) {
            return Some("a member can never leave a retired group");
        }
        self.model.broken_promise(usize::MAX)
    }

    /// The guesses that were answered, each as the number that it was.
    pub(super) fn answered(&self) -> impl Iterator<Item = Count> {
        let nodes = self.model.nodes.iter().zip(&self.says);
        let released = nodes.filter(|(node, _)| node.replies == Replies::Released);
        released.filter_map(|(_, says)| says.root(Prefix::Whole))
    }

    /// The same whichever member is which. Unless everything counts, nothing about entries that are beaten does, but who has
    /// captured them.
    pub(super) fn fingerprint(&self, orders: &[Vec<usize>], literally: bool) -> u64 {
        let newest = self.newest();
        let is_live = |at| self.model.is_on(newest, at) || self.model.is_on(at, newest);
        let ordered = |order: &Vec<usize>| {
            let nodes = self.entries().map(|at| {
                let counts = |at| literally || is_live(at);
                let node = &self.model.nodes[at];
                let of = |member: &usize| {
                    let Member { captured, leadership, .. } = &self.model.members[*member];
                    // One that ends with a beaten entry commits nothing more.
                    let leads = leadership.filter(|l| counts(l.newest));
                    let ends = leads.map(|l| (l.leading, l.base == at, l.newest == at));
                    (*captured == at, ends)
                };
                let members: Vec<_> = order.iter().map(of).collect();
                let stated: Vec<bool> = order.iter().map(|member| node.stated >> member & 1 == 1).collect();
                let live = counts(at).then_some((node.committed, node.replies, self.says[at], stated));
                (node.parent, fingerprint(&(node.index, members, live)))
            });
            let nodes: Vec<(Number, u64)> = nodes.collect();
            let left: Vec<bool> = order.iter().map(|member| self.has_left(*member)).collect();
            fingerprint(&(left, subtree(&nodes, 0)))
        };
        orders.iter().map(ordered).min().unwrap_or(0)
    }
}

/// The same for entries that were made in another order.
fn subtree(nodes: &[(Number, u64)], at: Number) -> u64 {
    let children = nodes.iter().enumerate().skip(at + 1).filter(|(_, (parent, _))| *parent == at);
    let mut below: Vec<u64> = children.map(|(child, _)| subtree(nodes, child)).collect();
    below.sort_unstable();
    fingerprint(&(nodes[at].1, below))
}
