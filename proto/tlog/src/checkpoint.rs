//! Checkpoints: the size and the root of a log's tree, as a note that the log signs and witnesses cosign (C2SP
//! tlog-checkpoint).

use crate::key::{KeyName, SignatureType, VerifierKey};
use crate::note::{Note, NoteError, Signature, Signed};
use crate::text;
use core::fmt;
use strongroom_proto::ids::TreeHash;

/// What is wrong with a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It is no note, or not one of those who are trusted.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Its text has not the lines of a checkpoint.
    #[error(
        "the text is no checkpoint: an origin, a size without leading zeros, a root of 32 bytes in base64, a line each"
    )]
    Form,
    /// It is of another log.
    #[error("the checkpoint is of the log {found}, not of {expected}; ask for that of the right log")]
    Origin {
        /// The log that it is of.
        found: String,
        /// The log that was asked for.
        expected: String,
    },
    /// Too few witnesses have cosigned it.
    #[error(
        "{found} of the witnesses that are trusted have cosigned the checkpoint, and {needed} must; ask again later"
    )]
    Witnesses {
        /// How many have.
        found: usize,
        /// How many must.
        needed: usize,
    },
}

/// The text of a checkpoint. It proves nothing by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: TreeHash,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// The checkpoint of a log at this size, without extension lines.
    ///
    /// # Errors
    /// [`CheckpointError::Form`] if the origin is empty or more than a line.
    pub fn new(origin: impl Into<String>, size: u64, root: TreeHash) -> Result<Self, CheckpointError> {
        let origin = origin.into();
        if is_line(&origin) {
            Ok(Self { origin, size, root, extensions: vec![] })
        } else {
            Err(CheckpointError::Form)
        }
    }

    /// The same with these extension lines.
    ///
    /// # Errors
    /// [`CheckpointError::Form`] if one is empty or more than a line.
    pub fn with_extensions(self, extensions: Vec<String>) -> Result<Self, CheckpointError> {
        let lines = extensions.iter().all(|line| is_line(line));
        if lines { Ok(Self { extensions, ..self }) } else { Err(CheckpointError::Form) }
    }

    /// Parses the text of a checkpoint. What [`Display`](fmt::Display) makes of it is the same text.
    ///
    /// # Errors
    /// [`CheckpointError::Form`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut rest = text;
        let mut line = || text::line(&mut rest);
        let (Some(origin), Some(size), Some(root)) = (line(), line(), line()) else {
            return Err(CheckpointError::Form);
        };
        let mut extensions = vec![];
        while let Some(extension) = line() {
            extensions.push(extension.into());
        }
        let (Some(size), Some(root), true) = (text::decimal(size), text::hash(root), rest.is_empty()) else {
            return Err(CheckpointError::Form);
        };
        Self::new(origin, size, root)?.with_extensions(extensions)
    }

    /// The log: for the log of a group, [`strongroom_proto::checkpoint::origin`].
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    #[must_use]
    pub const fn root(&self) -> &TreeHash {
        &self.root
    }

    /// The lines after the root. No witness says anything about them.
    #[must_use]
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains('\n') && text::is_clean(text)
}

/// The text, with the newline at its end.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, text::of_hash(&self.root))?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// What is wrong with a [`Policy`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PolicyError {
    /// The origin is no line.
    #[error("the origin of a log is one line, and not empty")]
    Origin,
    /// There is no key of the log.
    #[error("a log needs a key")]
    NoKey,
    /// A key is for signatures of another type.
    #[error("the key of {0} is for another purpose: logs have keys of type 0x01, witnesses of type 0x04")]
    Type(KeyName),
    /// A key is there twice.
    #[error("the key of {0} is there twice; two witnesses with one key are one witness")]
    Twice(KeyName),
    /// Fewer witnesses than must cosign.
    #[error("{needed} witnesses must cosign, but only {known} are known")]
    TooFew {
        /// How many must.
        needed: usize,
        /// How many there are.
        known: usize,
    },
}

/// Whom one believes about a log: its keys, witnesses, and how many of these must have cosigned.
#[derive(Clone, Debug)]
pub struct Policy {
    origin: String,
    /// Those of the log, then those of the witnesses.
    keys: Vec<VerifierKey>,
    witnesses_needed: usize,
}

