//! The demand for a head of a realm's log before a guess is spent there: cosigned by witnesses, not old, and not gone back.
//!
//! A host that owns a realm's HSMs as well, and takes their memory back together with the store, gives itself the guesses back. It
//! cannot take back what witnesses and this user have seen: the log would be shorter than it was, or another. So an application may
//! demand, for each realm, to see the newest checkpoint of the log that has the user's record. The rules are in [`check`], which is
//! pure; [`fetch`] brings what they need. With the same, [`receipt`] makes receipts of what realms say of a record.
//!
//! Nothing that is fetched is believed: the realm's key signs checkpoints, witnesses cosign them, tiles lead to the root. What is
//! believed is the statement that the application gives, the device's clock, and the [`HeadMemory`].

mod check;
mod demand;
mod error;
mod fetch;
mod memory;
mod receipt;

pub(crate) use demand::check as check_demands;
pub use demand::{CLOCK_SKEW, DemandError, HeadDemand};
pub use error::{Evidence, HeadError};
pub(crate) use fetch::Asks;
pub use memory::{ForgetfulMemory, HeadMemory, MemoryError};
pub use receipt::ReceiptFailure;

use std::collections::BTreeMap;
use std::sync::Arc;

use strongroom_proto::ids::RealmId;
use tokio::sync::Mutex;

/// What an application demands of its realms' logs.
pub(crate) struct Heads {
    demands: BTreeMap<RealmId, Demanded>,
    memory: Arc<dyn HeadMemory>,
}

/// What is demanded of one realm.
pub(crate) struct Demanded {
    demand: HeadDemand,
    /// Recoveries at the same time look one after another: what one remembers is what the next compares with.
    turn: Mutex<()>,
}

impl Heads {
    pub(crate) fn new(demands: Vec<HeadDemand>, memory: Arc<dyn HeadMemory>) -> Self {
        let demanded = |demand: HeadDemand| (demand.realm(), Demanded { demand, turn: Mutex::default() });
        Self { demands: demands.into_iter().map(demanded).collect(), memory }
    }

    /// What is demanded of this realm, if anything.
    pub(crate) fn of(&self, realm: &RealmId) -> Option<&Demanded> {
        self.demands.get(realm)
    }
}
