//! Makes a receipt of a list, with the checkpoint and the tiles of the log that it is of.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use strongroom_proto::client::AttemptsResponse;
use strongroom_tlog::reader::tiles_for_inclusion;
use strongroom_tlog::receipt::{ReceiptError, leaf_of, verify_list};
use strongroom_tlog::tlog_proof::TlogProofError;
use strongroom_tlog::{ClaimedCheckpoint, ClaimedReceipt, RealmStatement, Tile};
use tokio::sync::watch;

use super::error::HeadError;
use super::fetch::{AT_ONCE, Asks, MAX_CHECKPOINT};
use crate::configuration::Realm;
use crate::error::Cause;
use crate::failure::Failure;
use crate::link::Link;
use crate::runtime::{Instant, sleep};

/// Between two looks at what is published.
const PAUSE: Duration = Duration::from_millis(500);

/// Why there is no receipt of a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptFailure {
    /// Nobody gave the statement of its realm.
    #[error("there is no statement of this realm; get the one that its custodians have signed, and name it")]
    NoStatement,
    /// The realm publishes no checkpoint of this log.
    #[error("it publishes no checkpoint of its log; its operator switched that off, or runs an older agent")]
    Unpublished,
    /// The newest checkpoint does not reach so far yet.
    #[error(
        "its newest checkpoint has {size} entries, and the list is as of entry {index}; try again in a few minutes"
    )]
    NotCovered {
        /// How many entries it has.
        size: u64,
        /// The entry.
        index: u64,
    },
    /// What it said or shows does not make a receipt that convinces. Too few cosignatures may be more a few minutes later.
    #[error("no receipt can be made: {0}")]
    Refused(#[from] ReceiptError),
    /// The tiles do not show that the entry is in the log. Says why.
    #[error("it does not show that the entry is in its log: {0}")]
    Unproven(String),
    /// The realm did not show what is needed.
    #[error("{0}")]
    Realm(Cause),
}

impl ReceiptFailure {
    /// Whether there may be one a moment later.
    const fn may_pass(&self) -> bool {
        match self {
            Self::Unpublished | Self::NotCovered { .. } | Self::Unproven(_) => true,
            Self::Refused(ReceiptError::Proof(_)) | Self::Realm(Cause::Transient(_)) => true,
            Self::NoStatement | Self::Refused(_) | Self::Realm(_) => false,
        }
    }
}

impl From<Failure> for ReceiptFailure {
    fn from(failure: Failure) -> Self {
        match failure.into_cause() {
            // The PIN, of which that cause speaks, is not in question here.
            Cause::Head(HeadError::Unproven(why)) => Self::Unproven(why),
            Cause::Head(HeadError::CannotGet) => {
                Self::Realm(Cause::Assertion("the transport cannot read with GET: implement Transport::get"))
            }
            cause => Self::Realm(cause),
        }
    }
}

impl Link {
    /// The receipt of what a realm said, as soon as enough witnesses have cosigned a checkpoint that covers it.
    pub(crate) async fn receipt(
        &self,
        realm: &Realm,
        statement: &RealmStatement,
        list: &AttemptsResponse,
        patience: Duration,
    ) -> Result<ClaimedReceipt, ReceiptFailure> {
        verify_list(list, &statement.realm, &statement.checkpoint_key)?;
        let began = Instant::now();
        loop {
            let failure = match self.receipt_now(realm, statement, list).await {
                Ok(receipt) => return Ok(receipt),
                Err(failure) => failure,
            };
            if !failure.may_pass() || began.elapsed() + PAUSE > patience {
                return Err(failure);
            }
            sleep(PAUSE).await;
        }
    }

    async fn receipt_now(
        &self,
        realm: &Realm,
        statement: &RealmStatement,
        list: &AttemptsResponse,
    ) -> Result<ClaimedReceipt, ReceiptFailure> {
        let (_needed, enough) = watch::channel(false);
        let path = format!("tlog/{}/checkpoint", list.group);
        let shown = self.read(realm, Asks::Anybody, &path, MAX_CHECKPOINT, &enough).await?;
        let shown = shown.ok_or(ReceiptFailure::Unpublished)?;
        let refused = |error| ReceiptFailure::Refused(TlogProofError::Checkpoint(error).into());
        let checkpoint = ClaimedCheckpoint::parse(&shown).map_err(refused)?;
        let (size, index) = (checkpoint.claimed().size(), list.index.0);
        let leaf = leaf_of(list).ok_or(ReceiptError::Place { listed: 0, proven: 0 })?;
        if size < index {
            return Err(ReceiptFailure::NotCovered { size, index });
        }
        // Before anything is fetched for a tree that no one has signed, whose size could be any.
        let policy = statement.policy_of(&list.group).map_err(ReceiptError::from)?;
        checkpoint.verify(&policy).map_err(refused)?;
        let unproven = |error: &dyn std::fmt::Display| ReceiptFailure::Unproven(error.to_string());
        let wanted = tiles_for_inclusion(leaf, size).map_err(|error| unproven(&error))?;
        let tiles = stream::iter(wanted).map(|tile| self.tile(realm, list.group, tile, &enough));
        let tiles: BTreeMap<_, _> = tiles.buffer_unordered(AT_ONCE).try_collect().await?;
        let fetch = |tile: Tile| tiles.get(&tile).cloned().ok_or("it was not fetched");
        let made = ClaimedReceipt::make(list, checkpoint, fetch).map_err(|error| unproven(&error))?;
        made.verify(statement)?;
        Ok(made)
    }
}
