//! What of the store is for everybody: what is published of logs, and the realm's statement; and what of it is for one tenant, its events.
//!
//! Names are made of ids and parsed paths alone, so nothing else of the store can be asked for. Nobody need believe what is shown:
//! it is signed, and whoever reads it verifies.

use super::Hub;
use crate::front::{EventsRead, Published};
use crate::publish::folder;
use crate::store::{Purpose, statement_object};
use strongroom_events::offsets::MAX_GROUPS;
use strongroom_events::{Source as _, StoreSource, Unavailable};
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

    /// What the store has of a tenant's events. The tenant is in every name that is asked for, in hexadecimal.
    pub(super) async fn events(&self, tenant: &str, what: EventsRead) -> ReadOutcome {
        let Some(realm) = self.of_realm(|realm| realm.realm) else { return ReadOutcome::Unavailable };
        let store = self.store.with_purpose(Purpose::Shown);
        // Nobody tells a tenant anything whose name is that long.
        let Ok(source) = StoreSource::on(store.to_read(), store.base().clone(), realm, tenant) else {
            return ReadOutcome::Absent;
        };
        match read(&source, what).await {
            Ok(Some(bytes)) => ReadOutcome::Found(bytes),
            Ok(None) => ReadOutcome::Absent,
            Err(Unavailable(why)) => {
                tracing::debug!(why, "a tenant's events cannot be read");
                ReadOutcome::Unavailable
            }
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

async fn read(source: &StoreSource, what: EventsRead) -> Result<Option<Vec<u8>>, Unavailable> {
    let number = |number: Option<u64>| number.map(|number| format!("{number}\n").into_bytes());
    Ok(match what {
        EventsRead::Groups => {
            let mut groups = source.groups().await?;
            groups.sort_unstable();
            // One more than is read tells that there are too many.
            let lines = groups.iter().take(MAX_GROUPS + 1).map(|group| format!("{group}\n"));
            Some(lines.collect::<String>().into_bytes())
        }
        EventsRead::Oldest { group, from } => number(source.oldest(group, from).await?),
        EventsRead::Newest { group } => number(source.newest(group).await?),
        EventsRead::Page { group, number } => source.page(group, number).await?,
    })
}
