//! Which of its addresses is used to reach a realm.
//!
//! One after another: an address that gave no answer, or said that the realm is not available, is left for the next.

use std::collections::HashMap;

use parking_lot::Mutex;
use strongroom_proto::ids::RealmId;
use url::Url;

use crate::configuration::Realm;

/// The current address of every realm whose address was left at least once; for all others it is the first.
#[derive(Default)]
pub(crate) struct Routes(Mutex<HashMap<RealmId, usize>>);

impl Routes {
    /// Where requests to `realm` go now.
    pub(crate) fn current<'a>(&self, realm: &'a Realm) -> &'a Url {
        let place = self.0.lock().get(&realm.id()).copied().unwrap_or(0);
        // Configurations may name different addresses of one realm.
        &realm.request_urls()[place % realm.request_urls().len()]
    }

    /// Goes on to the next address, unless another request has left `from` already.
    pub(crate) fn leave(&self, realm: &Realm, from: &Url) {
        if self.current(realm) == from && realm.request_urls().len() > 1 {
            let mut routes = self.0.lock();
            let place = routes.entry(realm.id()).or_default();
            *place = (*place + 1) % realm.request_urls().len();
        }
    }
}
