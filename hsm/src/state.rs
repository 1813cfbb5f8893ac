//! What survives a restart: the device, the realm, the groups and their captured entries.
//!
//! Trusted: the NVRAM returns what was last written and read back ([`crate::nvram`]). Keeps invariants 2 and 3: a
//! statement speaks only of what is here, and the members of a group come from nowhere else.
//!
//! A state is `version ‖ minimum ‖ CBOR`, a delta `version ‖ CBOR`, both read by [`crate::exact`] alone. `version` says
//! how the bytes are laid out. `minimum` is the oldest version that may read this NVRAM: it never goes down, so that an
//! NVRAM which was once under a rule never goes back to a build that lacks that rule.

use crate::exact;
use crate::keys::Seed;
use crate::nvram::MAX_STATE_BYTES;
use alloc::boxed::Box;
use alloc::vec::Vec;
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use strongroom_proto::hsm::{Origin, RealmPolicy};
use strongroom_proto::ids::{EntryHash, GroupId, HsmId, Index, RealmId, X25519Public};
use strongroom_proto::statement::GroupStatement;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

/// The version of state that this build writes, and the newest that it reads.
pub(crate) const VERSION: u8 = 3;
/// The oldest version of state whose builds may read what this build writes.
const MINIMUM: u8 = 3;
/// The version before, in which groups did not retire.
const VERSION_2: u8 = 2;
/// What every state of version 1 begins with: it had no version, and was an array of four.
const VERSION_1: u8 = 0x84;
/// No version is ever higher: the next byte is where CBOR arrays begin.
const MAX_VERSION: u8 = 0x7f;
/// The first version that is too new for this build.
const NEXT_VERSION: u8 = VERSION + 1;

/// How a state and the deltas after it are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    /// With no version in front of them.
    One,
    /// With this one.
    Stated(u8),
}

/// Everything that NVRAM holds. In version 2 each slot was a group.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct State<S = Slot> {
    /// The oldest version of state that may read this NVRAM; written in front of the rest.
    #[cbor(skip)]
    minimum: u8,
    #[n(0)]
    pub(crate) hsm: HsmId,
    #[n(1)]
    device_secret: ByteArray<32>,
    #[n(2)]
    pub(crate) realm: Option<Realm>,
    /// One for each group that this HSM is or was a member of. They never move: deltas, leaderships and sessions know groups
    /// by their slots.
    #[n(3)]
    pub(crate) slots: Vec<S>,
}

/// A group's place.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub(crate) enum Slot {
    #[n(0)]
    Live(#[n(0)] Box<Group>),
    /// The group has retired. Its id is enough to know it by, should somebody have it joined again.
    #[n(1)]
    Retired(#[n(0)] GroupId),
}

#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Realm {
    #[n(0)]
    pub(crate) id: RealmId,
    #[n(1)]
    seed: ByteArray<32>,
    #[n(2)]
    pub(crate) policy: RealmPolicy,
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

/// The bytes in NVRAM are not a state that this build may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadState {
    /// They are for builds of this state version or later.
    TooNew(u8),
    /// No build writes them.
    Malformed,
}

/// As builds of version 1 wrote it.
mod version_1 {
    use super::{ByteArray, Decode, Encode, Group, HsmId, RealmId, RealmPolicy, Vec};

    #[derive(Encode, Decode)]
    pub(super) struct State {
        #[n(0)]
        pub(super) hsm: HsmId,
        #[n(1)]
        pub(super) device_secret: ByteArray<32>,
        #[n(2)]
        pub(super) realm: Option<Realm>,
        #[n(3)]
        pub(super) groups: Vec<Group>,
    }

    #[derive(Encode, Decode)]
    pub(super) struct Realm {
        #[n(0)]
        pub(super) id: RealmId,
        #[n(1)]
        pub(super) seed: ByteArray<32>,
        #[n(2)]
        pub(super) policy: RealmPolicy,
        #[n(3)]
        pub(super) unassigned: bool,
    }

