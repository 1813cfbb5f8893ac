//! A link that records how long each message took, and what went over it.

use super::twin;
use crate::Error;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use strongroom_agent::link::{Link, Lost};
use strongroom_testkit::{Event, request_name};

/// How often each kind of message was sent, and how long all of its replies took together.
#[derive(Clone, Default)]
pub struct Times(Arc<Mutex<BTreeMap<&'static str, (u32, Duration)>>>);

impl Times {
    /// Forgets everything so far.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The kind of message, how often it was sent, and the mean time from request to reply.
    #[must_use]
    pub fn means(&self) -> Vec<(&'static str, u32, Duration)> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.iter().map(|(name, (count, all))| (*name, *count, *all / (*count).max(1))).collect()
    }

    fn add(&self, name: &'static str, took: Duration) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, all) = times.entry(name).or_default();
        (*count, *all) = (*count + 1, *all + took);
    }
}

/// What went over the link of one board, up to a reply that was lost.
#[derive(Clone)]
pub struct Heard(Arc<Mutex<(Vec<Event>, bool)>>);

impl Heard {
    /// For a board that is about to boot with this entropy.
    #[must_use]
    pub fn from_boot(entropy: Arc<[u8]>) -> Self {
        Self(Arc::new(Mutex::new((vec![Event::Boot(entropy)], true))))
    }

    fn add(&self, request: Vec<u8>, reply: Option<&[u8]>) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (events, is_whole) = &mut *heard;
        match reply {
            Some(reply) if *is_whole => events.push(Event::Exchange { request, reply: reply.into() }),
            _ => *is_whole = false,
        }
    }

    /// How many replies the software HSM gives that are byte for byte those of the board.
    ///
    /// # Errors
    /// It gives a different one.
    pub fn compare(&self) -> Result<usize, Error> {
        twin::compare(&self.0.lock().unwrap_or_else(PoisonError::into_inner).0)
    }
}

/// A link that notes how long each message took, and what went over it.
pub struct TimedLink<L> {
    /// The link.
    pub link: L,
    /// Where the time is noted.
    pub times: Times,
    /// Where what went over it is noted.
    pub heard: Option<Heard>,
}

#[async_trait]
impl<L: Link> Link for TimedLink<L> {
    async fn call(&self, request: Vec<u8>) -> Result<Vec<u8>, Lost> {
        let name = minicbor::decode(&request).map_or("(other)", |request| request_name(&request));
        let from = Instant::now();
        let noted = self.heard.as_ref().map(|heard| (heard, request.clone()));
        let reply = self.link.call(request).await;
        if reply.is_ok() {
            self.times.add(name, from.elapsed());
        }
        if let Some((heard, request)) = noted {
            heard.add(request, reply.as_deref().ok());
        }
        reply
    }
}
