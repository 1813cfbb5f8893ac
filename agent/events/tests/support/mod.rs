//! What HSMs seal and agents write, made here by what `docs/protocol.md` says, and streams in memory.
#![allow(dead_code)]

pub(crate) mod agent;

use blake2::{Blake2s256, Digest as _};
use ed25519_dalek::{Signer as _, SigningKey};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use strongroom_events::page::Reach;
use strongroom_events::{Page, PageEntry, Source, Tenant, TenantSecret, Told, Unavailable, What};
use strongroom_proto::events::SealedEvents;
use strongroom_proto::ids::{Ed25519Public, EntryHash, GroupId, Index, RealmId, X25519Public};
use x25519_dalek::{PublicKey, StaticSecret};
use xaes_256_gcm::aead::{Aead, KeyInit, Payload};
use xaes_256_gcm::{Nonce, Xaes256Gcm};

pub(crate) const REALM: RealmId = RealmId([1; 16]);
pub(crate) const TENANT: &str = "acme";

pub(crate) fn secret() -> TenantSecret {
    TenantSecret::new([7; 32])
}

/// The realm's checkpoint key.
pub(crate) fn signer() -> SigningKey {
    SigningKey::from_bytes(&[11; 32])
}

/// The tenant, with what it believes.
pub(crate) fn tenant() -> Tenant {
    tenant_with(secret())
}

pub(crate) fn tenant_with(secret: TenantSecret) -> Tenant {
    Tenant::new(TENANT, secret, Ed25519Public(signer().verifying_key().to_bytes()))
}

pub(crate) fn group(n: u8) -> GroupId {
    GroupId([n; 16])
}

