//! The core: one function from request bytes to reply bytes.
//!
//! Owns the state and decides nothing itself; [`crate::confirm`], [`crate::enrolment`], [`crate::group`],
//! [`crate::head`], [`crate::log`], [`crate::process`], [`crate::retirement`] and [`crate::transfer`] do. Keeps
//! invariant 12: whatever the bytes, there is a reply, and it fits in a frame.

use crate::config::Config;
use crate::env::Env;
use crate::keys::{self, Keys};
use crate::leadership::Leadership;
use crate::nvram::{Nvram, NvramError, Opened};
use crate::session::Sessions;
use crate::start_error::StartError;
use crate::state::{self, BadState, Group, Position, Slot, State};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use strongroom_proto::bounded::{end_of_item, is_too_many};
use strongroom_proto::enrolment::Attestation;
use strongroom_proto::hsm::{DeviceStatus, GroupStatus, RealmStatus, Refusal, Reply, Request, Role};
use strongroom_proto::ids::{GroupId, Nonce};
use strongroom_proto::statement::{GroupStatement, MemberStatement};

/// The HSM core. Everything outside it is hostile except its [`Env`].
pub struct Core {
    pub(crate) config: Config,
    pub(crate) state: State,
    pub(crate) nvram: Nvram,
    /// Derived from the realm's seed, when there is one.
    pub(crate) keys: Option<Keys>,
    /// The nonce of the one export that may come next.
    pub(crate) export_nonce: Option<Nonce>,
    /// The nonce of the one import that may come next.
    pub(crate) import_nonce: Option<Nonce>,
    /// What the vendor says about the device, and about its holding the realm.
    pub(crate) attestations: Attestations,
    /// By the group's place in `state.slots`.
    pub(crate) leaderships: BTreeMap<usize, Leadership>,
    pub(crate) sessions: Sessions,
    /// NVRAM failed: what is in RAM may not be what is in NVRAM.
    pub(crate) failed: bool,
}

/// What the device's vendor attests about what its console shows.
pub(crate) struct Attestations {
    /// About the device.
    pub(crate) device: Attestation,
    /// About its holding the realm.
    pub(crate) realm: Attestation,
}

impl Attestations {
    pub(crate) fn none() -> Self {
        Self { device: Attestation::none(), realm: Attestation::none() }
    }
}

impl Core {
    /// Starts the device from its NVRAM, or as a new one if that is empty. The newest state is written again before
    /// anything is stated from it.
    ///
    /// # Errors
    /// NVRAM holds no state that can be trusted to be the newest, or cannot be written. The device must not serve.
    pub fn start<E: Env>(env: &mut E, config: Config) -> Result<Self, StartError> {
        let (state, nvram) = match Nvram::open(env.flash())? {
            Opened::Empty(unformatted) => {
                let state = State::draw(env.rng());
                let nvram = unformatted.format(env.flash(), &state.to_bytes())?;
                (state, nvram)
            }
            Opened::Found(recovered, unrestated) => {
                let (mut state, version) = State::from_bytes(&recovered.full)?;
                recovered
                    .each_delta(env.flash(), |delta| state.apply(version, delta).map_err(StartError::from))?;
                // Durable: the newest state again, before any statement is made from it. A state of an older version is
                // converted by the same write: until the new record is whole, the old one is the newest.
                let nvram = unrestated.restate(env.flash(), &state.to_bytes())?;
                (state, nvram)
            }
        };
        let keys = state.realm.as_ref().map(|realm| Keys::derive(realm.id, &realm.seed()));
        let places = |most| usize::try_from(most).unwrap_or(usize::MAX);
        let sessions = Sessions::new(places(config.limits.max_sessions), places(config.session_replies));
        let leaderships = BTreeMap::new();
        let mut core = Self {
            config,
            state,
            nvram,
            keys,
            export_nonce: None,
            import_nonce: None,
            attestations: Attestations::none(),
            leaderships,
            sessions,
            failed: false,
        };
        core.introduce(env);
        Ok(core)
    }

