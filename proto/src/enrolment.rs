//! How a realm is born in one HSM and reaches the others, and what people compare and sign on the way.
//!
//! Two things here need the custodians' signatures: the [`Founding`] of a realm, and each [`ExportApproval`]. Both name the
//! realm's public key, which commits to its seed. (A third is a tenant's key: [`crate::events`].) Before they sign, custodians compare what they were handed with what
//! the device shows on its own console ([`DeviceIdentity`], [`Founding`]): a host can make a key pair and call it an
//! HSM, and can make a realm and call it theirs.

use crate::bounded::at_most;
use crate::fingerprint::Fingerprint;
use crate::hash::{hash, label};
use crate::ids::{BuildDigest, Digest, Ed25519Public, HsmId, Nonce, RealmId, X25519Public};
use crate::statement::MAX_MEMBERS;
use alloc::vec::Vec;
use core::fmt;
use ed25519_dalek::{Signature, VerifyingKey};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::decode::Error as DecodeError;
use minicbor::{Decode, Decoder, Encode};

#[cfg(feature = "outside")]
mod ceremony;

#[cfg(feature = "outside")]
pub use ceremony::{EnrolmentRequest, FoundingStatement};

/// The most custodians that a realm's policy can name.
pub const MAX_CUSTODIANS: usize = 9;
/// The longest attestation by a device's vendor, in bytes.
pub const MAX_ATTESTATION_BYTES: usize = 2048;

/// Who may let a realm's seed leave for another HSM, and how small its groups may be. Fixed when the realm is made;
/// travels with the seed.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct RealmPolicy {
    /// Ed25519 public keys, at most [`MAX_CUSTODIANS`], all different. None: the seed can never leave.
    #[cbor(n(0), decode_with = "at_most::<MAX_CUSTODIANS, _, _>")]
    pub custodians: Vec<CustodianKey>,
    /// How many of them must approve; from 1 to their number, or 0 when there are none.
    #[n(1)]
    pub threshold: u8,
    /// The fewest members of a group, from 1 to [`MAX_MEMBERS`]. None: one will do.
    #[n(2)]
    pub smallest_group: Option<u8>,
}

impl RealmPolicy {
    /// Whether the number of keys and the threshold make sense together, the keys are all different and can sign, and
    /// a group can have as many members as the smallest must.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let (n, threshold) = (self.custodians.len(), usize::from(self.threshold));
        // The number first: comparing each with each is cheap only for a few.
        n <= MAX_CUSTODIANS
            && threshold <= n
            && (threshold == 0) == (n == 0)
            && self.smallest_group.is_none_or(|fewest| (1..=MAX_MEMBERS).contains(&usize::from(fewest)))
            && self.custodians.iter().all(|key| key.verifying().is_some())
            && self
                .custodians
                .iter()
                .enumerate()
                .all(|(i, k)| !self.custodians.iter().take(i).any(|o| o == k))
    }

    /// Which custodians of this policy signed exactly `digest`: bit i for the i-th. Strangers' signatures, a second one
    /// by the same custodian, and signatures over anything else count for nothing.
    #[must_use]
    pub fn signers(&self, digest: &Digest, signatures: &[CustodianSignature]) -> u16 {
        let signed = |key: &CustodianKey| signatures.iter().any(|s| s.custodian == *key && s.is_of(digest));
        let custodians = self.custodians.iter().take(MAX_CUSTODIANS).enumerate();
        custodians.fold(0, |bits, (i, key)| if signed(key) { bits | 1 << i } else { bits })
    }

    /// Whether this many [`Self::signers`] are enough. Under a closed policy no number is.
    #[must_use]
    pub fn is_enough(&self, signers: u16) -> bool {
        self.threshold >= 1 && signers.count_ones() >= u32::from(self.threshold)
    }

    /// The policy as one string of bytes: `threshold ‖ key ‖ key ‖ …`, and then `smallest_group` if it is there.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::from([self.threshold]);
        self.custodians.iter().for_each(|key| bytes.extend_from_slice(key.0.as_bytes()));
        bytes.extend(self.smallest_group);
        bytes
    }
}

/// A custodian's Ed25519 public key (RFC 8032), 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct CustodianKey(#[n(0)] pub Digest);

