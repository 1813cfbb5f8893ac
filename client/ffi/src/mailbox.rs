//! Where a client's calls and its requests for tokens wait for whoever asks what comes next.
//!
//! All calls of a client share one mailbox: the SDK does not say for which of them it needs a token, so whichever call is
//! looked at first hands the request over.

use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::reply::{Number, Reply};

/// Replies that wait.
#[derive(Default)]
pub(crate) struct Mailbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Default)]
struct Waiting {
    last: Number,
    /// The open calls.
    calls: BTreeMap<Number, Replies>,
    /// Requests for tokens, for any call.
    requests: VecDeque<Reply>,
}

/// Replies of one call.
#[derive(Default)]
struct Replies {
    waiting: VecDeque<Reply>,
    /// The last one is among them, or was taken.
    ended: bool,
}

impl Mailbox {
    /// A number that no other call or request of this client has.
    pub(crate) fn number(&self) -> Number {
        let mut waiting = self.waiting.lock();
        waiting.last += 1;
        waiting.last
    }

    /// Opens a call.
    pub(crate) fn open(&self) -> Number {
        let number = self.number();
        self.waiting.lock().calls.insert(number, Replies::default());
        number
    }

    /// Closes a call; whether it was the last that was open.
    pub(crate) fn close(&self, call: Number) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.calls.remove(&call);
        let last = waiting.calls.is_empty();
        if last {
            waiting.requests.clear();
        }
        last
    }

    /// Leaves a reply for a call. One that is closed gets nothing.
    pub(crate) fn put(&self, call: Number, reply: Reply) {
        if let Some(replies) = self.waiting.lock().calls.get_mut(&call) {
            replies.waiting.push_back(reply);
        }
        self.arrived.notify_all();
    }

    /// Leaves the last reply for a call: nothing comes after it, not even a request for a token.
    pub(crate) fn put_last(&self, call: Number, reply: Reply) {
        if let Some(replies) = self.waiting.lock().calls.get_mut(&call) {
            replies.waiting.push_back(reply);
            replies.ended = true;
        }
        self.arrived.notify_all();
    }

    /// Leaves a request for a token, if a call is under way to hand it over.
    #[must_use]
    pub(crate) fn ask(&self, request: Reply) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.calls.values().all(|replies| replies.ended) {
            return false;
        }
        waiting.requests.push_back(request);
        self.arrived.notify_all();
        true
    }

    /// What comes next in a call, then a request for a token; waits until `until` for it. The steps of a call come first, so that they
    /// are told before what is needed for them.
    pub(crate) fn next(&self, call: Number, until: Instant) -> Option<Reply> {
        let mut waiting = self.waiting.lock();
        loop {
            let replies = waiting.calls.get_mut(&call)?;
            if let Some(reply) = replies.waiting.pop_front() {
                return Some(reply);
            }
            if replies.ended {
                return None;
            }
            if let Some(request) = waiting.requests.pop_front() {
                return Some(request);
            }
            if self.arrived.wait_until(&mut waiting, until).timed_out() {
                return None;
            }
        }
    }
}