    /// Answers one request. Every byte string has a reply; the longest is
    /// [`max_frame_bytes`](strongroom_proto::hsm::Limits::max_frame_bytes).
    pub fn handle<E: Env>(&mut self, env: &mut E, request: &[u8]) -> Vec<u8> {
        let reply = self.reply(env, request).unwrap_or_else(Reply::Refused);
        minicbor::to_vec(reply).unwrap_or_default()
    }

    fn reply<E: Env>(&mut self, env: &mut E, request: &[u8]) -> Result<Reply, Refusal> {
        if self.failed {
            return Err(Refusal::NvramFailed);
        }
        if request.len() > self.config.limits.max_frame_bytes as usize {
            return Err(Refusal::TooLarge);
        }
        let mut decoder = minicbor::Decoder::new(request);
        // First in constant memory: a decoder that skips what it does not know takes more memory the more there is of
        // it.
        if end_of_item(&mut decoder).is_none() {
            return Err(Refusal::Malformed);
        }
        decoder.set_position(0);
        let refused = |e| if is_too_many(&e) { Refusal::TooLarge } else { Refusal::Malformed };
        let decoded = decoder.decode::<Request>().map_err(refused)?;
        if decoder.position() != request.len() {
            return Err(Refusal::Malformed);
        }
        match decoded {
            Request::DeviceStatus => Ok(self.status()),
            Request::NewRealm(policy) => self.new_realm(env, policy),
            Request::ExportNonce => self.draw_export_nonce(env),
            Request::ImportNonce => self.draw_import_nonce(env),
            Request::ExportRealm(approval, signatures) => self.export_realm(env, approval, signatures),
            Request::JoinRealm(sealed) => self.join_realm(env, &sealed),
            Request::NewGroup(members) => self.new_group(env, &members),
            Request::JoinGroup(statement) => self.join_group(env, statement),
            Request::Capture(groups) => self.capture(env, &groups),
            Request::Jump(entry, committed) => self.jump(env, &entry, &committed),
            Request::Lead(group, entry) => self.lead(env, group, entry.as_ref()),
            Request::StepDown(group) => self.step_down(group),
            Request::Handshake(group, request) => self.handshake(env, group, &request),
            Request::Process { group, trees, requests } => self.process(env, group, trees, &requests),
            Request::Commit { group, statements } => self.commit(group, &statements),
            Request::Fresh(group, nonce) => self.fresh(group, nonce),
            Request::DrawReadNonce(group) => self.draw_read_nonce(env, group),
            Request::Confirm { group, statements } => self.confirm(group, &statements),
            Request::Change(group, change) => self.change(env, group, change),
            Request::AgentSecret(epoch) => self.agent_secret(epoch),
            Request::Leave(group, proof) => self.leave(env, group, proof),
            Request::ExtendHead { from, entries } => self.extend_head(from, &entries),
            Request::SignHead { head, committed } => self.sign_head(&head, &committed),
            Request::Tell { settled, entries, telling } => {
                self.tell(env, &settled, &entries, telling.as_ref())
            }
        }
    }

    fn agent_secret(&self, epoch: u32) -> Result<Reply, Refusal> {
        let realm = self.state.realm.as_ref().ok_or(Refusal::NoRealm)?;
        Ok(Reply::AgentSecret(keys::agent_secret(realm.id, &realm.seed(), epoch)))
    }