impl CustodianKey {
    /// The key, unless it is not a valid key, or is one of small order, under which anything counts as signed.
    fn verifying(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_bytes(self.0.as_bytes()).ok().filter(|key| !key.is_weak())
    }
}

/// One custodian's signature over [`ExportApproval::digest`] or [`Founding::digest`].
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct CustodianSignature {
    /// Whose signature it is.
    #[n(0)]
    pub custodian: CustodianKey,
    /// Ed25519 signature, 64 bytes.
    #[n(1)]
    pub signature: ByteArray<64>,
}

impl CustodianSignature {
    /// Whether the custodian it names made it over these 32 bytes (RFC 8032, checked strictly: canonical S, no point of
    /// small order).
    #[must_use]
    pub fn is_of(&self, digest: &Digest) -> bool {
        let signature = Signature::from_bytes(&self.signature);
        self.custodian.verifying().is_some_and(|key| key.verify_strict(digest.as_bytes(), &signature).is_ok())
    }
}

/// What a device's vendor attests about it, over a digest that it is given; at most [`MAX_ATTESTATION_BYTES`], in the
/// vendor's own format. Empty where there is none: an emulated device has none, and only its console vouches for it.
#[derive(Clone, PartialEq, Eq, Debug, Encode)]
#[cbor(transparent)]
pub struct Attestation(#[n(0)] pub ByteVec);

impl Attestation {
    /// No vendor attests anything.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new().into())
    }

    /// This, or none if it is longer than [`MAX_ATTESTATION_BYTES`].
    #[must_use]
    pub fn bounded(self) -> Self {
        if self.0.len() > MAX_ATTESTATION_BYTES { Self::none() } else { self }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'b, C> Decode<'b, C> for Attestation {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let at = d.position();
        let bytes = d.bytes()?;
        if bytes.len() > MAX_ATTESTATION_BYTES {
            return Err(DecodeError::message("an attestation of more than 2,048 bytes").at(at));
        }
        Ok(Self(bytes.to_vec().into()))
    }
}

/// What the console of an HSM says about a realm's keys if they were made in it. A founding is signed only if it says
/// so.
pub const DRAWN_HERE: &str = "drawn here";

/// What tells one device from all others, including a fake one. Its console shows each part in words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceIdentity {
    /// Its id.
    pub hsm: HsmId,
    /// The key to which a realm is sealed for it.
    pub device_key: X25519Public,
    /// What it runs.
    pub build: BuildDigest,
}

impl DeviceIdentity {
    /// The 32 bytes over which a vendor attests the device.
    #[must_use]
    pub fn digest(&self) -> Digest {
        hash(label::DEVICE, &[self.hsm.as_bytes(), self.device_key.as_bytes(), self.build.as_bytes()])
    }

    /// What people compare, part by part.
    #[must_use]
    pub fn parts(&self) -> [Part; 3] {
        [
            Part::new("HSM id", &[self.hsm.as_bytes()]),
            // Together with the id, which is drawn with the key, so no table of keys serves for two devices.
            Part::new("device key", &[self.hsm.as_bytes(), self.device_key.as_bytes()]),
            Part::new("build", &[self.build.as_bytes()]),
        ]
    }
}

/// The birth of a realm: which seed, under which policy, in which HSM. Custodians sign it once they have read the same
/// on the console of that HSM; whoever believes the custodians then knows the realm's public key.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Founding {
    /// The realm.
    #[n(0)]
    pub realm: RealmId,
    /// Its Noise public key, which commits to its seed.
    #[n(1)]
    pub public_key: X25519Public,
    /// Who may let the seed leave.
    #[n(2)]
    pub policy: RealmPolicy,
    /// The HSM that drew the seed.
    #[n(3)]
    pub hsm: HsmId,
    /// What that HSM ran.
    #[n(4)]
    pub build: BuildDigest,
    /// The key that signs checkpoints of its groups. `None` in foundings that older builds showed.
    #[n(5)]
    pub checkpoint_key: Option<Ed25519Public>,
}

