//! The realm's keys, in the hands of the oracle alone.
//!
//! The oracle is an importer: two custodians approve its device key, and a core seals the seed to it by the protocol as
//! it is. What it then derives and opens is written here from `docs/protocol.md` and the C2SP page of XAES-256-GCM,
//! apart from the core: to go unnoticed, a mistake would have to be made twice. No step of the adversary may use
//! [`RealmKeys`]; the host's own sealing below needs none.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::aes::cipher::BlockCipherEncrypt;
use aes_gcm::{Aes256Gcm, KeyInit};
use blake2::digest::{FixedOutput, Update};
use blake2::{Blake2s256, Blake2sMac256, Digest as _};
use strongroom_proto::enrolment::{CustodianSignature, ExportApproval, SealedRealm};
use strongroom_proto::ids::{GroupId, HsmId, RealmId, RecordId, X25519Public};
use x25519_dalek::{PublicKey, StaticSecret};

/// `nonce ‖ ciphertext ‖ tag`.
const NONCE_BYTES: usize = 24;

/// What the oracle opens with.
pub(super) struct RealmKeys {
    pub(super) realm: RealmId,
    records: [u8; 32],
    events: [u8; 32],
    /// MACs of statements.
    pub(super) statements: [u8; 32],
    /// Seed of the key that signs checkpoints.
    pub(super) checkpoints: [u8; 32],
}

impl RealmKeys {
    /// Takes the seed from what a core sealed to `device`. `None` if it is not for this importer.
    pub(super) fn import(device: &[u8; 32], importer: HsmId, sealed: &SealedRealm) -> Option<Self> {
        let secret = StaticSecret::from(*device);
        let shared = secret.diffie_hellman(&PublicKey::from(sealed.ephemeral.0));
        let own = PublicKey::from(&secret).to_bytes();
        let key = export_key(shared.as_bytes(), &sealed.ephemeral.0, &own);
        let context = [sealed.realm.0, sealed.exporter.0, importer.0].concat();
        let plaintext = open(&key, &context, &sealed.sealed)?;
        let mut decoder = minicbor::Decoder::new(&plaintext);
        if decoder.array().ok()? != Some(4) || decoder.u8().ok()? != 2 {
            return None;
        }
        let seed: [u8; 32] = decoder.bytes().ok()?.try_into().ok()?;
        Some(Self::derive(sealed.realm, &seed))
    }

    fn derive(realm: RealmId, seed: &[u8; 32]) -> Self {
        let key = |label| mac(seed, label, &[&realm.0]);
        Self {
            realm,
            records: key("strongroom key records 1"),
            events: key("strongroom key events 1"),
            statements: key("strongroom key statements 1"),
            checkpoints: key("strongroom key checkpoints 1"),
        }
    }

    /// A record's plaintext.
    pub(super) fn open_record(&self, record: &RecordId, sealed: &[u8]) -> Option<Vec<u8>> {
        open(&self.records, &[&self.realm.0[..], &record.0].concat(), sealed)
    }

    /// An event's plaintext.
    pub(super) fn open_event(&self, group: &GroupId, sealed: &[u8]) -> Option<Vec<u8>> {
        open(&self.events, &[self.realm.0, group.0].concat(), sealed)
    }
}

/// The public key of a device.
pub(super) fn device_key(secret: &[u8; 32]) -> X25519Public {
    X25519Public(PublicKey::from(&StaticSecret::from(*secret)).to_bytes())
}

/// What the host puts into a sealed realm of its own.
pub(super) struct Hosts<'a> {
    pub(super) version: u8,
    pub(super) approval: &'a ExportApproval,
    pub(super) signatures: &'a [CustodianSignature],
}

/// The realm whose seed the host knows, and its public key.
pub(super) fn hosts_realm() -> (RealmId, X25519Public) {
    let realm = RealmId([0x68; 16]);
    let secret = mac(&HOSTS_SEED, "strongroom key noise 1", &[&realm.0]);
    (realm, device_key(&secret))
}

const HOSTS_SEED: [u8; 32] = [0x68; 32];

