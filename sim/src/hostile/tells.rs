//! What tenants are told: what an attack on it needs, and the oracle's rule on what is sealed to them.
//!
//! Names of records, MACs, signatures and what is sealed are read here as `docs/protocol.md` section 16 has them, apart from the
//! core.

use super::clients::{TENANTS, USERS, tenant_of};
use super::hunt::{Hunt, recent};
use super::keys::{RealmKeys, device_key, hash, mac, open};
use super::parts::{DEVICES, Known};
use super::step::{Made, Step};
use super::tell_step::{Brought, Signed, TellStep, ToKey, ToTell};
use super::world::{World, device};
use ed25519_dalek::{Signature, SigningKey};
use rand::RngExt;
use rand::seq::IndexedRandom;
use strongroom_proto::entry::Entry;
use strongroom_proto::events::{EntryEvents, OwnedEvent, SealedEvents, Settled, Telling, TenantKey};
use strongroom_proto::hsm::{MAX_CAPTURE_ENTRIES, Request};
use strongroom_proto::ids::{Digest, GroupId, HsmId, Index, Mac, RealmId, X25519Public};
use strongroom_proto::statement::{Captured, Committed, Past};
use strongroom_testkit::founding::sign;
use x25519_dalek::{PublicKey, StaticSecret};

const RULE: &str = "tenants are told what is committed and theirs";
/// How many of the three custodians must sign.
const ENOUGH: usize = 2;
const SMALL_ORDER: X25519Public = X25519Public([0; 32]);

/// The secrets of the tenants, and of the host.
fn secrets() -> [[u8; 32]; 3] {
    [[0x70; 32], [0x71; 32], [0x68; 32]]
}

fn tenant_key(tenant: u8) -> TenantKey {
    let tenant = usize::from(tenant) % TENANTS.len();
    TenantKey { tenant: TENANTS[tenant].as_bytes().to_vec().into(), key: device_key(&secrets()[tenant]) }
}

impl RealmKeys {
    /// What an HSM is to state of an entry that comes before a committed one.
    fn past(&self, group: &GroupId, hsm: HsmId, known: &Known) -> Past {
        let (index, hash) = (known.entry.index, known.hash);
        let fields: [&[u8]; 5] = [&self.realm.0, &group.0, &hsm.0, &index.0.to_be_bytes(), &hash.0];
        Past { hsm, index, hash, mac: Mac(Digest(mac(&self.statements, "strongroom past 1", &fields))) }
    }
}

/// What this secret opens of what was sealed for an entry.
fn opened(
    secret: &[u8; 32],
    sealed: &SealedEvents,
    (realm, group, index): (&RealmId, &GroupId, Index),
) -> Option<Vec<u8>> {
    let secret = StaticSecret::from(*secret);
    let shared = secret.diffie_hellman(&PublicKey::from(sealed.ephemeral.0));
    let own = PublicKey::from(&secret).to_bytes();
    let key = hash("strongroom tenant events 2", &[shared.as_bytes(), &sealed.ephemeral.0, &own]);
    let context = [&realm.0[..], &group.0, &index.0.to_be_bytes()].concat();
    open(&key, &context, &sealed.sealed)
}

impl World {
    pub(super) fn tell(&mut self, n: Made, step: &TellStep) {
        let TellStep { at, statement, is_past, entries, telling } = step;
        let Some(Captured { hsm, index, hash, mac }) = self.any_statement(*statement) else { return };
        let settled = if *is_past {
            Settled::Past(Past { hsm, index, hash, mac })
        } else {
            Settled::Committed(Committed { hsm, index, hash, mac })
        };
        let asks = telling.is_some();
        let telling = telling.as_ref().and_then(|telling| self.telling(n, telling));
        if asks == telling.is_some() {
            let entries = self.entries_of(entries);
            self.exchange(n, device(*at), "Tell", &Request::Tell { settled, entries, telling });
        }
    }

    /// A statement of any kind about an entry.
    fn any_statement(&self, made: Made) -> Option<Captured> {
        let commit = self.commits.get(&made).map(|(_, c)| (c.hsm, c.index, c.hash, c.mac));
        let fresh = self.fresh.get(&made).map(|f| (f.hsm, f.index, f.hash, f.mac));
        let other = commit.or(fresh).map(|(hsm, index, hash, mac)| Captured { hsm, index, hash, mac });
        self.captured_or_dressed(made).or(other)
    }

