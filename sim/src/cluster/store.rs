//! A simulated object store that only creates.

use super::bug::{HostBug, HostBugs};
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_agent::replica::{CreateOutcome, Event, ReadOutcome, Unavailable};
use strongroom_agent::segment::SegmentName;
use strongroom_proto::ids::Index;

/// What an agent asks of the store.
#[derive(Clone, Debug)]
pub(super) enum StoreRequest {
    Write(SegmentName, Arc<[u8]>),
    List(Index),
    Read(SegmentName),
}

/// What goes wrong with one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreFault {
    /// Nothing.
    None,
    /// It is carried out, but the store's answer is lost.
    AnswerLost,
    /// It is not carried out, and the store does not answer.
    Unavailable,
}

/// The objects.
#[derive(Default)]
pub struct Store {
    objects: BTreeMap<SegmentName, Arc<[u8]>>,
    pub(super) bugs: HostBugs,
}

impl Store {
    /// All objects, by name.
    pub fn objects(&self) -> impl Iterator<Item = (&SegmentName, &Arc<[u8]>)> {
        self.objects.iter()
    }

    /// Takes an object away, as no store should.
    pub fn lose(&mut self, name: &SegmentName) -> Option<Arc<[u8]>> {
        self.objects.remove(name)
    }

    /// Puts an object there, whatever was there before, as no store should.
    pub fn put(&mut self, name: SegmentName, bytes: Arc<[u8]>) {
        self.objects.insert(name, bytes);
    }

    pub(super) fn handle(&mut self, request: StoreRequest, fault: StoreFault) -> Event {
        match request {
            StoreRequest::Write(name, bytes) => {
                let outcome = match fault {
                    StoreFault::Unavailable => CreateOutcome::Unknown,
                    StoreFault::AnswerLost => {
                        self.create(name, bytes);
                        CreateOutcome::Unknown
                    }
                    StoreFault::None => self.create(name, bytes),
                };
                Event::Wrote { name, outcome }
            }
            StoreRequest::List(from) => {
                let names = || self.objects.keys().copied().filter(|name| name.first >= from).collect();
                let result = if fault == StoreFault::None { Ok(names()) } else { Err(Unavailable) };
                Event::Listed { result }
            }
            StoreRequest::Read(name) => {
                let result = match self.objects.get(&name) {
                    _ if fault != StoreFault::None => ReadOutcome::Unavailable,
                    Some(bytes) => ReadOutcome::Found(bytes.to_vec()),
                    None => ReadOutcome::Absent,
                };
                Event::Read { name, result }
            }
        }
    }

    fn create(&mut self, name: SegmentName, bytes: Arc<[u8]>) -> CreateOutcome {
        if self.bugs.has(HostBug::CreateReplaces) {
            self.objects.insert(name, bytes);
            return CreateOutcome::Created;
        }
        let there = self.objects.entry(name).or_insert_with(|| Arc::clone(&bytes));
        if *there == bytes { CreateOutcome::Created } else { CreateOutcome::Lost }
    }
}
