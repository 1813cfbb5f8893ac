//! Changes of what the group owns, on an operator's order: each alone with the HSM, between two batches.

use super::{BUSY_MS, Leader, Member, OutOfStep};
use crate::ask;
use crate::bug::Bug;
use crate::clients::Clients;
use crate::context::Context;
use crate::interface::{Answer, Millis, Order};
use crate::outbox::Call;
use strongroom_proto::change::Change;
use strongroom_proto::hsm::{Made, Refusal};
use strongroom_proto::ids::{HsmId, Index, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::{ClaimedTree, TreeError};

impl Leader {
    /// Ends what only shows, and sends the next change to the HSM if there is room for its entry. What is refused here
    /// does not hold up what waits behind it.
    pub(super) fn carry_out_orders(&mut self, cx: &mut Context) {
        loop {
            if let Some(wanted) = self.orders.show(cx, self.snapshots.stored()) {
                self.snapshots.want(wanted);
            }
            if !(self.orders.may_go(cx.now) || cx.bugs.has(Bug::LeavesAtOnce)) || self.room(cx).is_none() {
                return;
            }
            let Some(order) = self.orders.next().cloned() else { return };
            match self.change_of(order) {
                Ok(Some(change)) => {
                    self.orders.ask();
                    self.processing = Some(Vec::new());
                    cx.out.ask(Call::Change, ask::Change(cx.settings.group.group, change));
                }
                Ok(None) => return,
                Err(refusal) => self.orders.refuse_next(cx, refusal),
            }
        }
    }

    /// The change that carries out an order; `None` while the path to what it needs is being read.
    fn change_of(&mut self, order: Order) -> Result<Option<Change>, Refusal> {
        if let Order::Split(prefix) | Order::Merge(prefix) = order
            && self.trees.has_just_come(&prefix)
        {
            // Until it is stored as it came, nothing leads to what is stored of it.
            self.snapshots.want(self.newest.0);
            return Ok(None);
        }
        Ok(match order {
            Order::Show { .. } | Order::Yield => None,
            Order::Step(step) => Some(*step),
            Order::Split(prefix) => self.top(prefix)?.map(|tree| Change::Split(prefix, tree)),
            Order::Merge(prefix) => {
                let (left, right) = prefix.children().ok_or(Refusal::NotCovered)?;
                let Some(left) = self.top(left)? else { return Ok(None) };
                self.top(right)?.map(|right| Change::Merge(prefix, left, right))
            }
        })
    }

    /// The top of a prefix's tree; `None` while the path to it is being read.
    fn top(&mut self, prefix: Prefix) -> Result<Option<ClaimedTree>, Refusal> {
        match self.trees.top(&prefix) {
            None => Err(Refusal::NotCovered),
            Some(Ok(top)) => Ok(Some(top)),
            Some(Err(TreeError::NotOpened)) => {
                // The path to any record below opens it.
                let record = RecordId(*prefix.bits());
                let is_wanted = self.paths.is_wanted(&record);
                if self.orders.opening == Some(prefix) && !is_wanted {
                    return Err(Refusal::NotOpened);
                }
                self.orders.opening = Some(prefix);
                self.paths.want(prefix, record);
                Ok(None)
            }
            Some(Err(_)) => Err(Refusal::Malformed),
        }
    }

    /// The HSM has made the entry.
    pub(crate) fn changed(&mut self, now: Millis, made: Made) -> Result<(), OutOfStep> {
        self.processing = None;
        self.orders.made(made.entry.index);
        self.made(now, made, Vec::new(), Vec::new())
    }

    /// The HSM has refused to.
    pub(crate) fn unchanged(&mut self, cx: &mut Context, refusal: Refusal) {
        self.processing = None;
        if refusal == Refusal::Busy {
            self.busy_until = cx.now.after(BUSY_MS);
        }
        self.orders.refused(cx, refusal);
    }

    /// Whether a leadership that is to end may end now: nothing is under way any more, or it must.
    pub(crate) fn may_yield(&self, now: Millis) -> bool {
        let is_done = self.own.is_empty()
            && self.is_landed()
            && self.handshaking == 0
            && self.paths.queued() == 0
            && self.reads.waiting() == 0;
        self.orders.must_end(now) || (self.orders.is_ending() && is_done)
    }

    /// The member that has stated the most.
    pub(crate) fn nearest(&self) -> Option<HsmId> {
        let stated = |member: &Member| member.statement.map_or(Index::ZERO, |statement| statement.index);
        let heard = self.members.iter().max_by_key(|(_, member)| stated(member));
        heard.map(|(of, _)| *of)
    }

    /// Sends away the requests about what the group has let go since they came.
    pub(super) fn send_away(&mut self, cx: &mut Context, clients: &mut Clients) {
        let trees = &self.trees;
        let away = self.paths.ready.iter().filter(|queued| trees.prefix_of(&queued.request.record).is_none());
        let away: Vec<_> = away.map(|queued| queued.ticket).collect();
        if away.is_empty() {
            return;
        }
        self.paths.ready.retain(|queued| !away.contains(&queued.ticket));
        away.into_iter().for_each(|ticket| clients.answer(cx, ticket, Answer::NotCovered));
    }
}