    pub(crate) fn status(&self) -> Reply {
        let realm = self.state.realm.as_ref().zip(self.keys.as_ref()).map(|(realm, keys)| RealmStatus {
            realm: realm.id,
            public_key: keys.noise_public(),
            policy: realm.policy.clone(),
            unassigned: realm.unassigned,
            member: MemberStatement::new(&keys.statements, &realm.id, self.state.hsm),
            record_id_key: keys::record_id_key(realm.id, &realm.seed()),
            origin: realm.origin,
            attestation: self.attestations.realm.clone(),
            checkpoint_key: Some(keys.checkpoints.public()),
        });
        let slots = &self.state.slots;
        let groups = slots.iter().enumerate().filter_map(|(slot, of)| Some((slot, of.live()?)));
        Reply::Device(DeviceStatus {
            hsm: self.state.hsm,
            device_key: self.state.device_key(),
            version: self.config.version.clone(),
            build: self.config.build,
            limits: self.config.limits,
            realm,
            groups: groups.filter_map(|(slot, group)| self.group_status(slot, group)).collect(),
            attestation: self.attestations.device.clone(),
            wear: self.nvram.wear(),
            retired: slots.iter().filter_map(Slot::retired).collect(),
        })
    }

    fn group_status(&self, slot: usize, group: &Group) -> Option<GroupStatus> {
        let role = match self.leaderships.get(&slot) {
            None => Role::Witness,
            Some(l) if l.leading => Role::Leader { term: l.term, newest: l.newest().index },
            Some(_) => Role::SteppingDown,
        };
        let Position { index: captured_index, hash: captured_hash } = group.captured;
        Some(GroupStatus { statement: self.group_statement(group)?, role, captured_index, captured_hash })
    }

    pub(crate) fn group_statement(&self, group: &Group) -> Option<GroupStatement> {
        let keys = self.keys.as_ref()?;
        let members = group.members.clone();
        Some(GroupStatement::new(&keys.statements, &keys.realm, group.id, members, group.genesis))
    }

    pub(crate) fn keys(&self) -> Result<&Keys, Refusal> {
        self.keys.as_ref().ok_or(Refusal::NoRealm)
    }

    /// The place of a group that this HSM is a member of.
    pub(crate) fn slot(&self, group: &GroupId) -> Result<usize, Refusal> {
        let slot = self.state.slots.iter().position(|slot| slot.id() == *group).ok_or(Refusal::NotMember)?;
        self.group(slot).map(|_| slot)
    }

    pub(crate) fn group(&self, slot: usize) -> Result<&Group, Refusal> {
        self.state.slots.get(slot).ok_or(Refusal::NotMember)?.live().ok_or(Refusal::Retired)
    }

    /// Ends a leadership with all that it kept.
    pub(crate) fn drop_leadership(&mut self, slot: usize) {
        self.leaderships.remove(&slot);
        self.sessions.end_group(slot);
    }

    /// Replaces the whole state, in NVRAM first (invariant 2).
    pub(crate) fn write_state<E: Env>(&mut self, env: &mut E, state: State) -> Result<(), Refusal> {
        let written = self.nvram.append_full(env.flash(), &state.to_bytes());
        self.after_write(written)?;
        self.state = state;
        Ok(())
    }

    /// Moves the captured entries of groups, in NVRAM first and in one write (invariant 2).
    pub(crate) fn write_captured<E: Env>(
        &mut self,
        env: &mut E,
        moved: &[(usize, Position)],
    ) -> Result<(), Refusal> {
        // If the write fails this is not undone: nothing is answered after that.
        for (slot, at) in moved {
            self.state.group_mut(*slot).ok_or(Refusal::NotMember)?.captured = *at;
        }
        let written = self.nvram.append_delta(env.flash(), &State::delta(moved), || self.state.to_bytes());
        self.after_write(written)
    }

    fn after_write(&mut self, written: Result<(), NvramError>) -> Result<(), Refusal> {
        written.map_err(|_| {
            self.failed = true;
            Refusal::NvramFailed
        })
    }
}

impl From<BadState> for StartError {
    fn from(bad: BadState) -> Self {
        match bad {
            BadState::TooNew(needs) => Self::OtherVersion { needs, reads: state::VERSION },
            BadState::Malformed => Self::BadState,
        }
    }
}