impl Hosts<'_> {
    /// Seals it to the device that the approval names, as an HSM of the realm would.
    pub(super) fn seal(&self) -> Option<SealedRealm> {
        let ExportApproval { realm, exporter, importer, device_key: to, .. } = self.approval.clone();
        let secret = StaticSecret::from([0x68; 32]);
        let ephemeral = PublicKey::from(&secret).to_bytes();
        let shared = secret.diffie_hellman(&PublicKey::from(to.0));
        let key = export_key(shared.as_bytes(), &ephemeral, &to.0);
        let mut plaintext = Vec::new();
        let mut encoder = minicbor::Encoder::new(&mut plaintext);
        encoder.array(4).ok()?.u8(self.version).ok()?.bytes(&HOSTS_SEED).ok()?;
        encoder.encode(self.approval).ok()?.encode(self.signatures).ok()?;
        let nonce = [0x68; NONCE_BYTES];
        let context = [realm.0, exporter.0, importer.0].concat();
        let (key, short) = extend(&key, &nonce);
        let payload = Payload { msg: &plaintext, aad: &context };
        let ciphertext = Aes256Gcm::new(&key.into()).encrypt(&short.into(), payload).ok()?;
        let sealed = [&nonce[..], &ciphertext].concat().into();
        Some(SealedRealm { realm, exporter, ephemeral: X25519Public(ephemeral), sealed })
    }
}

fn export_key(shared: &[u8; 32], ephemeral: &[u8; 32], device: &[u8; 32]) -> [u8; 32] {
    hash("strongroom export key 1", &[shared, ephemeral, device])
}

/// What was sealed under this key for this purpose.
pub(super) fn open(key: &[u8; 32], context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let (key, nonce) = extend(key, nonce);
    Aes256Gcm::new(&key.into()).decrypt(&nonce.into(), Payload { msg: ciphertext, aad: context }).ok()
}

/// The key and nonce of AES-256-GCM under which XAES-256-GCM encrypts with this key and nonce.
fn extend(key: &[u8; 32], nonce: &[u8; NONCE_BYTES]) -> ([u8; 32], [u8; 12]) {
    let aes = Aes256::new(&(*key).into());
    let mut mask = [0; 16].into();
    aes.encrypt_block(&mut mask);
    let doubled = u128::from_be_bytes(mask.into());
    // Doubling in the field of CMAC (NIST SP 800-38B).
    let doubled = doubled << 1 ^ if doubled >> 127 == 1 { 0x87 } else { 0 };
    let mut derived = [0; 32];
    for (counter, half) in (1..).zip(derived.chunks_exact_mut(16)) {
        let mut block = [0; 16];
        block[..4].copy_from_slice(&[0, counter, b'X', 0]);
        block[4..].copy_from_slice(&nonce[..12]);
        let mut block = (u128::from_be_bytes(block) ^ doubled).to_be_bytes().into();
        aes.encrypt_block(&mut block);
        half.copy_from_slice(&block);
    }
    let mut short = [0; 12];
    short.copy_from_slice(&nonce[12..]);
    (derived, short)
}

/// `be4(len(label)) ‖ label ‖ be4(len(field)) ‖ field ‖ …`
fn preimage(label: &str, fields: &[&[u8]]) -> Vec<u8> {
    let parts = std::iter::once(label.as_bytes()).chain(fields.iter().copied());
    parts.flat_map(|part| [&(part.len() as u32).to_be_bytes()[..], part].concat()).collect()
}

/// BLAKE2s-256 of a labelled preimage.
pub(super) fn hash(label: &str, fields: &[&[u8]]) -> [u8; 32] {
    Blake2s256::digest(preimage(label, fields)).into()
}

/// BLAKE2s-256 of two digests, with `node 2 ‖ be2(depth)` as its personalisation.
pub(super) fn node_hash(depth: u16, left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let personal = [&b"node 2"[..], &depth.to_be_bytes()].concat();
    let hash = Blake2sMac256::new_with_salt_and_personal(None, &[], &personal).expect("8 bytes");
    hash.chain(left).chain(right).finalize_fixed().into()
}

/// Keyed BLAKE2s-256 of a labelled preimage.
pub(super) fn mac(key: &[u8; 32], label: &str, fields: &[&[u8]]) -> [u8; 32] {
    let mut mac = Blake2sMac256::new(&(*key).into());
    mac.update(&preimage(label, fields));
    mac.finalize_fixed().into()
}
