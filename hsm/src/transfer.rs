//! Changing what a group owns: each change is an entry, which commits like any other.
//!
//! Keeps invariant 11, *the whole space, once*, with [`crate::holding`]: what another group has decided is believed only
//! from an entry of it that is stated as committed, and the members that may state so come from its group statement
//! (invariant 3).

use crate::core::Core;
use crate::env::Env;
use alloc::vec::Vec;
use rand_core::Rng as _;
use strongroom_proto::entry::{Entry, events_hash};
use strongroom_proto::hsm::{Made, Refusal, Reply};
use strongroom_proto::ids::{GroupId, TransferId};
use strongroom_proto::transfer::{Change, Evidence};

/// An entry of another group that is committed: no other chain of that group can have a majority, now or later.
pub(crate) struct Proven {
    pub(crate) entry: Entry,
}

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
        let mut taken = None;
        match change {
            Change::Split(prefix, tree) => holding.split(prefix, tree)?,
            Change::Merge(prefix, left, right) => holding.merge(prefix, left, right)?,
            Change::In(prefix, source) => {
                let mut id = TransferId([0; 16]);
                env.rng().fill_bytes(&mut id.0);
                holding.wait(id, prefix, &self.prove(group, source)?)?;
            }
            Change::Out(destination) => holding.let_go(group, &self.prove(group, destination)?)?,
            Change::Refuse => holding.decide()?,
            Change::Take(source) => taken = Some(holding.take(group, &self.prove(group, source)?)?),
            Change::GiveUp(source) => holding.give_up(&self.prove(group, source)?)?,
            Change::Close(destination) => holding.close(&self.prove(group, destination)?)?,
        }
        let entry = self.append(&keys, slot, holding, events_hash([]), Vec::new())?;
        if let (Some(prefix), Some(leadership)) = (taken, self.leaderships.get_mut(&slot)) {
            leadership.took(prefix);
        }
        let made = Some(Made { entry, leaves: Vec::new(), events: Vec::new() });
        Ok(Reply::Processed { outcomes: Vec::new(), made })
    }

    /// Checks that another group's entry is committed, as somebody says.
    fn prove(&self, own: GroupId, evidence: Evidence) -> Result<Proven, Refusal> {
        let keys = self.keys()?;
        let Evidence { group, entry, committed } = evidence;
        if group.group == own {
            return Err(Refusal::NotEvident);
        }
        let hash = entry.hash();
        let ours = entry.realm == keys.realm && entry.group == group.group;
        let made = group.is_authentic(&keys.statements, &keys.realm)
            && ours
            && entry.is_authentic(&keys.statements, &hash)
            && committed.is_authentic(&keys.statements, &keys.realm, &group.group)
            && group.members.contains(&committed.hsm);
        if !made {
            return Err(Refusal::NotAuthentic);
        }
        if (committed.index, committed.hash) != (entry.index, hash) {
            return Err(Refusal::NotCommitted);
        }
        Ok(Proven { entry })
    }
}