    impl Drop for State {
        fn drop(&mut self) {
            zeroize::Zeroize::zeroize(&mut *self.device_secret);
        }
    }

    impl Drop for Realm {
        fn drop(&mut self) {
            zeroize::Zeroize::zeroize(&mut *self.seed);
        }
    }
}

impl From<version_1::State> for State {
    fn from(mut old: version_1::State) -> Self {
        let realm = old.realm.as_ref().map(|realm| Realm {
            id: realm.id,
            seed: realm.seed,
            policy: realm.policy.clone(),
            unassigned: realm.unassigned,
            origin: Origin::Unknown,
        });
        let slots = core::mem::take(&mut old.groups);
        State { minimum: MINIMUM, hsm: old.hsm, device_secret: old.device_secret, realm, slots }.into()
    }
}

impl From<State<Group>> for State {
    fn from(mut old: State<Group>) -> Self {
        let slots = core::mem::take(&mut old.slots).into_iter().map(|group| Slot::Live(Box::new(group)));
        // A copy, so that the old one is wiped when it goes.
        let (realm, slots) = (old.realm.clone(), slots.collect());
        Self { minimum: old.minimum, hsm: old.hsm, device_secret: old.device_secret, realm, slots }
    }
}

impl Slot {
    pub(crate) const fn id(&self) -> GroupId {
        match self {
            Self::Live(group) => group.id,
            Self::Retired(id) => *id,
        }
    }

    pub(crate) const fn live(&self) -> Option<&Group> {
        match self {
            Self::Live(group) => Some(group),
            Self::Retired(_) => None,
        }
    }

    pub(crate) fn retired(&self) -> Option<GroupId> {
        self.live().is_none().then(|| self.id())
    }
}

impl State {
    /// A device fresh from the factory: new id, new key, no realm.
    pub(crate) fn draw(rng: &mut impl CryptoRng) -> Self {
        let mut hsm = HsmId([0; 16]);
        rng.fill_bytes(&mut hsm.0);
        let mut device_secret = ByteArray::from([0; 32]);
        rng.fill_bytes(&mut *device_secret);
        Self { minimum: MINIMUM, hsm, device_secret, realm: None, slots: Vec::new() }
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
        bytes.extend([VERSION, self.minimum]);
        let encoded = minicbor::encode(self, &mut *bytes);
        debug_assert!(encoded.is_ok(), "writing to memory cannot fail");
        bytes
    }

