//! Groups that are each their committed log, and what of that can still matter.

use super::super::search::fingerprint;
use super::contents::{Contents, Count, Evidence, Group, Id, Incoming, Prefix, Rules};
use super::moves::Limits;
use super::rule::Rule;
use std::rc::Rc;

/// One group.
#[derive(Clone, Hash)]
pub(super) struct Log {
    pub(super) newest: Contents,
    /// What its entries have said, each once.
    pub(super) stated: Vec<Contents>,
}

#[derive(Clone)]
pub(super) struct State {
    pub(super) logs: Vec<Rc<Log>>,
    /// Transfers that were begun.
    pub(super) begun: usize,
    /// Guesses that were charged.
    pub(super) charged: Count,
}

impl State {
    pub(super) fn evidence(&self) -> Vec<Evidence<'_>> {
        let logs = (0..).zip(&self.logs);
        logs.flat_map(|(group, log)| log.stated.iter().map(move |says| Evidence { group, says })).collect()
    }

    pub(super) fn newest(&self) -> Vec<Contents> {
        self.logs.iter().map(|log| log.newest).collect()
    }
}

/// What can still matter about a state while evidence counts by the rules: what it can be used for. States with the same
/// facts go on in the same way.
pub(super) struct Facts<'a> {
    state: &'a State,
    /// Counts at which a group owned a prefix, if transfers may still begin.
    owned: Vec<[u64; 3]>,
    transfers: Vec<Transfer>,
}

/// A transfer that is not over.
struct Transfer {
    id: Id,
    destination: Group,
    incoming: Incoming,
    /// Counts of entries in which it waits, if it may still be given away.
    waited: u64,
    /// Whether it waits now; whether it was given away, with which root, and whether there is evidence to drop it.
    waits: Option<(Option<Count>, bool)>,
    /// The highest count with which it does not wait.
    gone: Option<Count>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(state: &'a State, limits: &Limits, rules: &Rules) -> Self {
        let counts = |log: &Log, holds: &dyn Fn(&Contents) -> bool| {
            log.stated.iter().filter(|says| holds(says)).fold(0_u64, |all, says| all | 1 << says.count)
        };
        let may_begin = state.begun < limits.transfers;
        let any = !rules.keep(Rule::InNeedsExactPrefix);
        let owned = |log: &Rc<Log>| {
            let owned = |p| counts(log, &|says| any || says.root(p).is_some());
            Prefix::ALL.map(|p| if may_begin { owned(p) } else { 0 })
        };
        let transfer = |id: Id| {
            let mut logs = (0..).zip(&state.logs);
            let (destination, incoming) = logs.find_map(|(group, log)| {
                Some((group, log.stated.iter().find_map(|says| says.incoming[id])?))
            })?;
            let of = |group: Group| &state.logs[usize::from(group)];
            let (to, from) = (of(destination), of(incoming.source));
            let may_be_given = from.newest.count == incoming.count;
            let is_open = from.newest.outgoing[id].is_some();
            let waits = to.newest.incoming[id].map(|_| {
                let given = from.stated.iter().find_map(|says| says.outgoing[id]).map(|o| o.root);
                let decided = |says: &Contents| says.count > incoming.count || says.retired;
                let refused = |says: &Contents| decided(says) && says.outgoing[id].is_none();
                (given, from.stated.iter().any(refused))
            });
            let waited = if may_be_given { counts(to, &|says| says.incoming[id].is_some()) } else { 0 };
            let gone = to.stated.iter().filter(|says| says.incoming[id].is_none());
            let gone = gone.map(|says| if says.retired { Count::MAX } else { says.count });
            let gone = if may_be_given || is_open { gone.max() } else { None };
            let over = waits.is_none() && !is_open && !may_be_given;
            (!over).then_some(Transfer { id, destination, incoming, waited, waits, gone })
        };
        let transfers = (0..state.begun).filter_map(transfer).collect();
        Self { state, owned: state.logs.iter().map(owned).collect(), transfers }
    }

    /// In this order of the groups, and whatever the order of transfers.
    pub(super) fn fingerprint(&self, order: &[usize]) -> u64 {
        let place = |group: Group| order.iter().position(|at| *at == usize::from(group));
        let transfer = |t: &Transfer| {
            let Incoming { source, prefix, count, .. } = t.incoming;
            let open = self.state.logs[usize::from(source)].newest.outgoing[t.id].map(|o| (o.root, o.count));
            let what = (place(t.destination), place(source), prefix, count, open);
            fingerprint(&(what, t.waited, t.waits, t.gone))
        };
        let mut transfers: Vec<u64> = self.transfers.iter().map(transfer).collect();
        transfers.sort_unstable();
        let group = |group: &usize| {
            let Contents { roots, count, retired, .. } = self.state.logs[*group].newest;
            fingerprint(&(roots, count, retired, self.owned[*group]))
        };
        let groups: Vec<u64> = order.iter().map(group).collect();
        fingerprint(&(self.state.begun, self.state.charged, transfers, groups))
    }
}
