//! Where it is kept how far a group's scrub has come: one small object, `groups/<group>/scrub/<number>`, made anew under
//! the next number each time.

use super::position::Position;
use crate::store::{Purpose, Store};
use strongroom_proto::ids::GroupId;
use strongroom_replica::{CreateOutcome, ReadOutcome, Unavailable};

/// Numbers that nobody gets to in earnest, so that there is always a next one.
const MAX_NUMBER: u64 = 1 << 62;

/// The place of one group.
pub(super) struct Shelf {
    store: Store,
    folder: String,
    /// The number of the newest that is known.
    newest: u64,
}

impl Shelf {
    pub(super) fn new(store: &Store, group: GroupId) -> Self {
        let store = store.with_purpose(Purpose::Scrub);
        Self { store, folder: format!("groups/{group}/scrub"), newest: 0 }
    }

    fn name(&self, number: u64) -> String {
        format!("{}/{number:016x}", self.folder)
    }

    /// The newest, if there is one that makes sense. Older ones are deleted.
    pub(super) async fn read(&mut self, now: u64) -> Result<Option<Position>, Unavailable> {
        let names = self.store.list(&self.folder, &self.name(0)).await?;
        let number = |name: &String| {
            let number = u64::from_str_radix(name.rsplit('/').next()?, 16).ok()?;
            (number <= MAX_NUMBER && *name == self.name(number)).then_some(number)
        };
        let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
        let Some(newest) = numbers.pop() else { return Ok(None) };
        let read = match self.store.read(&self.name(newest)).await {
            ReadOutcome::Found(bytes) => Position::from_bytes(&bytes, now),
            // Another leader has just written the next one.
            ReadOutcome::Absent | ReadOutcome::Unavailable => return Err(Unavailable),
        };
        if read.is_none() {
            tracing::warn!(
                object = self.name(newest),
                "it makes no sense how far the scrub had come; it begins anew"
            );
        }
        self.newest = newest;
        for older in numbers {
            // One that stays is deleted by the next leader.
            let _ = self.store.delete(&self.name(older)).await;
        }
        Ok(read)
    }

    /// Keeps a position. Returns whether it is there: if not, another agent may have kept one, and it is to be read again.
    pub(super) async fn keep(&mut self, position: &Position) -> bool {
        let next = self.newest.saturating_add(1);
        let created = self.store.create(&self.name(next), position.to_bytes().into()).await;
        if created != CreateOutcome::Created {
            return false;
        }
        let older = std::mem::replace(&mut self.newest, next);
        if older > 0 {
            let _ = self.store.delete(&self.name(older)).await;
        }
        true
    }
}
