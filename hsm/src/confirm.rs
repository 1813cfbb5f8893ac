//! What a read waits for: statements, with a nonce drawn after it, of what the members have captured.
//!
//! Keeps invariants 3 (majorities over the members fixed inside) and 4 (*replies last*) for answers that no entry carries:
//! none is older than what was committed when it was asked for.

use crate::core::Core;
use crate::env::Env;
use crate::state::Position;
use rand_core::Rng as _;
use strongroom_proto::hsm::{Refusal, Reply};
use strongroom_proto::ids::{GroupId, Index, Nonce};
use strongroom_proto::statement::Fresh;

impl Core {
    /// States with a leader's nonce what this HSM has captured, as NVRAM has it.
    pub(crate) fn fresh(&self, group: GroupId, nonce: Nonce) -> Result<Reply, Refusal> {
        let slot = self.slot(&group)?;
        let (keys, group) = (self.keys()?, self.group(slot)?);
        let at = group.captured;
        if at.index == Index::ZERO {
            return Err(Refusal::NothingCaptured);
        }
        let (hsm, at) = (self.state.hsm, (at.index, at.hash));
        Ok(Reply::Fresh(Fresh::new(&keys.statements, &keys.realm, &group.id, hsm, at, &nonce)))
    }

    /// Draws the nonce that covers every answer that waits now.
    pub(crate) fn draw_read_nonce<E: Env>(&mut self, env: &mut E, group: GroupId) -> Result<Reply, Refusal> {
        let slot = self.slot(&group)?;
        self.leading(slot)?;
        let mut nonce = Nonce([0; 16]);
        env.rng().fill_bytes(&mut nonce.0);
        self.leaderships.get_mut(&slot).ok_or(Refusal::NotLeader)?.reads.open(nonce);
        Ok(Reply::ReadNonce(nonce))
    }

    /// Counts what members have stated with the open nonce. The leader counts by its own statement alone.
    pub(crate) fn confirm(&mut self, group: GroupId, statements: &[Fresh]) -> Result<Reply, Refusal> {
        let slot = self.slot(&group)?;
        // Whoever leads no more has none.
        let leadership = self.leaderships.get(&slot).ok_or(Refusal::NotLeader)?;
        let nonce = leadership.reads.nonce().ok_or(Refusal::NoNonce)?;
        let keys = self.keys()?;
        let stated = statements.iter().map(|s| {
            let authentic = s.is_authentic(&keys.statements, &keys.realm, &group, nonce);
            (s.hsm, Position { index: s.index, hash: s.hash }, authentic)
        });
        let fresh = self.own_stated(slot, stated)?.len();
        if fresh <= self.group(slot)?.members.len() / 2 {
            return Err(Refusal::NoMajority);
        }
        let leadership = self.leaderships.get_mut(&slot).ok_or(Refusal::NotLeader)?;
        Ok(Reply::Confirmed(leadership.reads.release(leadership.committed)))
    }
}
