//! Making and joining groups.
//!
//! Keeps invariant 3, *members are fixed inside*: a group's members come from a group statement and nowhere else, and are as
//! many as the realm's policy asks for. Keeps
//! invariant 11: `unassigned` and the group that uses it change in one write.

use crate::core::Core;
use crate::env::Env;
use crate::state::Slot;
use alloc::vec::Vec;
use rand_core::Rng as _;
use strongroom_proto::hsm::{MAX_GROUPS, Refusal, Reply};
use strongroom_proto::ids::{GroupId, HsmId};
use strongroom_proto::statement::{GroupStatement, MemberStatement};

impl Core {
    pub(crate) fn new_group<E: Env>(
        &mut self,
        env: &mut E,
        members: &[MemberStatement],
    ) -> Result<Reply, Refusal> {
        let keys = self.keys()?;
        let authentic = members.iter().all(|m| m.is_authentic(&keys.statements, &keys.realm));
        if !authentic {
            return Err(Refusal::NotAuthentic);
        }
        let ids: Vec<HsmId> = members.iter().map(|m| m.hsm).collect();
        self.check_members(&ids)?;
        let mut state = self.state.clone();
        let realm = state.realm.as_mut().ok_or(Refusal::NoRealm)?;
        // The flag and the group that uses it change in one write (invariant 11).
        let genesis = core::mem::take(&mut realm.unassigned);
        let mut id = GroupId([0; 16]);
        env.rng().fill_bytes(&mut id.0);
        let statement = GroupStatement::new(&keys.statements, &keys.realm, id, ids, genesis);
        state.join(statement.clone());
        self.write_state(env, state)?;
        Ok(Reply::Group(statement))
    }

    pub(crate) fn join_group<E: Env>(
        &mut self,
        env: &mut E,
        statement: GroupStatement,
    ) -> Result<Reply, Refusal> {
        let keys = self.keys()?;
        let authentic = statement.is_authentic(&keys.statements, &keys.realm);
        if !authentic {
            return Err(Refusal::NotAuthentic);
        }
        match self.slot(&statement.group) {
            Err(Refusal::NotMember) => {}
            // Also one that has retired: joined anew, it would start from nothing.
            joined => return Err(joined.err().unwrap_or(Refusal::AlreadyJoined)),
        }
        self.check_members(&statement.members)?;
        let mut state = self.state.clone();
        state.join(statement.clone());
        self.write_state(env, state)?;
        Ok(Reply::Group(statement))
    }

    fn check_members(&self, ids: &[HsmId]) -> Result<(), Refusal> {
        let distinct = ids.iter().enumerate().all(|(i, id)| !ids.iter().take(i).any(|o| o == id));
        if !distinct || !ids.contains(&self.state.hsm) {
            return Err(Refusal::BadMembers);
        }
        let fewest = self.state.realm.as_ref().and_then(|realm| realm.policy.smallest_group).unwrap_or(1);
        if ids.len() < usize::from(fewest) {
            return Err(Refusal::TooFewMembers);
        }
        let live = self.state.slots.iter().filter_map(Slot::live).count();
        if live >= MAX_GROUPS { Err(Refusal::NoRoomForGroup) } else { Ok(()) }
    }
}