/// `H(label, fields)` of section 2.
pub(crate) fn hash(label: &str, fields: &[&[u8]]) -> [u8; 32] {
    let mut hash = Blake2s256::new();
    for part in [&[label.as_bytes()], fields].concat() {
        hash.update(u32::try_from(part.len()).unwrap().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The plaintext of section 16.
pub(crate) fn plain(told: &[Told]) -> Vec<u8> {
    let mut bytes = vec![2];
    for Told { after, place, what, guesses_left, time, user } in told {
        bytes.extend([*after, *place, *what as u8, *guesses_left]);
        bytes.extend(time.to_be_bytes());
        bytes.push(u8::try_from(user.len()).unwrap());
        bytes.extend(user.as_bytes());
        bytes.resize(bytes.len().div_ceil(32) * 32, 0);
    }
    bytes
}

/// Everything that goes into a sealing.
#[derive(Clone)]
pub(crate) struct Sealing {
    pub(crate) label: &'static str,
    pub(crate) realm: RealmId,
    pub(crate) group: GroupId,
    pub(crate) index: Index,
    pub(crate) to: X25519Public,
    /// Of the three fields of the key: shared secret, ephemeral key, tenant's key.
    pub(crate) order: [usize; 3],
    pub(crate) context: fn(&Sealing) -> Vec<u8>,
}

impl Sealing {
    pub(crate) fn new(group: GroupId, index: u64) -> Self {
        Self {
            label: "strongroom tenant events 2",
            realm: REALM,
            group,
            index: Index(index),
            to: secret().public(),
            order: [0, 1, 2],
            context: |of| [&of.realm.0[..], &of.group.0, &of.index.0.to_be_bytes()].concat(),
        }
    }

    pub(crate) fn seal(&self, rng: &mut StdRng, plain: &[u8]) -> SealedEvents {
        let (mut own, mut nonce) = ([0; 32], [0; 24]);
        rng.fill_bytes(&mut own);
        rng.fill_bytes(&mut nonce);
        let own = StaticSecret::from(own);
        let ephemeral = PublicKey::from(&own).to_bytes();
        let shared = own.diffie_hellman(&PublicKey::from(self.to.0)).to_bytes();
        self.seal_under(shared, ephemeral, nonce, plain)
    }

    pub(crate) fn seal_under(
        &self,
        shared: [u8; 32],
        ephemeral: [u8; 32],
        nonce: [u8; 24],
        plain: &[u8],
    ) -> SealedEvents {
        let fields = [shared, ephemeral, self.to.0];
        let fields = self.order.map(|field| &fields[field][..]);
        let key = hash(self.label, &fields);
        let payload = Payload { msg: plain, aad: &(self.context)(self) };
        let sealed = Xaes256Gcm::new(&key.into()).encrypt(&Nonce::from(nonce), payload).unwrap();
        self.signed(X25519Public(ephemeral), &[&nonce[..], &sealed].concat())
    }

    /// What is sealed, with the realm's signature.
    pub(crate) fn signed(&self, ephemeral: X25519Public, sealed: &[u8]) -> SealedEvents {
        let index = self.index.0.to_be_bytes();
        let fields: [&[u8]; 7] =
            [&self.realm.0, &self.group.0, &index, TENANT.as_bytes(), &self.to.0, &ephemeral.0, sealed];
        let signature = signer().sign(&hash("strongroom told 2", &fields)).to_bytes().into();
        SealedEvents { ephemeral, sealed: sealed.to_vec().into(), signature }
    }
}

pub(crate) fn told(rng: &mut StdRng, place: u8, number: u64) -> Told {
    let user = "u".repeat(rng.random_range(0..60)) + &number.to_string();
    let what = What::ALL[rng.random_range(0..What::ALL.len())];
    Told {
        after: 0,
        place,
        what,
        guesses_left: rng.random_range(0..9),
        time: 1_796_069_703_120 + number,
        user,
    }
}

/// What was written of one group, and what it says.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) group: GroupId,
    pub(crate) to: Reach,
    pub(crate) next: u64,
    pub(crate) number: u64,
    /// What a reader has to be told, in order: index and event.
    pub(crate) told: Vec<(Index, Told)>,
}

impl Writer {
    pub(crate) fn new(group: GroupId) -> Self {
        Self { group, to: Reach::NOTHING, next: 0, number: 0, told: Vec::new() }
    }

    /// The next page, with so many entries.
    pub(crate) fn page(&mut self, rng: &mut StdRng, entries: usize) -> Page {
        let (after, first) = (self.to, self.next);
        let mut page = Page { group: self.group, after, to: after, first, written: 5, entries: Vec::new() };
        let mut index = after.index.0;
        for _ in 0..entries {
            index += rng.random_range(1..4);
            let (first, count) = (index, rng.random_range(1..4));
            let mut events = Vec::new();
            for place in 0..count {
                let after = u8::try_from(index - first).expect("few");
                events.push(Told { after, ..told(rng, place * 2, self.next) });
                self.told.extend(events.last().map(|told| (Index(index), told.clone())));
                self.next += 1;
                index += rng.random_range(0..3);
            }
            let sealed = Sealing::new(self.group, first).seal(rng, &plain(&events));
            let (first, last) = (Index(first), Index(index));
            page.entries.push(PageEntry { index: first, last, count, events: sealed });
        }
        index += rng.random_range(0..3);
        page.to = Reach { index: Index(index), hash: EntryHash([rng.random(); 32]) };
        (self.to, self.number) = (page.to, self.number + 1);
        page
    }
}

/// Streams in memory. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Memory(pub(crate) Arc<Mutex<Pages>>);

/// Pages by group and number.
pub(crate) type Pages = BTreeMap<(GroupId, u64), Vec<u8>>;

impl Memory {
    /// Has a writer write so many pages.
    pub(crate) fn write(&self, rng: &mut StdRng, writer: &mut Writer, pages: usize) {
        for _ in 0..pages {
            let (number, entries) = (writer.number, rng.random_range(0..5));
            self.put(writer.group, number, &writer.page(rng, entries));
        }
    }

    pub(crate) fn put(&self, group: GroupId, number: u64, page: &Page) {
        self.0.lock().unwrap().insert((group, number), page.encode().unwrap());
    }

    pub(crate) fn delete(&self, group: GroupId, numbers: RangeInclusive<u64>) {
        self.0.lock().unwrap().retain(|(of, number), _| *of != group || !numbers.contains(number));
    }

    pub(crate) fn get(&self, group: GroupId, number: u64) -> Page {
        Page::decode(&self.0.lock().unwrap()[&(group, number)]).unwrap()
    }

    /// Changes a page.
    pub(crate) fn change(&self, group: GroupId, number: u64, change: impl FnOnce(&mut Page)) {
        let mut page = self.get(group, number);
        change(&mut page);
        self.put(group, number, &page);
    }
}

impl Source for Memory {
    async fn groups(&self) -> Result<Vec<GroupId>, Unavailable> {
        Ok(self.0.lock().unwrap().keys().map(|(group, _)| *group).collect())
    }

    async fn page(&self, group: GroupId, number: u64) -> Result<Option<Vec<u8>>, Unavailable> {
        Ok(self.0.lock().unwrap().get(&(group, number)).cloned())
    }

    async fn oldest(&self, group: GroupId, from: u64) -> Result<Option<u64>, Unavailable> {
        let pages = self.0.lock().unwrap();
        Ok(pages.range((group, from)..=(group, u64::MAX)).next().map(|((_, number), _)| *number))
    }

    async fn newest(&self, group: GroupId) -> Result<Option<u64>, Unavailable> {
        let pages = self.0.lock().unwrap();
        Ok(pages.range((group, 0)..=(group, u64::MAX)).next_back().map(|((_, number), _)| *number))
    }
}
