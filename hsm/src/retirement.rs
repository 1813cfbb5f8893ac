//! Leaving a group that has retired: nothing of it stays but its id.
//!
//! Keeps invariants 1 and 11 beyond the end of a group: what was captured is forgotten only when the group can commit
//! nothing more, and an HSM that has forgotten it never joins it again.

use crate::core::Core;
use crate::env::Env;
use crate::state::Slot;
use strongroom_proto::change::Retirement;
use strongroom_proto::hsm::{MAX_RETIRED, Refusal, Reply};
use strongroom_proto::ids::GroupId;
use strongroom_proto::statement::Retired;

impl Core {
    /// Leaves a group, and says so; or says so again.
    pub(crate) fn leave<E: Env>(
        &mut self,
        env: &mut E,
        group: GroupId,
        proof: Option<Retirement>,
    ) -> Result<Reply, Refusal> {
        match self.slot(&group) {
            // Whoever stays may know of it from here alone.
            Err(Refusal::Retired) => {}
            slot => self.forget(env, group, slot?, proof.ok_or(Refusal::NotRetired)?)?,
        }
        let keys = self.keys()?;
        Ok(Reply::Retired(Retired::new(&keys.statements, &keys.realm, &group, self.state.hsm)))
    }

    fn forget<E: Env>(
        &mut self,
        env: &mut E,
        group: GroupId,
        slot: usize,
        proof: Retirement,
    ) -> Result<(), Refusal> {
        self.check_retirement(group, proof)?;
        let mut state = self.state.clone();
        if state.slots.iter().filter_map(Slot::retired).count() >= MAX_RETIRED {
            return Err(Refusal::NoRoomToLeave);
        }
        *state.slots.get_mut(slot).ok_or(Refusal::NotMember)? = Slot::Retired(group);
        // Durable: NVRAM holds no more than the id before this HSM says so.
        self.write_state(env, state)?;
        self.drop_leadership(slot);
        Ok(())
    }

    /// What this HSM has captured is not looked at: it may be an entry that was never committed, and further on.
    fn check_retirement(&self, group: GroupId, proof: Retirement) -> Result<(), Refusal> {
        let retired = match proof {
            Retirement::Entry(evidence) => {
                let entry = self.prove(*evidence)?.entry;
                entry.last && entry.group == group
            }
            Retirement::Stated(retired) => self.is_retired(&group, &retired)?,
        };
        if retired { Ok(()) } else { Err(Refusal::NotRetired) }
    }

    /// Whether an HSM states that it has left this group, which none does before the group's last entry is committed.
    pub(crate) fn is_retired(&self, group: &GroupId, retired: &Retired) -> Result<bool, Refusal> {
        let keys = self.keys()?;
        Ok(retired.is_authentic(&keys.statements, &keys.realm, group))
    }
}