    /// The state, and how the deltas after it are laid out.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<(Self, Version), BadState> {
        match *bytes {
            [VERSION_1, ..] => {
                let old: version_1::State = exact::decode(bytes).ok_or(BadState::Malformed)?;
                Ok((old.into(), Version::One))
            }
            [version @ (VERSION_2 | VERSION), minimum, ref rest @ ..] => {
                if minimum > VERSION {
                    return Err(BadState::TooNew(minimum));
                }
                let state = match version {
                    VERSION_2 => exact::decode::<State<Group>>(rest).map(Self::from),
                    _ => exact::decode(rest),
                };
                let mut state = state.ok_or(BadState::Malformed)?;
                state.minimum = minimum.max(MINIMUM);
                Ok((state, Version::Stated(version)))
            }
            [version @ NEXT_VERSION..=MAX_VERSION, ..] => Err(BadState::TooNew(version)),
            _ => Err(BadState::Malformed),
        }
    }

    /// The NVRAM record for captured entries, by the places of their groups.
    pub(crate) fn delta(moved: &[(usize, Position)]) -> Vec<u8> {
        let delta = |(slot, captured): &(usize, Position)| CaptureDelta {
            slot: u8::try_from(*slot).unwrap_or(u8::MAX),
            captured: *captured,
        };
        let mut bytes = Vec::from([VERSION]);
        let encoded = minicbor::encode(moved.iter().map(delta).collect::<Vec<_>>(), &mut bytes);
        debug_assert!(encoded.is_ok(), "writing to memory cannot fail");
        bytes
    }

    /// Applies what [`Self::delta`] wrote, in a build of this version.
    pub(crate) fn apply(&mut self, version: Version, delta: &[u8]) -> Result<(), BadState> {
        let delta = match (version, delta) {
            (Version::One, all) => all,
            (Version::Stated(version), [of, all @ ..]) if *of == version => all,
            (Version::Stated(_), [newer @ NEXT_VERSION..=MAX_VERSION, ..]) => {
                return Err(BadState::TooNew(*newer));
            }
            _ => return Err(BadState::Malformed),
        };
        let deltas: Vec<CaptureDelta> = exact::decode(delta).ok_or(BadState::Malformed)?;
        for delta in deltas {
            self.group_mut(usize::from(delta.slot)).ok_or(BadState::Malformed)?.captured = delta.captured;
        }
        Ok(())
    }

    pub(crate) fn group_mut(&mut self, slot: usize) -> Option<&mut Group> {
        match self.slots.get_mut(slot)? {
            Slot::Live(group) => Some(group),
            Slot::Retired(_) => None,
        }
    }

    /// Takes a group's statement, in a new slot.
    pub(crate) fn join(&mut self, statement: GroupStatement) {
        let GroupStatement { group: id, members, genesis, .. } = statement;
        let group = Group { id, members, genesis, captured: Position::NOTHING };
        self.slots.push(Slot::Live(Box::new(group)));
    }
}

impl Realm {
    pub(crate) fn new(
        id: RealmId,
        seed: &Seed,
        policy: RealmPolicy,
        unassigned: bool,
        origin: Origin,
    ) -> Self {
        Self { id, seed: seed.0.into(), policy, unassigned, origin }
    }

    pub(crate) fn seed(&self) -> Seed {
        Seed(*self.seed)
    }
}

impl<S> Drop for State<S> {
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
    use strongroom_proto::hsm::{CustodianKey, MAX_CUSTODIANS, MAX_GROUPS, MAX_RETIRED};
    use strongroom_proto::ids::Digest;
    use strongroom_proto::statement::MAX_MEMBERS;

    const SLOTS: usize = MAX_RETIRED + MAX_GROUPS;
    const LONGEST: Origin = Origin::Imported { exporter: HsmId([255; 16]), signers: u16::MAX };

    fn largest() -> State {
        let mut state = State::draw(&mut rand::rngs::StdRng::seed_from_u64(1));
        let custodians = (0..MAX_CUSTODIANS).map(|i| CustodianKey(Digest([200 + i as u8; 32]))).collect();
        let policy = RealmPolicy { custodians, threshold: 9, smallest_group: Some(9) };
        state.realm = Some(Realm::new(RealmId([255; 16]), &Seed([255; 32]), policy, true, LONGEST));
        let members: Vec<HsmId> = (0..MAX_MEMBERS).map(|i| HsmId([240 + i as u8; 16])).collect();
        let captured = Position { index: Index(u64::MAX), hash: EntryHash([255; 32]) };
        let group = |id| Group { id, members: members.clone(), genesis: true, captured };
        let slot = |i| match GroupId([100 + i as u8; 16]) {
            id if i < MAX_RETIRED => Slot::Retired(id),
            id => Slot::Live(Box::new(group(id))),
        };
        state.slots = (0..SLOTS).map(slot).collect();
        state
    }

    /// The same without retired groups and a smallest group, as before version 3.
    fn largest_of_before() -> State<Group> {
        let mut state = largest();
        state.realm.iter_mut().for_each(|realm| realm.policy.smallest_group = None);
        let slots = state.slots.iter().filter_map(Slot::live).cloned().collect();
        let (hsm, device_secret, realm) = (state.hsm, state.device_secret, state.realm.take());
        State { minimum: VERSION_2, hsm, device_secret, realm, slots }
    }