    /// The entry that a statement is about, if there is such.
    fn about(&self, statement: Made) -> Option<Made> {
        self.by_hash.get(&self.any_statement(statement)?.hash).copied()
    }

    fn telling(&self, n: Made, to_tell: &ToTell) -> Option<Telling> {
        let ToTell { tenant, key, signers, signed, events, brought, owned, more } = to_tell;
        let (mut proper, other) = (tenant_key(*tenant), tenant_key(*tenant + 1));
        let mut asked = proper.clone();
        match key {
            ToKey::Own => {}
            ToKey::Other => asked.key = other.key,
            ToKey::Hosts => asked.key = device_key(&secrets()[2]),
            ToKey::SmallOrder => asked.key = SMALL_ORDER,
        }
        if *key == ToKey::SmallOrder {
            proper = asked.clone();
        }
        let realm = if *signed == Signed::OtherRealms { RealmId([9; 16]) } else { self.founding.realm.realm };
        let mut signatures = Vec::new();
        for (i, custodian) in
            self.founding.custodians.iter().enumerate().filter(|(i, _)| signers >> i & 1 == 1)
        {
            let stranger = SigningKey::from_bytes(&[200 + i as u8; 32]);
            let is_stranger = *signed == Signed::Strangers;
            let by = if is_stranger { &stranger } else { custodian };
            // The first custodian belongs to the host.
            let of = match signed {
                Signed::OtherTenants => &other,
                _ if i == 0 || is_stranger => &asked,
                _ => &proper,
            };
            let signature = sign(by, &of.digest(&realm));
            signatures.extend(vec![signature; if *signed == Signed::Twice { 2 } else { 1 }]);
        }
        let mut events = self.entries.get(events)?.events.clone();
        match brought {
            Brought::All => {}
            Brought::Reversed => events.reverse(),
            Brought::OneLess => events.truncate(events.len().saturating_sub(1)),
            Brought::OneMore => events.extend(events.last().cloned()),
        }
        let mut told = vec![EntryEvents { events, owned: self.owned_events(n, owned) }];
        for made in more {
            let events = self.entries.get(made)?.events.clone();
            told.push(EntryEvents { events, owned: self.owned_events(n, &self.of_tenant(*made, *tenant)) });
        }
        Some(Telling { key: asked, signatures, entries: told })
    }

    fn owned_events(&self, n: Made, owned: &[(u8, u8)]) -> Vec<OwnedEvent> {
        let name = |user: u8| self.clients().name(user).as_bytes().to_vec().into();
        let of = |(place, user): &(u8, u8)| OwnedEvent {
            place: *place,
            user: name(*user),
            time: u64::from(n) << 32 | u64::from(*place),
        };
        owned.iter().map(of).collect()
    }

    /// The places of an entry's events that are of a tenant's users, and these users.
    fn of_tenant(&self, entry: Made, tenant: u8) -> Vec<(u8, u8)> {
        let kept = self.entries.get(&entry).map(|known| known.kept.as_slice()).unwrap_or_default();
        let of_tenant = (0..).zip(kept).filter(|(_, kept)| tenant_of(kept.user) == tenant);
        of_tenant.map(|(place, kept)| (place, kept.user)).collect()
    }

    /// The statement is of the past of what is committed, and what is sealed is the tenant's.
    pub(super) fn judge_told(
        &mut self,
        n: Made,
        at: usize,
        (entries, telling): (&[Entry], Option<&Telling>),
        past: Past,
        sealed: Option<&SealedEvents>,
    ) {
        self.pasts.insert(n, past);
        // One that is a majority by itself states what it likes, and others believe it.
        if self.hosts_own[at] || self.broken.is_some() {
            return;
        }
        let made = entries.first().and_then(|first| self.by_hash.get(&first.hash())).copied();
        let known = made.and_then(|made| Some((made, self.entries.get(&made)?)));
        let Some((made, known)) = known.filter(|(_, known)| known.is_committed && !known.is_forged) else {
            let what = made.map_or_else(|| "what nobody made".into(), |made| format!("#{made}"));
            return self.violate(RULE, format!("HSM {at} told of {what}, which is not committed"));
        };
        let group = known.group;
        let wanted = self.founding.keys.past(&self.groups[group].id, self.statuses[at].hsm, known);
        let told = match (telling, sealed) {
            _ if past != wanted => Err("what is not so".to_owned()),
            (None, None) => Ok(()),
            (Some(telling), Some(sealed)) => self.read_told(entries, telling, sealed),
            _ => Err("what it was not asked".to_owned()),
        };
        if let Err(what) = told {
            return self.violate(RULE, format!("HSM {at} told of #{made} {what}"));
        }
        self.traffic(group, "Tell");
        let outcome = sealed.map_or("a statement", |_| "events");
        self.cover("(told)", "tenant", outcome.into());
    }

