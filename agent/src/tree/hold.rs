//! Holding one moment of a tree for a reader that takes longer than merged files stay.
//!
//! The hold is a checkpoint in the database's manifest. It ends by itself soon after its reader is gone, so that one
//! that is killed keeps nothing for long.

use super::database::failure;
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use slatedb::admin::{Admin, AdminBuilder};
use slatedb::config::CheckpointOptions;
use slatedb::{CheckpointCreateResult, DbReaderMode};
use std::sync::Arc;
use std::time::Duration;
use strongroom_replica::stored::TreeFailure;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::warn;

/// How long a hold lasts after it was last renewed, and how often it is. What is given up in between holds that long.
const LIFETIME: Duration = Duration::from_secs(600);
const RENEWAL: Duration = Duration::from_secs(120);

/// A moment that is held until this is dropped, and for [`LIFETIME`] after that unless it is released.
pub(super) struct Hold {
    admin: Arc<Admin>,
    held: CheckpointCreateResult,
    renewing: JoinHandle<()>,
}

impl Hold {
    /// Holds what the database at a place is now.
    // Durable: the checkpoint is in the manifest before anything is read under it.
    pub(super) async fn take(objects: Arc<dyn ObjectStore>, place: ObjectPath) -> Result<Self, TreeFailure> {
        let admin = Arc::new(AdminBuilder::new(place, objects).build());
        let options = CheckpointOptions { lifetime: Some(LIFETIME), ..CheckpointOptions::default() };
        let held = admin.create_detached_checkpoint(&options).await.map_err(failure)?;
        let renewing = tokio::spawn(renew(Arc::clone(&admin), held.clone()));
        Ok(Self { admin, held, renewing })
    }

    /// How it is read.
    pub(super) const fn mode(&self) -> DbReaderMode {
        DbReaderMode::Checkpoint(self.held.id)
    }

    /// Ends it, and returns whether it lasted until now. If it cannot be ended, it ends by itself.
    pub(super) async fn release(self) -> bool {
        self.renewing.abort();
        let lasted = self.admin.refresh_checkpoint(self.held.id, Some(LIFETIME)).await.is_ok();
        if let Err(error) = self.admin.delete_checkpoint(self.held.id).await {
            warn!(%error, "what was held of the tree is held for some minutes more");
        }
        lasted
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

async fn renew(admin: Arc<Admin>, held: CheckpointCreateResult) {
    loop {
        sleep(RENEWAL).await;
        if let Err(error) = admin.refresh_checkpoint(held.id, Some(LIFETIME)).await {
            warn!(%error, "what is held of the tree could not be held for longer");
        }
    }
}