    fn captured(state: &State) -> Vec<Position> {
        state.slots.iter().filter_map(Slot::live).map(|group| group.captured).collect()
    }

    #[test]
    fn the_largest_state_fits() {
        let bytes = largest().to_bytes();
        assert_eq!(bytes.len(), 5162, "grew or shrank; the bound is {MAX_STATE_BYTES}");
        assert!(bytes.len() <= MAX_STATE_BYTES);
        assert!(State::from_bytes(&bytes).is_ok_and(|s| s == (largest(), Version::Stated(VERSION))));
    }

    #[test]
    fn a_delta_moves_the_captured_entries_of_its_groups_and_an_unknown_slot_is_refused() {
        let (mut state, this) = (largest(), Version::Stated(VERSION));
        let at = Position { index: Index(7), hash: EntryHash([7; 32]) };
        assert_eq!(state.apply(this, &State::delta(&[(MAX_RETIRED + 3, at)])), Ok(()));
        assert_eq!(captured(&state).iter().filter(|captured| **captured == at).count(), 1);
        assert_eq!(captured(&state)[3], at);
        // Of one that has retired, nothing is captured any more.
        for slot in [SLOTS, 3] {
            assert_eq!(state.apply(this, &State::delta(&[(slot, at)])), Err(BadState::Malformed));
        }
        assert_eq!(state.apply(this, b"\xff"), Err(BadState::Malformed));
        let all: Vec<_> = (MAX_RETIRED..SLOTS).map(|slot| (slot, at)).collect();
        assert_eq!(state.apply(this, &State::delta(&all)), Ok(()));
        assert_eq!(captured(&state), [at; MAX_GROUPS]);
    }

    #[test]
    fn the_delta_of_all_groups_fits() {
        let captured = Position { index: Index(u64::MAX), hash: EntryHash([255; 32]) };
        let all: Vec<_> = (MAX_RETIRED..SLOTS).map(|slot| (slot, captured)).collect();
        let bytes = State::delta(&all).len();
        assert_eq!(bytes, 754, "grew or shrank; the bound is {MAX_DELTA_BYTES}");
        assert!(bytes <= MAX_DELTA_BYTES);
    }

    /// Refused if anything is missing from it or follows it.
    fn is_read_whole_alone(bytes: &[u8], read: impl Fn(&[u8]) -> bool) {
        assert!(read(bytes));
        assert!((0..bytes.len()).all(|len| !read(&bytes[..len])), "cut short");
        assert!((0..=255).all(|more| !read(&[bytes, &[more]].concat())), "a byte more");
    }

    #[test]
    fn a_state_or_delta_that_is_cut_short_or_has_more_behind_it_is_refused() {
        let (state, live) = (largest(), MAX_RETIRED);
        is_read_whole_alone(&state.to_bytes(), |bytes| State::from_bytes(bytes).is_ok());
        let delta = State::delta(&[(live, Position::NOTHING), (live + 1, Position::NOTHING)]);
        is_read_whole_alone(&delta, |bytes| state.clone().apply(Version::Stated(VERSION), bytes).is_ok());
        is_read_whole_alone(&delta[1..], |bytes| state.clone().apply(Version::One, bytes).is_ok());
    }

    #[test]
    fn a_state_with_a_field_that_this_build_does_not_know_is_refused() {
        let mut bytes = largest().to_bytes().to_vec();
        // An array of five, the last of which is null.
        assert_eq!(bytes[2], 0x84);
        bytes[2] = 0x85;
        bytes.push(0xf6);
        assert!(minicbor::decode::<State>(&bytes[2..]).is_ok(), "a decoder alone would take it");
        assert!(State::from_bytes(&bytes) == Err(BadState::Malformed));
    }

