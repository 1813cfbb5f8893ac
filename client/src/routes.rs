//! Which of its addresses a realm is asked at.
//!
//! One after another: an address that gave no answer, or said that the realm is not available, is left for the next.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use strongroom_proto::ids::RealmId;
use url::Url;

use crate::configuration::Realm;

/// The address in use of every realm that was left once; of all others it is the first.
#[derive(Default)]
pub(crate) struct Routes(Mutex<HashMap<RealmId, usize>>);

impl Routes {
    /// Where requests to `realm` go now.
    pub(crate) fn current<'a>(&self, realm: &'a Realm) -> &'a Url {
        let place = self.lock().get(&realm.id()).copied().unwrap_or(0);
        // Configurations may name different addresses of one realm.
        &realm.request_urls()[place % realm.request_urls().len()]
    }

    /// Goes on to the next address, unless somebody has left `from` already.
    pub(crate) fn leave(&self, realm: &Realm, from: &Url) {
        if self.current(realm) == from && realm.request_urls().len() > 1 {
            let mut routes = self.lock();
            let place = routes.entry(realm.id()).or_default();
            *place = (*place + 1) % realm.request_urls().len();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RealmId, usize>> {
        // Nothing panics while the lock is held; a map is whole in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
