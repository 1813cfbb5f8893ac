//! What a witness is asked, and what it answers (C2SP tlog-witness, `add-checkpoint`).

use crate::checkpoint::{CheckpointError, ClaimedCheckpoint};
use crate::note::{self, MAX_SIGNATURES, Signature};
use crate::text;
use core::fmt;
use strongroom_proto::ids::TreeHash;

/// The most hashes of a proof that a witness may be sent.
pub const MAX_PROOF: usize = 63;

/// The longest request in bytes.
pub const MAX_LEN: usize = note::MAX_LEN + (MAX_PROOF + 1) * 48;

/// The media type of the size that a witness answers with if it knows another one than the request says.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// Why a request cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// It is longer than [`MAX_LEN`], or the proof has more than [`MAX_PROOF`] hashes.
    #[error("a request has at most {MAX_LEN} bytes and {MAX_PROOF} hashes")]
    TooLong,
    /// It has not the lines of a request.
    #[error(
        "a request is a line `old SIZE`, the hashes of a consistency proof in base64, an empty line, and a checkpoint"
    )]
    Form,
    /// The checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// That a witness shall cosign a checkpoint. Nothing in it is verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddCheckpoint {
    /// The size of the tree that it cosigned last of this log, by what the one who asks knows.
    pub old: u64,
    /// The proof that the tree of the checkpoint begins with that of size `old`.
    pub proof: Vec<TreeHash>,
    /// The checkpoint.
    pub checkpoint: ClaimedCheckpoint,
}

impl AddCheckpoint {
    /// Parses the body of a request. What [`Display`](fmt::Display) makes of it are the same bytes.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > MAX_LEN {
            return Err(RequestError::TooLong);
        }
        let mut rest = core::str::from_utf8(bytes).map_err(|_| RequestError::Form)?;
        let mut line = || text::line(&mut rest).ok_or(RequestError::Form);
        let old = line()?.strip_prefix("old ").and_then(text::decimal).ok_or(RequestError::Form)?;
        let mut proof = vec![];
        loop {
            match line()? {
                "" => break,
                _ if proof.len() == MAX_PROOF => return Err(RequestError::TooLong),
                hash => proof.push(text::hash(hash).ok_or(RequestError::Form)?),
            }
        }
        Ok(Self { old, proof, checkpoint: ClaimedCheckpoint::parse(rest.as_bytes())? })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", text::of_hash(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// The signature lines that a witness answered with. None if it answered something else. Nothing is verified: put them under the
/// checkpoint with [`Note::with`](crate::note::Note::with), and verify that.
#[must_use]
pub fn parse_cosignatures(answer: &[u8]) -> Option<Vec<Signature>> {
    let lines = core::str::from_utf8(answer)
        .ok()
        .filter(|answer| answer.len() <= note::MAX_LEN)?
        .strip_suffix('\n')?;
    let found: Option<Vec<_>> = lines.split('\n').take(MAX_SIGNATURES + 1).map(Signature::parse).collect();
    found.filter(|found| found.len() <= MAX_SIGNATURES)
}

/// The size that a witness said it knows: a number and a newline.
#[must_use]
pub fn parse_size(answer: &[u8]) -> Option<u64> {
    text::decimal(core::str::from_utf8(answer).ok()?.strip_suffix('\n')?)
}
