//! What survives a restart: the device, the realm, the groups and their captured entries.
//!
//! Trusted: the NVRAM returns what was last written and read back ([`crate::nvram`]). Keeps invariants 2 and 3: a
//! statement speaks only of what is here, and the members of a group come from nowhere else.

use crate::keys::Seed;
use crate::nvram::MAX_STATE_BYTES;
use alloc::vec::Vec;
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use strongroom_proto::hsm::{CustodianPolicy, Origin};
use strongroom_proto::ids::{EntryHash, GroupId, HsmId, Index, RealmId, X25519Public};
use strongroom_proto::statement::GroupStatement;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

/// Everything that NVRAM holds.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct State {
    #[n(0)]
    pub(crate) hsm: HsmId,
    #[n(1)]
    device_secret: ByteArray<32>,
    #[n(2)]
    pub(crate) realm: Option<Realm>,
    #[n(3)]
    pub(crate) groups: Vec<Group>,
}

#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Realm {
    #[n(0)]
    pub(crate) id: RealmId,
    #[n(1)]
    seed: ByteArray<32>,
    #[n(2)]
    pub(crate) policy: CustodianPolicy,
    /// The realm was made here, and its first group is still to be made.
    #[n(3)]
    pub(crate) unassigned: bool,
    #[n(4)]
    pub(crate) origin: Origin,
}

#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Group {
    #[n(0)]
    pub(crate) id: GroupId,
    #[n(1)]
    pub(crate) members: Vec<HsmId>,
    #[n(2)]
    pub(crate) genesis: bool,
    #[n(3)]
    pub(crate) captured: Position,
}

/// An entry by place and hash; index 0 is before any.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Position {
    #[n(0)]
    pub(crate) index: Index,
    #[n(1)]
    pub(crate) hash: EntryHash,
}

impl Position {
    pub(crate) const NOTHING: Self = Self { index: Index::ZERO, hash: EntryHash::ZERO };
}

/// A change of one group's captured entry, as NVRAM holds it.
#[derive(Clone, Copy, Encode, Decode)]
struct CaptureDelta {
    #[n(0)]
    slot: u8,
    #[n(1)]
    captured: Position,
}

/// The bytes in NVRAM are no state of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadState;

impl State {
    /// A device fresh from the factory: new id, new key, no realm.
    pub(crate) fn draw(rng: &mut impl CryptoRng) -> Self {
        let mut hsm = HsmId([0; 16]);
        rng.fill_bytes(&mut hsm.0);
        let mut device_secret = ByteArray::from([0; 32]);
        rng.fill_bytes(&mut *device_secret);
        Self { hsm, device_secret, realm: None, groups: Vec::new() }
    }

    pub(crate) fn device_secret(&self) -> StaticSecret {
        StaticSecret::from(*self.device_secret)
    }

    pub(crate) fn device_key(&self) -> X25519Public {
        X25519Public(PublicKey::from(&self.device_secret()).to_bytes())
    }

    // Secret: holds the seed and the device key; on its way to NVRAM.
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Reserved whole, so that no shorter copy is left behind by a reallocation.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_STATE_BYTES));
        let encoded = minicbor::encode(self, &mut *bytes);
        debug_assert!(encoded.is_ok(), "writing to memory cannot fail");
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, BadState> {
        minicbor::decode(bytes).map_err(|_| BadState)
    }

    /// The NVRAM record for captured entries, by the places of their groups.
    pub(crate) fn delta(moved: &[(usize, Position)]) -> Vec<u8> {
        let delta = |(slot, captured): &(usize, Position)| CaptureDelta {
            slot: u8::try_from(*slot).unwrap_or(u8::MAX),
            captured: *captured,
        };
        minicbor::to_vec(moved.iter().map(delta).collect::<Vec<_>>()).unwrap_or_default()
    }

    /// Applies what [`Self::delta`] wrote.
    pub(crate) fn apply(&mut self, delta: &[u8]) -> Result<(), BadState> {
        let deltas: Vec<CaptureDelta> = minicbor::decode(delta).map_err(|_| BadState)?;
        for delta in deltas {
            self.groups.get_mut(usize::from(delta.slot)).ok_or(BadState)?.captured = delta.captured;
        }
        Ok(())
    }
}