impl Policy {
    /// Believes the log itself.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn of_log(origin: impl Into<String>, keys: Vec<VerifierKey>) -> Result<Self, PolicyError> {
        let origin = origin.into();
        if !is_line(&origin) {
            return Err(PolicyError::Origin);
        }
        if keys.is_empty() {
            return Err(PolicyError::NoKey);
        }
        Self { origin, keys: vec![], witnesses_needed: 0 }.and(keys, SignatureType::Ed25519)
    }

    /// Also wants cosignatures of `needed` of these witnesses.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn with_witnesses(self, witnesses: Vec<VerifierKey>, needed: usize) -> Result<Self, PolicyError> {
        let mut all = self.and(witnesses, SignatureType::Cosignature)?;
        let known = all.keys.iter().filter(|key| key.kind() == SignatureType::Cosignature).count();
        if needed > known {
            return Err(PolicyError::TooFew { needed, known });
        }
        all.witnesses_needed = needed;
        Ok(all)
    }

    /// The log.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    fn and(mut self, keys: Vec<VerifierKey>, kind: SignatureType) -> Result<Self, PolicyError> {
        for key in keys {
            if key.kind() != kind {
                return Err(PolicyError::Type(key.name().clone()));
            }
            if self.keys.iter().any(|known| known.public() == key.public()) {
                return Err(PolicyError::Twice(key.name().clone()));
            }
            self.keys.push(key);
        }
        Ok(self)
    }
}

/// A checkpoint as a stranger gave it: nothing in it is verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimedCheckpoint {
    claimed: Checkpoint,
    note: Note,
}

impl ClaimedCheckpoint {
    /// Parses a signed checkpoint. What [`Display`](fmt::Display) makes of it are the same bytes.
    ///
    /// # Errors
    /// [`CheckpointError::Form`], and [`CheckpointError::Note`] if it is no note.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        Note::parse(bytes)?.try_into()
    }

    /// The log that it says it is of: to look up whom to believe about it.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.claimed.origin()
    }

    /// The text as it is claimed.
    #[must_use]
    pub const fn claimed(&self) -> &Checkpoint {
        &self.claimed
    }

    /// The note.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// Verifies it. Signatures of keys that the policy does not name are ignored.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`]; [`CheckpointError::Note`] if no key of the log has signed it, or any signature of a key that
    /// the policy names is bad; [`CheckpointError::Witnesses`].
    pub fn verify(&self, policy: &Policy) -> Result<VerifiedCheckpoint, CheckpointError> {
        if self.claimed.origin != policy.origin {
            let (found, expected) = (self.claimed.origin.clone(), policy.origin.clone());
            return Err(CheckpointError::Origin { found, expected });
        }
        let signed = self.note.verify(&policy.keys)?;
        if !signed.iter().any(|signed| signed.key.kind() == SignatureType::Ed25519) {
            return Err(NoteError::Unsigned.into());
        }
        let witness = |signed: &Signed<'_>| Some((signed.key.name().clone(), signed.time?));
        let witnesses: Vec<(KeyName, u64)> = signed.iter().filter_map(witness).collect();
        let (found, needed) = (witnesses.len(), policy.witnesses_needed);
        if found < needed {
            return Err(CheckpointError::Witnesses { found, needed });
        }
        let of_log =
            |line: &&Signature| signed.iter().any(|signed| signed.time.is_none() && line.is_of(signed.key));
        let lines = self.note.signatures().iter().filter(of_log).cloned().collect();
        let evidence = Note::new(self.note.text(), lines)?;
        Ok(VerifiedCheckpoint { checkpoint: self.claimed.clone(), evidence, witnesses })
    }
}

impl TryFrom<Note> for ClaimedCheckpoint {
    type Error = CheckpointError;

    fn try_from(note: Note) -> Result<Self, CheckpointError> {
        Ok(Self { claimed: Checkpoint::parse(note.text())?, note })
    }
}

impl fmt::Display for ClaimedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

/// A checkpoint that satisfied a [`Policy`]: the log signed it, and so many witnesses cosigned it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    evidence: Note,
    witnesses: Vec<(KeyName, u64)>,
}

impl VerifiedCheckpoint {
    /// The checkpoint.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note with the signatures of the log alone: evidence, should the log sign another one that does not fit.
    #[must_use]
    pub const fn evidence(&self) -> &Note {
        &self.evidence
    }

    /// Which witnesses have cosigned it, and when, in seconds since 1970 by their own clocks.
    #[must_use]
    pub fn witnesses(&self) -> &[(KeyName, u64)] {
        &self.witnesses
    }
}
