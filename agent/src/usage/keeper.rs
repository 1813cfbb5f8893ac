//! An agent's counting: the ledger, a clock, and the store to which it is written now and then.

use super::date::{Day, Month};
use super::ledger::{Ledger, Place};
use super::tally::Used;
use crate::clock::Clock;
use crate::store::{Purpose, Store};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::hash::mac;
use strongroom_proto::ids::{Digest, Mac};
use strongroom_replica::CreateOutcome;
use tokio::time::sleep;

/// The label of a user's number. Here and not in proto, because no HSM and no client knows it.
const USER: &str = "strongroom usage user 1";

/// The number that stands for a tenant's user in the sheets of one month: the first 8 bytes of a MAC under the key of
/// record ids, which all agents of the realm have and the store has not.
///
/// Only agents can say whose number it is, or that it belongs to a record id; and each month, users have other ones.
#[must_use]
pub fn user_number(record_id_key: &Digest, month: Month, tenant: &str, user: &str) -> u64 {
    let month = month.to_string();
    let fields = [month.as_bytes(), tenant.as_bytes(), user.as_bytes()];
    let Mac(Digest(bytes)) = mac(&record_id_key.0, USER, &fields);
    let mut first = [0; 8];
    first.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    u64::from_be_bytes(first)
}

/// What an agent counts, and where it writes that.
pub struct Usage {
    ledger: Mutex<Ledger>,
    /// Held while editions are written: one after another, or an older one could be the last to be deleted.
    writing: tokio::sync::Mutex<()>,
    store: Store,
    clock: Clock,
}

impl Usage {
    /// Counts by this clock, in Unix seconds, and writes to this store. `number` is for [`Ledger::new`].
    #[must_use]
    pub fn new(store: &Store, clock: Clock, number: u64) -> Self {
        let (ledger, writing) = (Mutex::new(Ledger::new(number)), tokio::sync::Mutex::new(()));
        Self { ledger, writing, store: store.with_purpose(Purpose::Usage), clock }
    }

    /// The day that it is.
    #[must_use]
    pub fn today(&self) -> Day {
        Day::at((self.clock)())
    }

    /// Counts one request. Waits for nothing but another who counts.
    pub fn count(&self, place: Place, used: &Used<'_>) {
        self.ledger.lock().count(place, used);
    }

    /// Writes every so often, without an end.
    pub async fn run(self: Arc<Self>, every: Duration) {
        loop {
            sleep(every).await;
            self.write().await;
        }
    }

    /// Writes what is not written yet. Returns whether all of it is. May be dropped at any point: then the next call writes
    /// it again, in another edition.
    pub async fn write(&self) -> bool {
        let _turn = self.writing.lock().await;
        let editions = self.ledger.lock().editions();
        let mut all = true;
        for edition in editions {
            let object = edition.sheet.name.object(edition.realm);
            if self.store.create(&object, edition.sheet.to_bytes().into()).await != CreateOutcome::Created {
                all = false;
                continue;
            }
            let older = self.ledger.lock().created(&edition);
            for name in older {
                // What stays does not count.
                let _ = self.store.delete(&name.object(edition.realm)).await;
            }
        }
        let lost = self.ledger.lock().take_lost();
        if lost > 0 {
            tracing::error!(
                lost,
                "operations of tenants are in no account: they could not be written for days"
            );
        } else if !all {
            tracing::warn!("what tenants use was not written to the store; it is kept, and written later");
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_number_is_pinned_and_differs_by_month_tenant_and_user() {
        let key = Digest([0x6b; 32]);
        let november = Day::at(1_796_083_199).month();
        let number = |month, tenant, user| user_number(&key, month, tenant, user);
        let ada = number(november, "acme", "user-1");
        assert_eq!(ada, 0x1724_df2c_c35b_6974);
        let december = Day::at(1_796_083_200).month();
        for other in [
            number(december, "acme", "user-1"),
            number(november, "globex", "user-1"),
            number(november, "acme", "user-2"),
            number(november, "acmeu", "ser-1"),
            user_number(&Digest([0x6c; 32]), november, "acme", "user-1"),
        ] {
            assert_ne!(other, ada);
        }
    }
}
