//! Changing what a group owns: each change is an entry, which commits like any other.
//!
//! Keeps invariant 11, *the whole space, once*, with [`crate::holding`]: what another group has decided is believed only
//! from an entry of it that one of its members has stated as committed.

use crate::core::Core;
use crate::env::Env;
use crate::holding::Proven;
use alloc::vec::Vec;
use rand_core::Rng as _;
use strongroom_proto::change::{Change, Evidence};
use strongroom_proto::entry::events_hash;
use strongroom_proto::hsm::{Made, Refusal, Reply};
use strongroom_proto::ids::{GroupId, TransferId};

impl Core {
    pub(crate) fn change<E: Env>(
        &mut self,
        env: &mut E,
        group: GroupId,
        change: Change,
    ) -> Result<Reply, Refusal> {
        let slot = self.slot(&group)?;
        if change.nodes() > Change::MAX_NODES {
            return Err(Refusal::TooLarge);
        }
        self.check_bounds(slot, 0, 0)?;
        let keys = self.keys()?.clone();
        let mut holding = self.leading(slot)?.holding.clone();
        let takes = matches!(change, Change::Take(..));
        match change {
            Change::Split(prefix, tree) => holding.split(prefix, tree)?,
            Change::Merge(prefix, left, right) => holding.merge(prefix, left, right)?,
            Change::In(prefix, source) => {
                let source = self.prove(source)?;
                let mut id = TransferId([0; 16]);
                env.rng().fill_bytes(&mut id.0);
                holding.wait(group, id, prefix, &source)?;
            }
            Change::Out(id, destination) => holding.let_go(group, id, &self.prove(destination)?)?,
            Change::Refuse => holding.decide()?,
            Change::Take(id, source) => holding.take(id, &self.prove(source)?)?,
            Change::GiveUp(id, source) => holding.give_up(id, &self.prove(source)?)?,
            Change::Close(id, destination) => holding.close(id, &self.prove(destination)?)?,
            Change::Retire => holding.retire()?,
            Change::End(id, retired) => {
                if !self.is_retired(&holding.other_side(id)?, &retired)? {
                    return Err(Refusal::NotAuthentic);
                }
                holding.end_retired(id)?;
            }
        }
        let entry = self.append(&keys, slot, holding, events_hash([]), Vec::new())?;
        if takes && let Some(leadership) = self.leaderships.get_mut(&slot) {
            leadership.took();
        }
        let made = Some(Made { entry, leaves: Vec::new(), events: Vec::new() });
        Ok(Reply::Processed { outcomes: Vec::new(), made })
    }

    /// Checks that an entry is committed, as somebody says. That its hash is stated so stands in for the check of its
    /// MAC, realm and group: a core states that of nothing but an entry that it made in the group, or began to lead from,
    /// and so had captured, with these checks.
    pub(crate) fn prove(&self, Evidence { entry, committed }: Evidence) -> Result<Proven, Refusal> {
        let keys = self.keys()?;
        if !committed.is_authentic(&keys.statements, &keys.realm, &entry.group) {
            return Err(Refusal::NotAuthentic);
        }
        if (committed.index, committed.hash) != (entry.index, entry.hash()) {
            return Err(Refusal::NotCommitted);
        }
        Ok(Proven { entry })
    }
}
