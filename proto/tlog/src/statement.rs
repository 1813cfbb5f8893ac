//! What custodians say of their realm, for whoever checks it: one text, signed, that a client can pin.
//!
//! ```text
//! strongroom/<realm>/statement
//! version 3
//! noise-key <64 hex digits>
//! checkpoint-key <64 hex digits>
//! custodian <64 hex digits>          one line each, in the order of the policy
//! threshold 2
//! smallest-group 3                   if the policy says so
//! build <64 hex digits>              one line each
//! witness <NAME+ID+KEY>              one line each
//! cosignatures 1
//! ```
//!
//! It is a note (C2SP signed-note). Custodians sign it with the Ed25519 keys that they sign a founding with; each line under it names
//! its first line. Whatever else they sign is 32 bytes long, and no statement is, so neither can pass for the other.

use crate::checkpoint::{Policy, PolicyError};
use crate::key::{KeyError, KeyName, SignatureType, VerifierKey};
use crate::note::{Note, NoteError, Signature};
use crate::text;
use core::fmt;
use core::str::FromStr;
use strongroom_proto::checkpoint::origin;
use strongroom_proto::enrolment::{CustodianKey, Founding, MAX_CUSTODIANS, Part, RealmPolicy};
use strongroom_proto::ids::{BuildDigest, Ed25519Public, GroupId, HsmId, RealmId, X25519Public};

/// The most builds that a statement names.
pub const MAX_BUILDS: usize = 32;
/// The most witnesses that a statement names.
pub const MAX_WITNESSES: usize = 32;

/// What the console of every HSM of the realm shows in words, of what a statement says.
const ON_CONSOLES: [&str; 3] = ["public key", "policy", "checkpoint key"];

