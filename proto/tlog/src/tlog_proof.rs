//! Proofs to keep: that an entry is in a log, with all that is needed to verify it offline (C2SP tlog-proof).

use crate::checkpoint::{CheckpointError, ClaimedCheckpoint, Policy, VerifiedCheckpoint};
use crate::note;
use crate::proof::{MAX_INCLUSION, ProofError, verify_inclusion};
use crate::text;
use core::fmt;
use strongroom_proto::ids::{EntryHash, TreeHash};
use strongroom_proto::tlog::leaf;

/// The first line.
const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// The most extra data in bytes.
pub const MAX_EXTRA: usize = 64 * 1024;

/// The longest proof in bytes.
pub const MAX_LEN: usize = note::MAX_LEN + MAX_EXTRA.div_ceil(3) * 4 + (MAX_INCLUSION + 1) * 48;

/// Why a proof does not convince.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TlogProofError {
    /// It is longer than [`MAX_LEN`], or a part is longer than it may be.
    #[error(
        "the proof is too long: it has at most {MAX_LEN} bytes, {MAX_EXTRA} of extra data, and {MAX_INCLUSION} hashes"
    )]
    TooLong,
    /// It has not the lines of a proof.
    #[error("this is no proof: one begins with the line {FIRST_LINE}, and has to be copied whole")]
    Form,
    /// Its checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The entry is not in the tree of the checkpoint.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// An inclusion proof with a checkpoint, as a stranger gave them: nothing is verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlogProof {
    extra: Vec<u8>,
    index: u64,
    hashes: Vec<TreeHash>,
    checkpoint: ClaimedCheckpoint,
}

impl TlogProof {
    /// The proof for the leaf at `index` of the tree of a checkpoint.
    ///
    /// # Errors
    /// [`TlogProofError::TooLong`] if there are more than [`MAX_INCLUSION`] hashes.
    pub fn new(
        index: u64,
        hashes: Vec<TreeHash>,
        checkpoint: ClaimedCheckpoint,
    ) -> Result<Self, TlogProofError> {
        if hashes.len() > MAX_INCLUSION {
            return Err(TlogProofError::TooLong);
        }
        Ok(Self { extra: vec![], index, hashes, checkpoint })
    }

    /// The same with extra data, which nothing vouches for.
    ///
    /// # Errors
    /// [`TlogProofError::TooLong`] if it is longer than [`MAX_EXTRA`].
    pub fn with_extra(self, extra: Vec<u8>) -> Result<Self, TlogProofError> {
        if extra.len() > MAX_EXTRA { Err(TlogProofError::TooLong) } else { Ok(Self { extra, ..self }) }
    }

    /// Parses a proof. What [`Display`](fmt::Display) makes of it are the same bytes.
    ///
    /// # Errors
    /// [`TlogProofError`], but for [`TlogProofError::Proof`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        if bytes.len() > MAX_LEN {
            return Err(TlogProofError::TooLong);
        }
        let mut rest = core::str::from_utf8(bytes).map_err(|_| TlogProofError::Form)?;
        let mut line = || text::line(&mut rest).ok_or(TlogProofError::Form);
        if line()? != FIRST_LINE {
            return Err(TlogProofError::Form);
        }
        let mut next = line()?;
        let mut extra = vec![];
        if let Some(base64) = next.strip_prefix("extra ") {
            // Without extra data there is no such line.
            extra = text::base64(base64).filter(|extra| !extra.is_empty()).ok_or(TlogProofError::Form)?;
            next = line()?;
        }
        let index = next.strip_prefix("index ").and_then(text::decimal).ok_or(TlogProofError::Form)?;
        let mut hashes = vec![];
        loop {
            match line()? {
                "" => break,
                _ if hashes.len() == MAX_INCLUSION => return Err(TlogProofError::TooLong),
                hash => hashes.push(text::hash(hash).ok_or(TlogProofError::Form)?),
            }
        }
        let checkpoint = ClaimedCheckpoint::parse(rest.as_bytes())?;
        Self::new(index, hashes, checkpoint)?.with_extra(extra)
    }

    /// The place of the leaf, from 0. For the log of a group, entry 1 is leaf 0.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The hashes of the inclusion proof.
    #[must_use]
    pub fn hashes(&self) -> &[TreeHash] {
        &self.hashes
    }

    /// The checkpoint.
    #[must_use]
    pub const fn checkpoint(&self) -> &ClaimedCheckpoint {
        &self.checkpoint
    }

    /// The extra data. Nothing vouches for it.
    #[must_use]
    pub fn extra(&self) -> &[u8] {
        &self.extra
    }

    /// Verifies that the entry with this hash is in the log at [`Self::index`], by the word of those that the policy names.
    ///
    /// # Errors
    /// [`TlogProofError::Checkpoint`], [`TlogProofError::Proof`].
    pub fn verify(&self, entry: &EntryHash, policy: &Policy) -> Result<VerifiedCheckpoint, TlogProofError> {
        self.verify_leaf(&leaf(entry), policy)
    }

    /// The same for a leaf whose hash is known.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_leaf(
        &self,
        leaf: &TreeHash,
        policy: &Policy,
    ) -> Result<VerifiedCheckpoint, TlogProofError> {
        let verified = self.checkpoint.verify(policy)?;
        let tree = verified.checkpoint();
        verify_inclusion(self.index, tree.size(), leaf, &self.hashes, tree.root())?;
        Ok(verified)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", text::to_base64(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", text::of_hash(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
