//! What of the store is for everybody: what is published of logs, and the realm's statement.
//!
//! Names are made of ids and parsed paths alone, so nothing else of the store can be asked for. Nobody need believe what is shown:
//! it is signed, and whoever reads it verifies.

use super::Hub;
use crate::front::Published;
use crate::publish::folder;
use crate::store::{Purpose, statement_object};
use strongroom_proto::hsm::record_id;
use strongroom_proto::ids::{GroupId, RecordId};
use strongroom_replica::ReadOutcome;
use strongroom_tlog::Resource;

impl Hub {
    /// What the store has of it.
    pub(super) async fn published(&self, what: Published) -> ReadOutcome {
        let name = match what {
            Published::Log(group, resource) => format!("{}/{resource}", folder(&group)),
            Published::Statement => match self.of_realm(|realm| statement_object(realm.realm)) {
                Some(name) => name,
                None => return ReadOutcome::Unavailable,
            },
        };
        self.store.with_purpose(Purpose::Shown).read_short(&name, what.longest()).await
    }

    /// The newest checkpoint of the group that has a user's record, as far as is known here.
    pub(super) async fn head_of(&self, tenant: &str, user: &str) -> ReadOutcome {
        let record = self.of_realm(|realm| record_id(&realm.record_id_key, tenant, user));
        match record.and_then(|record| self.group_of(&record)) {
            Some(group) => self.published(Published::Log(group, Resource::Checkpoint)).await,
            None => ReadOutcome::Unavailable,
        }
    }

    /// The group that has a record: one that runs here, or else one that agents announce.
    fn group_of(&self, record: &RecordId) -> Option<GroupId> {
        let here = {
            let known = self.known.read();
            known.groups.iter().find(|(_, group)| group.covers(record)).map(|(id, _)| *id)
        };
        here.or_else(|| self.peers.group_of(record))
    }
}