impl Realm {
    pub(crate) fn new(
        id: RealmId,
        seed: &Seed,
        policy: CustodianPolicy,
        unassigned: bool,
        origin: Origin,
    ) -> Self {
        Self { id, seed: seed.0.into(), policy, unassigned, origin }
    }

    pub(crate) fn seed(&self) -> Seed {
        Seed(*self.seed)
    }
}

impl Group {
    pub(crate) fn new(statement: GroupStatement) -> Self {
        let GroupStatement { group: id, members, genesis, .. } = statement;
        Self { id, members, genesis, captured: Position::NOTHING }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.device_secret.zeroize();
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nvram::MAX_DELTA_BYTES;
    use rand::SeedableRng;
    use strongroom_proto::hsm::{CustodianKey, MAX_CUSTODIANS, MAX_GROUPS};
    use strongroom_proto::ids::Digest;
    use strongroom_proto::statement::MAX_MEMBERS;

    fn largest() -> State {
        let mut state = State::draw(&mut rand::rngs::StdRng::seed_from_u64(1));
        let custodians = (0..MAX_CUSTODIANS).map(|i| CustodianKey(Digest([200 + i as u8; 32]))).collect();
        let policy = CustodianPolicy { custodians, threshold: 9 };
        state.realm = Some(Realm::new(
            RealmId([255; 16]),
            &Seed([255; 32]),
            policy,
            true,
            Origin::Imported { exporter: HsmId([255; 16]), signers: u16::MAX },
        ));
        let members: Vec<HsmId> = (0..MAX_MEMBERS).map(|i| HsmId([240 + i as u8; 16])).collect();
        let captured = Position { index: Index(u64::MAX), hash: EntryHash([255; 32]) };
        let group =
            |i| Group { id: GroupId([100 + i as u8; 16]), members: members.clone(), genesis: true, captured };
        state.groups = (0..MAX_GROUPS).map(group).collect();
        state
    }

    #[test]
    fn the_largest_state_fits() {
        let bytes = largest().to_bytes();
        assert_eq!(bytes.len(), 3910, "grew or shrank; the bound is {MAX_STATE_BYTES}");
        assert!(bytes.len() <= MAX_STATE_BYTES);
        assert!(State::from_bytes(&bytes).is_ok_and(|s| s == largest()));
    }

    #[test]
    fn a_delta_moves_the_captured_entries_of_its_groups_and_an_unknown_slot_is_refused() {
        let mut state = largest();
        let captured = Position { index: Index(7), hash: EntryHash([7; 32]) };
        assert_eq!(state.apply(&State::delta(&[(3, captured)])), Ok(()));
        let moved = state.groups.iter().map(|g| g.captured == captured);
        assert_eq!(moved.filter(|m| *m).count(), 1);
        assert_eq!(state.groups[3].captured, captured);
        assert_eq!(state.apply(&State::delta(&[(MAX_GROUPS, captured)])), Err(BadState));
        assert_eq!(state.apply(b"\xff"), Err(BadState));
        let all: Vec<_> = (0..MAX_GROUPS).map(|slot| (slot, captured)).collect();
        assert_eq!(state.apply(&State::delta(&all)), Ok(()));
        assert!(state.groups.iter().all(|g| g.captured == captured));
    }

    #[test]
    fn the_delta_of_all_groups_fits() {
        let captured = Position { index: Index(u64::MAX), hash: EntryHash([255; 32]) };
        let all: Vec<_> = (0..MAX_GROUPS).map(|slot| (slot, captured)).collect();
        let bytes = State::delta(&all).len();
        assert_eq!(bytes, 737, "grew or shrank; the bound is {MAX_DELTA_BYTES}");
        assert!(bytes <= MAX_DELTA_BYTES);
    }
}
