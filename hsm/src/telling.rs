//! Telling tenants what happened to their users' records: events of committed entries, opened here and sealed to a tenant's key.
//!
//! A host brings everything: entries, what shows that they are committed, their events, whose they are, and for whom. So everything is
//! looked at: before commit nobody learns what an event says, for it may be of a guess that is never charged; an event
//! is told to a tenant whose name, with the user's, gives the event's record; and custodians vouch for the tenant's key.
//! What is sealed is signed, since anybody can seal to a tenant. It has a length that follows from the users' names, whatever happened.

use crate::core::Core;
use crate::enrolment::sealing_key;
use crate::env::Env;
use crate::event::Event;
use crate::keys::{Keys, record_id_key};
use crate::process::event_context;
use crate::seal;
use crate::state::Position;
use alloc::vec::Vec;
use rand_core::Rng as _;
use strongroom_proto::entry::{Entry, events_hash};
use strongroom_proto::events::{EntryEvents, MAX_NAME_BYTES, OwnedEvent, SealedEvents, Settled, Telling};
use strongroom_proto::hash::{label, mac};
use strongroom_proto::hsm::{Refusal, Reply};
use strongroom_proto::ids::{Digest, X25519Public};
use strongroom_proto::statement::Past;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// The version of what is sealed.
const VERSION: u8 = 2;
/// An event takes a multiple of this many bytes, so that a name's length shows only roughly.
const STEP: usize = 32;
/// What an event takes at most. The buffer must not grow: that would leave behind what it says.
const MAX_EVENT: usize = (13 + MAX_NAME_BYTES).next_multiple_of(STEP);

impl Core {
    /// States that the first of these entries is in the past of one that is committed, and seals some of their events.
    pub(crate) fn tell<E: Env>(
        &self,
        env: &mut E,
        settled: &Settled,
        entries: &[Entry],
        telling: Option<&Telling>,
    ) -> Result<Reply, Refusal> {
        let keys = self.keys()?;
        let (entry, after) = entries.split_first().ok_or(Refusal::Malformed)?;
        let first = Position { index: entry.index, hash: entry.hash() };
        let mut at = first;
        for next in after {
            if !self.follows(next, at) {
                return Err(Refusal::NotConsecutive);
            }
            at = Position { index: next.index, hash: next.hash() };
        }
        if !settled.is_authentic(&keys.statements, &keys.realm, &entry.group) {
            return Err(Refusal::NotAuthentic);
        }
        if settled.position() != (at.index, at.hash) {
            return Err(Refusal::NotCommitted);
        }
        let sealed = telling.map(|telling| self.seal_events(env, keys, entries, telling)).transpose()?;
        let hsm = self.state.hsm;
        let past = Past::new(&keys.statements, &keys.realm, &entry.group, hsm, first.index, first.hash);
        Ok(Reply::Told { past, sealed })
    }

    fn seal_events<E: Env>(
        &self,
        env: &mut E,
        keys: &Keys,
        entries: &[Entry],
        telling: &Telling,
    ) -> Result<SealedEvents, Refusal> {
        let realm = self.state.realm.as_ref().ok_or(Refusal::NoRealm)?;
        let Telling { key, signatures, entries: told_of } = telling;
        if !realm.policy.is_enough(realm.policy.signers(&key.digest(&realm.id), signatures)) {
            return Err(Refusal::NotApproved);
        }
        let first = entries.first().ok_or(Refusal::Malformed)?;
        if told_of.len() > entries.len() {
            return Err(Refusal::Malformed);
        }
        // No entry of this HSM has more; another's may, and would take more memory than there is.
        let most = |of: &EntryEvents| of.events.len().max(of.owned.len());
        let events = told_of.iter().map(most).fold(0, usize::saturating_add);
        if events > self.config.limits.max_batch_requests as usize {
            return Err(Refusal::TooLarge);
        }
        let record_ids = record_id_key(realm.id, &realm.seed());
        // Secret: what happened is for the tenant alone.
        let longest = events.saturating_mul(MAX_EVENT).saturating_add(STEP);
        let mut told = Zeroizing::new(Vec::with_capacity(longest));
        told.push(VERSION);
        for (at, (entry, of)) in (0..).zip(entries.iter().zip(told_of)) {
            open_events(keys, &record_ids, &key.tenant, (at, entry), of, &mut told)?;
        }
        let mut secret = Zeroizing::new([0; 32]);
        env.rng().fill_bytes(&mut *secret);
        let secret = StaticSecret::from(*secret);
        let ephemeral = X25519Public(PublicKey::from(&secret).to_bytes());
        let sealing = sealing_key(label::TENANT_EVENTS, &secret, &key.key, (&ephemeral, &key.key));
        let context = [&realm.id.0[..], &first.group.0, &first.index.0.to_be_bytes()].concat();
        let sealed = seal::seal(&*sealing.ok_or(Refusal::NotApproved)?, &context, &told, env.rng());
        let signature = [0; 64].into();
        let mut sealed = SealedEvents { ephemeral, sealed: sealed.into(), signature };
        let digest = sealed.digest(&realm.id, (&first.group, first.index), key);
        sealed.signature = keys.checkpoints.sign_digest(&digest);
        Ok(sealed)
    }
}

/// Appends what a tenant is told of an entry, the how manieth of those that the telling is about.
fn open_events(
    keys: &Keys,
    record_ids: &Digest,
    tenant: &[u8],
    (at, entry): (u8, &Entry),
    EntryEvents { events, owned }: &EntryEvents,
    told: &mut Vec<u8>,
) -> Result<(), Refusal> {
    // An event names its index, but not which of several entries at it.
    let all = events_hash(events.iter().map(|event| event.as_slice()));
    if !owned.is_empty() && all != entry.events_hash {
        return Err(Refusal::NotAuthentic);
    }
    let context = event_context(keys, &entry.group);
    let mut next = 0;
    for OwnedEvent { place, user, time } in owned {
        if *place < next {
            return Err(Refusal::Malformed);
        }
        next = place.saturating_add(1);
        let sealed = events.get(usize::from(*place)).ok_or(Refusal::Malformed)?;
        let event = seal::unseal(&keys.events, &context, sealed).map_err(|_| Refusal::BadRecord)?;
        let event = Event::from_bytes(&event).ok_or(Refusal::OtherVersion)?;
        if mac(&record_ids.0, label::RECORD_ID, &[tenant, user]).0 != Digest(event.record.0) {
            return Err(Refusal::NotCovered);
        }
        let name = u8::try_from(user.len()).map_err(|_| Refusal::Malformed)?;
        told.extend_from_slice(&[at, *place, event.what, event.guesses_left]);
        told.extend_from_slice(&time.to_be_bytes());
        told.push(name);
        told.extend_from_slice(user);
        let end = told.len().next_multiple_of(STEP);
        told.resize(end, 0);
    }
    Ok(())
}