    /// Reads it as the tenant would, and compares it with what happened.
    fn read_told(&self, entries: &[Entry], telling: &Telling, sealed: &SealedEvents) -> Result<(), String> {
        let TenantKey { tenant, key } = &telling.key;
        let realm = &self.founding.realm.realm;
        let digest = hash("strongroom tenant key 1", &[&realm.0, tenant, &key.0]);
        let has_signed = |custodian: &&SigningKey| {
            let key = custodian.verifying_key();
            let own = telling.signatures.iter().filter(|by| by.custodian.0.0 == key.to_bytes());
            own.map(|by| Signature::from_bytes(&by.signature))
                .any(|signature| key.verify_strict(&digest, &signature).is_ok())
        };
        let signed = self.founding.custodians.iter().filter(has_signed).count();
        if signed < ENOUGH {
            return Err(format!("to a key that {signed} of {ENOUGH} custodians signed"));
        }
        if *key == SMALL_ORDER {
            return Err("under a key that everybody knows".into());
        }
        let mut wanted = vec![2];
        for (at, of) in (0..).zip(&telling.entries) {
            self.to_be_told(entries.get(usize::from(at)), (at, tenant), of, &mut wanted)?;
        }
        let Entry { group, index: first, .. } = entries.first().ok_or("of nothing")?;
        let index = first.0.to_be_bytes();
        let fields: [&[u8]; 7] =
            [&realm.0, &group.0, &index, tenant, &key.0, &sealed.ephemeral.0, &sealed.sealed];
        let by = SigningKey::from_bytes(&self.founding.keys.checkpoints).verifying_key();
        let signature = Signature::from_bytes(&sealed.signature);
        if by.verify_strict(&hash("strongroom told 2", &fields), &signature).is_err() {
            return Err("what anybody could have sealed".into());
        }
        let secret = secrets().into_iter().find(|secret| device_key(secret) == *key);
        let opened = secret.and_then(|secret| opened(&secret, sealed, (realm, group, *first)));
        match opened {
            None => Err("what the tenant cannot open".into()),
            Some(opened) if opened != wanted => Err("what did not happen".into()),
            Some(_) => Ok(()),
        }
    }

    /// What the tenant is to read of an entry, if it may.
    fn to_be_told(
        &self,
        entry: Option<&Entry>,
        (at, tenant): (u8, &[u8]),
        EntryEvents { events, owned }: &EntryEvents,
        wanted: &mut Vec<u8>,
    ) -> Result<(), String> {
        let entry = entry.ok_or("of more entries than were shown")?;
        let known = self.by_hash.get(&entry.hash()).and_then(|made| self.entries.get(made));
        let Some(known) = known.filter(|known| known.is_committed && !known.is_forged) else {
            return Err("with what is not committed".into());
        };
        if !owned.is_empty() && *events != known.events {
            return Err("what other events say".into());
        }
        let mut before = None;
        for OwnedEvent { place, user, time } in owned {
            if before.is_some_and(|before| before >= *place) {
                return Err(format!("the event at {place} again, or too late"));
            }
            before = Some(*place);
            let Some(kept) = known.kept.get(usize::from(*place)) else {
                return Err(format!("an event at {place}, where there is none"));
            };
            let ids = &self.founding.realm.record_id_key.0;
            if mac(ids, "strongroom record id 1", &[tenant, user]) != self.clients().record(kept.user).0 {
                return Err(format!("what happened to user {}, who is not the one named", kept.user));
            }
            wanted.extend([at, *place, kept.happening as u8, kept.left]);
            wanted.extend(time.to_be_bytes());
            wanted.push(u8::try_from(user.len()).map_err(|_| "of a name that is too long")?);
            wanted.extend_from_slice(user);
            wanted.resize(wanted.len().next_multiple_of(32), 0);
        }
        Ok(())
    }
}