impl Founding {
    /// The 32 bytes that custodians sign with Ed25519, and over which a vendor attests the making of the realm, if it
    /// was made in its device.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let policy = self.policy.to_bytes();
        let fields: [&[u8]; 5] = [
            self.realm.as_bytes(),
            self.public_key.as_bytes(),
            &policy,
            self.hsm.as_bytes(),
            self.build.as_bytes(),
        ];
        match &self.checkpoint_key {
            None => hash(label::FOUNDING_1, &fields),
            Some(key) => hash(label::FOUNDING, &[&fields[..], &[key.as_bytes()]].concat()),
        }
    }

    /// What people compare, part by part.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        // Together with the realm, which is drawn after the policy is fixed, so nobody can prepare two policies, or
        // a key, with the same words.
        let of_realm = |name, field: &[u8]| Part::new(name, &[self.realm.as_bytes(), field]);
        let mut parts = Vec::from([
            Part::new("HSM id", &[self.hsm.as_bytes()]),
            Part::new("build", &[self.build.as_bytes()]),
            Part::new("realm", &[self.realm.as_bytes()]),
            of_realm("public key", self.public_key.as_bytes()),
            of_realm("policy", &self.policy.to_bytes()),
        ]);
        parts.extend(self.checkpoint_key.map(|key| of_realm("checkpoint key", key.as_bytes())));
        parts
    }
}

/// One thing that a console shows and a person compares: its name, and the words that stand for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// Its words.
    pub words: Fingerprint,
}

impl Part {
    fn new(name: &'static str, fields: &[&[u8]]) -> Self {
        Self { name, words: Fingerprint::of(name, fields) }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:14}  {}", self.name, self.words)
    }
}

/// What custodians approve: this exporter gives the seed behind this public key to this device, once.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct ExportApproval {
    /// The realm whose seed leaves.
    #[n(0)]
    pub realm: RealmId,
    /// The realm's Noise public key. The importer derives it from the seed that it is given, and compares.
    #[n(1)]
    pub public_key: X25519Public,
    /// The HSM that holds the seed.
    #[n(2)]
    pub exporter: HsmId,
    /// What it says that it runs.
    #[n(3)]
    pub exporter_build: BuildDigest,
    /// A nonce that the exporter drew for this one export.
    #[n(4)]
    pub exporter_nonce: Nonce,
    /// The device that is to receive the seed.
    #[n(5)]
    pub importer: HsmId,
    /// The importer's device key; the seed is sealed to it.
    #[n(6)]
    pub device_key: X25519Public,
    /// What the importer says that it runs. The importer refuses another; whether to trust it is for custodians to say.
    #[n(7)]
    pub importer_build: BuildDigest,
    /// A nonce that the importer drew for this one import.
    #[n(8)]
    pub importer_nonce: Nonce,
    /// What the importer's vendor says of it, over [`DeviceIdentity::digest`].
    #[n(9)]
    pub attestation: Attestation,
    /// The realm's policy. It goes with the seed, so no host can choose another that the same signatures satisfy.
    #[n(10)]
    pub policy: RealmPolicy,
}

impl ExportApproval {
    /// The 32 bytes that custodians sign with Ed25519.
    #[must_use]
    pub fn digest(&self) -> Digest {
        hash(
            label::EXPORT,
            &[
                self.realm.as_bytes(),
                self.public_key.as_bytes(),
                self.exporter.as_bytes(),
                self.exporter_build.as_bytes(),
                self.exporter_nonce.as_bytes(),
                self.importer.as_bytes(),
                self.device_key.as_bytes(),
                self.importer_build.as_bytes(),
                self.importer_nonce.as_bytes(),
                &self.attestation.0,
                &self.policy.to_bytes(),
            ],
        )
    }

    /// The device that it is for.
    #[must_use]
    pub const fn importer(&self) -> DeviceIdentity {
        DeviceIdentity { hsm: self.importer, device_key: self.device_key, build: self.importer_build }
    }
}

/// A realm's seed with the approval, the policy in it, and its signatures, sealed to one device key.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct SealedRealm {
    /// The realm, as the exporter claims it; authenticated by the sealing.
    #[n(0)]
    pub realm: RealmId,
    /// The HSM that sealed it.
    #[n(1)]
    pub exporter: HsmId,
    /// The X25519 key made for this one export.
    #[n(2)]
    pub ephemeral: X25519Public,
    /// XAES-256-GCM: 24-byte nonce, ciphertext, 16-byte tag.
    #[n(3)]
    pub sealed: ByteVec,
}