/// What is wrong with a statement.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StatementError {
    /// It is no note, or has a bad signature.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A line is missing, of another form, or one too many.
    #[error(
        "line {0} of the statement is not the one that belongs there; ask for the statement as its custodians signed it"
    )]
    Line(usize),
    /// Its policy is none: no custodians, keys that cannot sign or are there twice, a threshold that they cannot meet.
    #[error("the custodians, threshold and smallest group of the statement make no policy")]
    BadPolicy,
    /// Its keys and witnesses are none that a checkpoint could be verified with.
    #[error("no checkpoint can be verified with the statement: {0}")]
    Checkpoints(#[from] PolicyError),
    /// The checkpoint key or a custodian's is none that could sign.
    #[error("a key in the statement is of no use: {0}")]
    Key(#[from] KeyError),
    /// Too few of its custodians have signed it.
    #[error("{signed} of the realm's custodians have signed the statement, and {needed} must")]
    Unsigned {
        /// How many have.
        signed: usize,
        /// How many must.
        needed: usize,
    },
    /// It is of another realm, or other people's.
    #[error("the statement says another {0} than expected")]
    Other(&'static str),
}

/// What the custodians of a realm state of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RealmStatement {
    /// The realm.
    pub realm: RealmId,
    /// Which statement of this realm it is: of two, the one with the higher number counts.
    pub version: u64,
    /// The realm's Noise public key, which clients pin.
    pub noise_key: X25519Public,
    /// The key that signs checkpoints of the realm's groups.
    pub checkpoint_key: Ed25519Public,
    /// Who may let the realm's seed leave, and how small its groups may be.
    pub policy: RealmPolicy,
    /// What its HSMs run: the digests of all builds that custodians have approved and not withdrawn. At most [`MAX_BUILDS`].
    pub builds: Vec<BuildDigest>,
    /// Who is asked to cosign checkpoints. At most [`MAX_WITNESSES`].
    pub witnesses: Vec<VerifierKey>,
    /// How many of the witnesses must have cosigned a checkpoint.
    pub cosignatures: usize,
}

impl RealmStatement {
    /// The first line, which is the name of the keys that sign it as well.
    #[must_use]
    pub fn name(realm: &RealmId) -> String {
        format!("strongroom/{realm}/statement")
    }

    /// What a custodian's signatures under statements of the realm are verified with.
    ///
    /// # Errors
    /// [`KeyError::Point`].
    pub fn custodian(realm: &RealmId, key: &CustodianKey) -> Result<VerifierKey, KeyError> {
        let name = KeyName::new(Self::name(realm))?;
        VerifierKey::new(name, SignatureType::Ed25519, &Ed25519Public(key.0.0))
    }

    /// The line under the statement that says what this custodian signed: Ed25519 over [`Display`](fmt::Display) of it.
    ///
    /// # Errors
    /// [`KeyError::Point`].
    pub fn signature(&self, custodian: &CustodianKey, signature: [u8; 64]) -> Result<Signature, KeyError> {
        Ok(Signature::new(&Self::custodian(&self.realm, custodian)?, signature))
    }

    /// What people compare with the console of an HSM of the realm, part by part: public key, policy and checkpoint key.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let founding = Founding {
            realm: self.realm,
            public_key: self.noise_key,
            policy: self.policy.clone(),
            // Where the realm was made a statement does not say, and the parts for that are left out.
            hsm: HsmId([0; 16]),
            build: BuildDigest([0; 32]),
            checkpoint_key: Some(self.checkpoint_key),
        };
        let mut parts = founding.parts();
        parts.retain(|part| ON_CONSOLES.contains(&part.name));
        parts
    }

    /// Whom to believe about the log of one of the realm's groups, with so many cosignatures as the statement asks for.
    ///
    /// # Errors
    /// [`StatementError::Checkpoints`], [`StatementError::Key`].
    pub fn policy_of(&self, group: &GroupId) -> Result<Policy, StatementError> {
        let origin = origin(&self.realm, group);
        let name = KeyName::new(origin.clone())?;
        let key = VerifierKey::new(name, SignatureType::Ed25519, &self.checkpoint_key)?;
        Ok(Policy::of_log(origin, vec![key])?.with_witnesses(self.witnesses.clone(), self.cosignatures)?)
    }

    /// Reads the text, without its signatures. What [`Display`](fmt::Display) makes of it is the same text.
    ///
    /// # Errors
    /// [`StatementError`], but for [`StatementError::Unsigned`].
    pub fn parse(text: &str) -> Result<Self, StatementError> {
        let mut lines = Lines { rest: text, number: 0 };
        let first = lines.next().ok_or(StatementError::Line(1))?;
        let realm = first.strip_prefix("strongroom/").and_then(|rest| rest.strip_suffix("/statement"));
        let realm = realm.and_then(canonical).ok_or(StatementError::Line(1))?;
        let version = lines.number("version")?;
        let noise_key = lines.one("noise-key", canonical)?;
        let checkpoint_key = lines.one("checkpoint-key", canonical)?;
        let custodians = lines.many("custodian", MAX_CUSTODIANS, |text| canonical(text).map(CustodianKey))?;
        let threshold = lines.number("threshold")?;
        let smallest_group = match lines.is_next("smallest-group") {
            true => Some(lines.number("smallest-group")?),
            false => None,
        };
        let builds = lines.many("build", MAX_BUILDS, canonical)?;
        let witnesses = lines.many("witness", MAX_WITNESSES, canonical)?;
        let cosignatures = lines.number("cosignatures")?;
        if !lines.rest.is_empty() {
            return Err(StatementError::Line(lines.number + 1));
        }
        let policy = RealmPolicy { custodians, threshold, smallest_group };
        let statement =
            Self { realm, version, noise_key, checkpoint_key, policy, builds, witnesses, cosignatures };
        statement.check()?;
        Ok(statement)
    }

    /// Reads a statement, and checks that enough of the custodians that it names have signed it. Whether those are the right people
    /// is for the reader to say: compare [`Self::policy`], or pin the text.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn verify(note: &Note) -> Result<Self, StatementError> {
        let statement = Self::parse(note.text())?;
        let (signed, needed) = (statement.signers(note)?, usize::from(statement.policy.threshold));
        if signed < needed { Err(StatementError::Unsigned { signed, needed }) } else { Ok(statement) }
    }

    /// How many of its custodians have signed this note of it.
    ///
    /// # Errors
    /// [`StatementError::Note`] if a signature that names one of them is bad.
    pub fn signers(&self, note: &Note) -> Result<usize, StatementError> {
        if note.text() != self.to_string() {
            return Err(StatementError::Other("text"));
        }
        let keys = self.custodians()?;
        match note.verify(&keys) {
            Ok(signed) => Ok(signed.len()),
            Err(NoteError::Unsigned) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it makes sense, whoever signed it.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn check(&self) -> Result<(), StatementError> {
        if self.policy.threshold == 0 || !self.policy.is_valid() {
            return Err(StatementError::BadPolicy);
        }
        self.custodians()?;
        // Any group will do: they differ in the name alone.
        self.policy_of(&GroupId([0; 16]))?;
        Ok(())
    }

    fn custodians(&self) -> Result<Vec<VerifierKey>, StatementError> {
        let keys = self.policy.custodians.iter().map(|key| Self::custodian(&self.realm, key));
        Ok(keys.collect::<Result<_, _>>()?)
    }
}

impl fmt::Display for RealmStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Self::name(&self.realm))?;
        writeln!(f, "version {}", self.version)?;
        writeln!(f, "noise-key {}", self.noise_key)?;
        writeln!(f, "checkpoint-key {}", self.checkpoint_key)?;
        self.policy.custodians.iter().try_for_each(|key| writeln!(f, "custodian {}", key.0))?;
        writeln!(f, "threshold {}", self.policy.threshold)?;
        self.policy.smallest_group.iter().try_for_each(|fewest| writeln!(f, "smallest-group {fewest}"))?;
        self.builds.iter().try_for_each(|build| writeln!(f, "build {build}"))?;
        self.witnesses.iter().try_for_each(|witness| writeln!(f, "witness {witness}"))?;
        writeln!(f, "cosignatures {}", self.cosignatures)
    }
}

/// A value, if this is how it is written.
fn canonical<T: FromStr + fmt::Display>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|value| value.to_string() == text)
}

/// The lines of a statement that are still to be read.
struct Lines<'a> {
    rest: &'a str,
    /// How many were read.
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.number += 1;
        text::line(&mut self.rest)
    }

    /// Whether the next line says this.
    fn is_next(&self, what: &str) -> bool {
        self.rest.strip_prefix(what).is_some_and(|value| value.starts_with(' '))
    }

    fn one<T>(&mut self, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, StatementError> {
        let value =
            self.next().and_then(|line| line.strip_prefix(what)).and_then(|value| value.strip_prefix(' '));
        value.and_then(read).ok_or(StatementError::Line(self.number))
    }

    fn many<T>(
        &mut self,
        what: &str,
        most: usize,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, StatementError> {
        let mut all = Vec::new();
        while self.is_next(what) {
            all.push(self.one(what, &read)?);
            if all.len() > most {
                return Err(StatementError::Line(self.number));
            }
        }
        Ok(all)
    }

    fn number<T: TryFrom<u64>>(&mut self, what: &str) -> Result<T, StatementError> {
        self.one(what, |value| T::try_from(text::decimal(value)?).ok())
    }
}