impl Hunt {
    /// All of an entry's events that are of a tenant's users, under the signatures of those who are honest.
    pub(super) fn to_tell(&self, entry: Made, tenant: u8) -> ToTell {
        let owned = self.world.of_tenant(entry, tenant);
        let (key, signed, brought) = (ToKey::Own, Signed::Asked, Brought::All);
        ToTell { tenant, key, signers: 0b110, signed, events: entry, brought, owned, more: Vec::new() }
    }

    /// Asks by a statement of commit.
    pub(super) fn tell(
        &mut self,
        at: u8,
        statement: Made,
        entries: &[Made],
        telling: Option<ToTell>,
    ) -> Made {
        self.go(Step::Tell(TellStep { at, statement, is_past: false, entries: entries.to_vec(), telling }))
    }

    /// Asks by a statement of the past.
    pub(super) fn tell_past(
        &mut self,
        at: u8,
        statement: Made,
        entries: &[Made],
        telling: Option<ToTell>,
    ) -> Made {
        self.go(Step::Tell(TellStep { at, statement, is_past: true, entries: entries.to_vec(), telling }))
    }

    pub(super) fn any_tell(&mut self) -> Option<Step> {
        let at = self.rng.random_range(0..DEVICES as u8);
        let world = &self.world;
        let rng = &mut self.rng;
        let (entry, other) = (recent(rng, world.entries.keys())?, recent(rng, world.entries.keys())?);
        let commit = recent(rng, world.commits.keys());
        let past = recent(rng, world.pasts.keys());
        let (statement, is_past) = match rng.random_range(0..8) {
            0 => (recent(rng, world.statements.keys())?, rng.random()),
            1 => (recent(rng, world.lies.keys())?, rng.random()),
            2 => (recent(rng, world.fresh.keys())?, rng.random()),
            3 => (past.or(commit)?, false),
            4 => (commit?, true),
            5 => (past?, true),
            _ => (commit?, false),
        };
        let about = world.about(statement).filter(|_| rng.random_ratio(7, 8)).unwrap_or(other);
        let chain = self.chain(about);
        let from = chain.iter().position(|made| *made == entry);
        let rng = &mut self.rng;
        let back = rng.random_range(1..4);
        let from = from.unwrap_or(chain.len().saturating_sub(back));
        let mut entries = chain[from..].to_vec();
        if rng.random_ratio(1, 8) && !entries.is_empty() {
            entries.remove(rng.random_range(0..entries.len()));
        }
        if rng.random_ratio(1, 8) {
            entries.push(other);
        }
        if rng.random_ratio(1, 8) {
            entries.reverse();
        }
        entries.truncate(MAX_CAPTURE_ENTRIES + usize::from(rng.random_ratio(1, 8)));
        let of = entries.first().copied().unwrap_or(entry);
        let mut telling = self.rng.random_ratio(3, 4).then(|| self.any_telling(of, other)).flatten();
        if let Some(telling) = telling.as_mut().filter(|_| self.rng.random_ratio(1, 2)) {
            let most = self.rng.random_range(0..4);
            telling.more = entries.iter().skip(1).take(most).copied().collect();
            if self.rng.random_ratio(1, 8) {
                telling.more.push(other);
            }
        }
        Some(Step::Tell(TellStep { at, statement, is_past, entries, telling }))
    }

    /// As it should be, or with something else in one place or the other.
    fn any_telling(&mut self, entry: Made, other: Made) -> Option<ToTell> {
        let tenant = self.rng.random_range(0..TENANTS.len() as u8);
        let mut telling = self.to_tell(entry, tenant);
        let rng = &mut self.rng;
        if rng.random_ratio(1, 6) {
            telling.key = *ToKey::ALL.choose(rng)?;
        }
        if rng.random_ratio(1, 6) {
            telling.signed = *Signed::ALL.choose(rng)?;
        }
        if rng.random_ratio(1, 6) {
            telling.signers = rng.random_range(0..8);
        }
        if rng.random_ratio(1, 6) {
            telling.brought = *Brought::ALL.choose(rng)?;
        }
        if rng.random_ratio(1, 6) {
            telling.events = other;
        }
        if rng.random_ratio(1, 6) {
            telling.owned.push((rng.random_range(0..4), rng.random_range(0..USERS)));
        }
        if rng.random_ratio(1, 8) {
            telling.owned.reverse();
        }
        Some(telling)
    }
}