    #[test]
    fn a_newer_version_and_a_higher_minimum_are_refused_by_name() {
        let mut bytes = largest().to_bytes();
        assert_eq!(bytes[..2], [VERSION, MINIMUM]);
        bytes[1] = 7;
        assert!(State::from_bytes(&bytes) == Err(BadState::TooNew(7)));
        bytes[0] = 9;
        assert!(State::from_bytes(&bytes) == Err(BadState::TooNew(9)));
        for cut_short in [&[][..], &[VERSION], &[1, 1, 0x84]] {
            assert!(State::from_bytes(cut_short) == Err(BadState::Malformed));
        }
        let mut delta = State::delta(&[(0, Position::NOTHING)]);
        delta[0] = 4;
        for version in [VERSION_2, VERSION] {
            assert_eq!(largest().apply(Version::Stated(version), &delta), Err(BadState::TooNew(4)));
        }
    }

    #[test]
    fn builds_of_version_1_do_not_take_a_state_or_delta_of_this_version_for_their_own() {
        // They read CBOR from the first byte: an array of four for a state, an array for a delta.
        assert!(minicbor::decode::<version_1::State>(&largest().to_bytes()).is_err());
        let delta = State::delta(&[(0, Position::NOTHING)]);
        assert!(minicbor::decode::<Vec<CaptureDelta>>(&delta).is_err());
    }

    #[test]
    fn a_build_of_version_2_does_not_take_a_state_of_this_version_for_its_own() {
        let bytes = largest().to_bytes();
        assert!(bytes[0] > VERSION_2 && exact::decode::<State<Group>>(&bytes[2..]).is_none());
        // Nor one in which no group has retired.
        let state: State = largest_of_before().into();
        assert!(exact::decode::<State<Group>>(&state.to_bytes()[2..]).is_none());
    }

    #[test]
    fn a_state_of_version_2_is_read_with_its_deltas_and_is_of_this_version_from_then_on() {
        let old = largest_of_before();
        let bytes = [&[VERSION_2, VERSION_2][..], &minicbor::to_vec(&old).expect("encodes")].concat();
        assert_eq!(bytes.len(), 3912);
        is_read_whole_alone(&bytes, |bytes| State::from_bytes(bytes).is_ok());
        let Ok((mut state, version)) = State::from_bytes(&bytes) else { panic!("not read") };
        assert_eq!((version, state.minimum), (Version::Stated(VERSION_2), MINIMUM));
        assert!(state.slots.iter().filter_map(Slot::live).eq(&old.slots));
        let at = Position { index: Index(7), hash: EntryHash([7; 32]) };
        let mut delta = State::delta(&[(3, at)]);
        assert_eq!(state.clone().apply(version, &delta), Err(BadState::Malformed), "of another version");
        delta[0] = VERSION_2;
        assert_eq!(state.apply(version, &delta), Ok(()));
        assert_eq!(captured(&state)[3], at);
        assert_eq!(state.to_bytes()[..2], [VERSION, MINIMUM]);
    }

    #[test]
    fn a_state_of_version_1_is_read_and_its_realm_came_from_nobody_knows_where() {
        let new = largest_of_before();
        let realm = new.realm.as_ref().map(|realm| version_1::Realm {
            id: realm.id,
            seed: realm.seed,
            policy: realm.policy.clone(),
            unassigned: realm.unassigned,
        });
        let (hsm, device_secret, groups) = (new.hsm, new.device_secret, new.slots.clone());
        let bytes =
            minicbor::to_vec(version_1::State { hsm, device_secret, realm, groups }).expect("encodes");
        assert_eq!((bytes[0], bytes.len()), (VERSION_1, 3887));
        is_read_whole_alone(&bytes, |bytes| State::from_bytes(bytes).is_ok());
        let mut expected: State = new.into();
        expected.minimum = MINIMUM;
        expected.realm.as_mut().expect("a realm").origin = Origin::Unknown;
        assert!(State::from_bytes(&bytes) == Ok((expected, Version::One)));
    }
}
