//! Receipts: what a realm says of the requests on a record that counted, with the proof that it is in a log which others have seen
//! (`docs/protocol.md`, section 17; C2SP tlog-proof).
//!
//! The `extra` data of the proof are the signed list, its leaf is the entry that the list is of. A receipt is verified offline, with the
//! realm's statement alone. It says nothing of whose record it is: that is for whoever knows the registration.

use crate::checkpoint::VerifiedCheckpoint;
use crate::proof::ProofError;
use crate::statement::{RealmStatement, StatementError};
use crate::tlog_proof::{TlogProof, TlogProofError};
use crate::{ClaimedCheckpoint, TileReader, reader::ReadError, tile::Tile};
use core::fmt;
use ed25519_dalek::{Signature, VerifyingKey};
use strongroom_proto::client::AttemptsResponse;
use strongroom_proto::ids::{Ed25519Public, RealmId};

/// Why a receipt does not convince.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReceiptError {
    /// It is no proof, its checkpoint is none of the log or too few have cosigned it, or the entry is not in the tree.
    #[error(transparent)]
    Proof(#[from] TlogProofError),
    /// Its extra data are no list of requests, or one whose hashes do not fit.
    #[error(
        "the proof carries no list of requests that counted, or one that was changed; ask for the receipt as it was made"
    )]
    NoList,
    /// The list is of no entry, or of another than the proof.
    #[error(
        "the list is as of entry {listed}, and the proof is of leaf {proven}, which is not that entry's; the two do not belong together"
    )]
    Place {
        /// The entry.
        listed: u64,
        /// The leaf, from 0.
        proven: u64,
    },
    /// The realm in the statement has not signed the list.
    #[error("the realm in the statement has not signed the list; it was changed, or is of another realm")]
    Signature,
    /// With this statement nothing can be verified.
    #[error(transparent)]
    Statement(#[from] StatementError),
}

/// Why no receipt can be made of a list.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MakeError<E> {
    /// The tiles do not lead to the root, or cannot be had.
    #[error(transparent)]
    Read(#[from] ReadError<E>),
    /// The parts are none of a receipt.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
}

/// A receipt as a stranger gave it: nothing is verified but its form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimedReceipt {
    proof: TlogProof,
    list: AttemptsResponse,
}

impl ClaimedReceipt {
    /// The receipt of a list, under a checkpoint that covers it, by the tiles of that checkpoint's tree.
    ///
    /// # Errors
    /// [`MakeError::Read`], also if the checkpoint does not cover it; [`ReceiptError::Place`] if it is of no entry.
    pub fn make<E>(
        list: &AttemptsResponse,
        checkpoint: ClaimedCheckpoint,
        fetch: impl FnMut(Tile) -> Result<Vec<u8>, E>,
    ) -> Result<Self, MakeError<E>> {
        let leaf = leaf_of(list).ok_or(ReceiptError::Place { listed: 0, proven: 0 })?;
        let tree = checkpoint.claimed();
        let hashes = TileReader::open(tree.size(), tree.root(), fetch)?.inclusion(leaf)?;
        let proof =
            TlogProof::new(leaf, hashes, checkpoint).and_then(|proof| proof.with_extra(list.to_bytes()));
        Ok(Self { proof: proof.map_err(ReceiptError::from)?, list: list.clone() })
    }

    /// Parses a receipt. What [`Display`](fmt::Display) makes of it are the same bytes.
    ///
    /// # Errors
    /// [`ReceiptError::Proof`], [`ReceiptError::NoList`], [`ReceiptError::Place`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let proof = TlogProof::parse(bytes)?;
        let list = AttemptsResponse::from_bytes(proof.extra()).ok_or(ReceiptError::NoList)?;
        if leaf_of(&list) != Some(proof.index()) {
            return Err(ReceiptError::Place { listed: list.index.0, proven: proof.index() });
        }
        Ok(Self { proof, list })
    }

    /// The list, of which nothing is verified.
    #[must_use]
    pub const fn list(&self) -> &AttemptsResponse {
        &self.list
    }

    /// The proof that carries it.
    #[must_use]
    pub const fn proof(&self) -> &TlogProof {
        &self.proof
    }

    /// Verifies it: the realm in the statement has signed the list, and the entry that it is of is in the log of the group that it names,
    /// under a checkpoint with as many cosignatures as the statement asks for. Whether the statement is to be believed is for the caller.
    ///
    /// # Errors
    /// [`ReceiptError`], but for [`ReceiptError::NoList`].
    pub fn verify(&self, statement: &RealmStatement) -> Result<Receipt, ReceiptError> {
        verify_list(&self.list, &statement.realm, &statement.checkpoint_key)?;
        let policy = statement.policy_of(&self.list.group)?;
        let checkpoint = self.proof.verify(&self.list.hash, &policy)?;
        Ok(Receipt { list: self.list.clone(), checkpoint })
    }
}

impl fmt::Display for ClaimedReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.proof.fmt(f)
    }
}

/// A receipt that was verified: the realm counted these requests, as of an entry of a log that so many witnesses have seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    list: AttemptsResponse,
    checkpoint: VerifiedCheckpoint,
}

impl Receipt {
    /// The list. Its times are the host's word.
    #[must_use]
    pub const fn list(&self) -> &AttemptsResponse {
        &self.list
    }

    /// The checkpoint that covers it.
    #[must_use]
    pub const fn checkpoint(&self) -> &VerifiedCheckpoint {
        &self.checkpoint
    }
}

/// Verifies that this realm has signed a list.
///
/// # Errors
/// [`ReceiptError::Signature`], also for a key that is none.
pub fn verify_list(
    list: &AttemptsResponse,
    realm: &RealmId,
    key: &Ed25519Public,
) -> Result<(), ReceiptError> {
    let signature = Signature::from_bytes(&list.signature);
    let verified = VerifyingKey::from_bytes(&key.0)
        .and_then(|key| key.verify_strict(list.digest(realm).as_bytes(), &signature));
    verified.map_err(|_| ReceiptError::Signature)
}

/// The leaf of the entry that a list is of: entry 1 is leaf 0. None for entry 0, which no log has.
#[must_use]
pub const fn leaf_of(list: &AttemptsResponse) -> Option<u64> {
    list.index.0.checked_sub(1)
}

/// How a list stands to an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It goes on from there: so many requests have counted since, and none is left out.
    Whole {
        /// How many.
        new: u64,
    },
    /// It goes on from there by its count, but more have counted since than it names: whether any was left out cannot be told.
    TooMany {
        /// How many.
        new: u64,
    },
    /// It is of another registration, so it begins anew.
    Anew,
    /// Fewer have counted, as of a place of the same log that is no later: it is the older of the two.
    Older,
    /// It does not go on from there: the realm has said two things that do not fit together.
    Broken,
}

/// How a list stands to an earlier one of the same record.
#[must_use]
pub fn standing(list: &AttemptsResponse, earlier: &AttemptsResponse) -> Standing {
    if list.version != earlier.version {
        return Standing::Anew;
    }
    match (list.count.checked_sub(earlier.count), list.follows(earlier.count, &earlier.head)) {
        (Some(new), Some(true)) => Standing::Whole { new },
        (Some(new), None) => Standing::TooMany { new },
        (None, _) if list.group == earlier.group && list.index <= earlier.index => Standing::Older,
        _ => Standing::Broken,
    }
}

impl From<ProofError> for ReceiptError {
    fn from(error: ProofError) -> Self {
        Self::Proof(error.into())
    }
}
