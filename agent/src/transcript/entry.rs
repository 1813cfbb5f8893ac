//! One line of a transcript: what people and programs read, in one form only.
//!
//! Ids, keys and digests are in hexadecimal, and nothing is said twice. Nothing in an entry is secret: a sealed realm is
//! named by its hash.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};
use strongroom_proto::hash::hash;
use strongroom_proto::ids::Digest;

/// The version of the form that [`Event::Begun`] names.
pub const FORMAT: u8 = 1;
/// The longest line, without the byte that ends it. A founding with nine signatures takes 3 KiB, an approval with an
/// attestation and nine signatures 8 KiB.
pub(super) const MAX_LINE_BYTES: usize = 32 << 10;
/// The hash of a line.
const ENTRY: &str = "strongroom transcript entry 1";
/// What custodians sign, of a transcript of a real ceremony.
const HEAD: &str = "strongroom transcript head 1";
/// The same of a rehearsal. Another label: the signature counts nowhere else, even if a key is used for both.
const REHEARSAL_HEAD: &str = "strongroom transcript rehearsal head 1";

/// This many bytes, in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> std::fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let HexBytes(bytes) = HexBytes::deserialize(deserializer)?;
        bytes.try_into().map(Self).map_err(|_| D::Error::custom("of another length"))
    }
}

/// Any number of bytes, in hexadecimal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HexBytes(pub Vec<u8>);

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(text).map(Self).map_err(|_| D::Error::custom("not hexadecimal"))
    }
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number, from 1.
    pub n: u32,
    /// The hash of the line before it; zeros in the first.
    pub prev: Hex<32>,
    /// The transcript, drawn when it was begun.
    pub transcript: Hex<16>,
    /// When, by the clock of the machine: `2026-11-30T09:30:00Z`.
    pub time: String,
    /// The program that wrote it, as it names itself.
    pub program: String,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[allow(clippy::large_enum_variant, reason = "one of them is held at a time")]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Event {
    /// The transcript begins: the first entry, and no other.
    Begun {
        /// [`FORMAT`].
        format: u8,
        /// Whether everything in it is a rehearsal.
        rehearsal: bool,
    },
    /// A step begins, with these inputs.
    Started(Step),
    /// The step that began last came to this.
    Done(Outcome),
    /// The step that began last failed, and nothing was done.
    Failed {
        /// What the person was told.
        why: String,
    },
    /// The step that began last may have been done: no answer that says so came back.
    Unknown {
        /// What the person was told.
        why: String,
    },
    /// A custodian has the ceremony end here.
    Ended {},
    /// A custodian signs all entries before this one.
    Signed(Sign),
}

/// A step, by its command, with what it was given.
#[allow(clippy::large_enum_variant, reason = "one of them is held at a time")]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Step {
    /// The realm is made.
    #[serde(rename = "realm create")]
    Create(Rules),
    /// A custodian compares the founding with the console, and signs it.
    #[serde(rename = "realm sign")]
    SignFounding {
        /// Who.
        custodian: Hex<32>,
        /// What.
        founding: Birth,
    },
    /// The founding is stored with its signatures.
    #[serde(rename = "realm found")]
    Found {
        /// What was signed.
        founding: Birth,
        /// By whom.
        signatures: Vec<Sign>,
    },
    /// An HSM asks to join.
    #[serde(rename = "hsm request")]
    Request {},
    /// An HSM that has the realm accepts a request.
    #[serde(rename = "hsm offer")]
    Offer {
        /// The realm that this HSM has.
        realm: Hex<16>,
        /// What asks.
        request: Request,
    },
    /// A custodian compares an approval with the console of the new HSM, and signs it.
    #[serde(rename = "hsm approve")]
    Approve {
        /// Who.
        custodian: Hex<32>,
        /// The founding that it was compared with.
        founding: Birth,
        /// What.
        approval: Approval,
    },
    /// An HSM seals the realm to another.
    #[serde(rename = "hsm export")]
    Export {
        /// What was approved.
        approval: Approval,
        /// By whom.
        signatures: Vec<Sign>,
    },
    /// An HSM opens the realm that was sealed to it.
    #[serde(rename = "hsm enrol")]
    Enrol {
        /// The realm, as the sealing names it.
        realm: Hex<16>,
        /// The hash of the sealed realm.
        sealed: Hex<32>,
    },
}

