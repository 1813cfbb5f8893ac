//! One moment of a database, open for reading.

use super::TreePlace;
use super::database::{TreeSettings, existing, failure, moka};
use super::gate::{Gate, ShutOnDrop};
use super::hold::Hold;
use object_store::ObjectStore;
use slatedb::config::DbReaderOptions;
use slatedb::{DbReader, DbReaderMode};
use std::sync::Arc;
use std::time::Duration;
use strongroom_replica::stored::TreeFailure;

/// Longer than anybody reads.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// A database as it was when it was opened for reading, until this is dropped.
pub(super) struct Moment {
    pub(super) db: DbReader,
    hold: Option<Hold>,
    _gate: ShutOnDrop,
}

impl Moment {
    /// Opens it as it is now. `None` if it does not exist. Writes nothing, unless it is to be held: then whoever writes
    /// it keeps what is read until [`Self::release`].
    pub(super) async fn open(
        objects: Arc<dyn ObjectStore>,
        place: &TreePlace,
        call_timeout: Duration,
        held: bool,
    ) -> Result<Option<Self>, TreeFailure> {
        let gate = ShutOnDrop(Gate::new(objects, call_timeout));
        let Some(at) = existing(&gate.0, place).await? else { return Ok(None) };
        let hold = match held {
            true => Some(Hold::take(Arc::new(gate.0.clone()), at.clone()).await?),
            false => None,
        };
        // Pages and leaves must be of one moment, so it never looks for a newer one.
        let options = DbReaderOptions {
            skip_wal_replay: true,
            manifest_poll_interval: NEVER,
            ..DbReaderOptions::default()
        };
        let db = DbReader::builder(at, Arc::new(gate.0.clone()))
            .with_reader_mode(hold.as_ref().map_or(DbReaderMode::FollowLatest, Hold::mode))
            .with_options(options)
            .with_db_cache(moka(TreeSettings::default().index_cache_bytes), 0)
            .build()
            .await
            .map_err(failure)?;
        Ok(Some(Self { db, hold, _gate: gate }))
    }

    /// What it read need not be kept any longer. Returns whether it was kept until now.
    pub(super) async fn release(self) -> bool {
        match self.hold {
            Some(hold) => hold.release().await,
            None => false,
        }
    }
}