/// What a step came to, by its command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Outcome {
    /// The realm's founding.
    #[serde(rename = "realm create")]
    Created(Birth),
    /// The custodian's signature over the founding.
    #[serde(rename = "realm sign")]
    FoundingSigned(Sign),
    /// The signatures that are stored with the founding.
    #[serde(rename = "realm found")]
    Founded(Vec<Sign>),
    /// What the HSM asks.
    #[serde(rename = "hsm request")]
    Requested(Request),
    /// What custodians have to approve.
    #[serde(rename = "hsm offer")]
    Offered(Approval),
    /// The custodian's signature over the approval.
    #[serde(rename = "hsm approve")]
    Approved(Sign),
    /// The hash of the sealed realm.
    #[serde(rename = "hsm export")]
    Exported(Hex<32>),
    /// What the HSM says that it holds now.
    #[serde(rename = "hsm enrol")]
    Enrolled(Import),
}

/// A realm's policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The custodians' public keys.
    pub custodians: Vec<Hex<32>>,
    /// How many must approve.
    pub threshold: u8,
    /// The fewest HSMs of a group.
    pub smallest_group: Option<u8>,
}

/// The founding of a realm.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Birth {
    /// The realm.
    pub realm: Hex<16>,
    /// Its public key.
    pub public_key: Hex<32>,
    /// Its policy.
    pub policy: Rules,
    /// The HSM that made it.
    pub hsm: Hex<16>,
    /// What that ran, as it says.
    pub build: Hex<32>,
    /// The key of its checkpoints; older builds showed none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_key: Option<Hex<32>>,
}

/// What an HSM asks, to join.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Its id.
    pub hsm: Hex<16>,
    /// The key to which the realm is to be sealed.
    pub device_key: Hex<32>,
    /// What it runs, as it says.
    pub build: Hex<32>,
    /// Its nonce.
    pub nonce: Hex<16>,
    /// What its vendor says.
    pub attestation: HexBytes,
}

/// What custodians approve.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The realm.
    pub realm: Hex<16>,
    /// Its public key.
    pub public_key: Hex<32>,
    /// Its policy.
    pub policy: Rules,
    /// The HSM that exports it.
    pub from: Hex<16>,
    /// What that runs, as it says.
    pub from_build: Hex<32>,
    /// Its nonce.
    pub from_nonce: Hex<16>,
    /// The HSM that gets it.
    pub to: Request,
}

/// What an HSM says after it has imported a realm.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// The HSM.
    pub hsm: Hex<16>,
    /// Its device key.
    pub device_key: Hex<32>,
    /// What it runs, as it says.
    pub build: Hex<32>,
    /// The realm that it has.
    pub realm: Hex<16>,
    /// The public key of that.
    pub public_key: Hex<32>,
    /// The policy of that.
    pub policy: Rules,
    /// The HSM that exported it.
    pub from: Hex<16>,
    /// Whose signatures it checked.
    pub signed_by: Vec<Hex<32>>,
}

/// A custodian's signature.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// Whose.
    pub custodian: Hex<32>,
    /// Ed25519.
    pub signature: Hex<64>,
}

impl Entry {
    /// The line, without the byte that ends it.
    ///
    /// # Panics
    /// Never: an entry has no map and nothing that could fail to be written.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers")
    }

    /// The hash of the line, which the next entry has in it.
    #[must_use]
    pub fn hash(&self) -> Digest {
        line_hash(&self.line())
    }

    /// What custodians sign: all entries up to the one with this number and this hash.
    #[must_use]
    pub fn head(transcript: Hex<16>, rehearsal: bool, n: u32, last: Digest) -> Digest {
        let label = if rehearsal { REHEARSAL_HEAD } else { HEAD };
        hash(label, &[&transcript.0, &n.to_be_bytes(), &last.0])
    }
}

impl Step {
    /// The realm that it is about, if it says so.
    #[must_use]
    pub const fn realm(&self) -> Option<Hex<16>> {
        match self {
            Self::Create(_) | Self::Request {} => None,
            Self::SignFounding { founding, .. } | Self::Found { founding, .. } => Some(founding.realm),
            Self::Offer { realm, .. } | Self::Enrol { realm, .. } => Some(*realm),
            Self::Approve { approval, .. } | Self::Export { approval, .. } => Some(approval.realm),
        }
    }

    /// Its command.
    #[must_use]
    pub const fn command(&self) -> &'static str {
        match self {
            Self::Create(_) => "realm create",
            Self::SignFounding { .. } => "realm sign",
            Self::Found { .. } => "realm found",
            Self::Request {} => "hsm request",
            Self::Offer { .. } => "hsm offer",
            Self::Approve { .. } => "hsm approve",
            Self::Export { .. } => "hsm export",
            Self::Enrol { .. } => "hsm enrol",
        }
    }
}

/// The hash of a line.
#[must_use]
pub(super) fn line_hash(line: &str) -> Digest {
    hash(ENTRY, &[line.as_bytes()])
}
