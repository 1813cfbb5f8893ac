//! The queue in front of the link: requests of all replicas and of the operator, one after another, in the order in
//! which they were queued.
//!
//! The queue is bounded. Replicas bound what they ask for at once, and together never fill it. A request that finds it
//! full is lost, and is not sent.
//!
//! Captures of several groups that wait at the same time go as one request, because the HSM then writes to its NVRAM
//! once for all of them. A capture moves forward for that only past requests of other groups.

use crate::link::Link;
use crate::vital::Vital;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use strongroom_proto::hsm::{CaptureOutcome, GroupEntries, MAX_GROUPS, Reply, Request};
use strongroom_proto::ids::GroupId;
use strongroom_replica::ask::{About, Ask, Asked, Unanswered, read};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use zeroize::Zeroizing;

/// How many requests wait for the HSM: for each group four batches, sixteen handshakes and a few of its own, for as
/// many groups as an HSM has.
const QUEUE: usize = 64 * MAX_GROUPS;
/// How many of those may come from callers that do not bound their own requests.
const QUEUE_OF_OTHERS: usize = 64;

/// The way to the HSM. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hsm {
    queue: mpsc::UnboundedSender<Call>,
    /// Bounds on the queue, and on the part of it that is not from replicas: each call has a place until its turn.
    places: Arc<Semaphore>,
    places_of_others: Arc<Semaphore>,
}

/// What gets the reply, or `None` if it was lost.
enum Done {
    Then(Box<dyn FnOnce(Option<Reply>) + Send>),
    Tell(oneshot::Sender<Option<Reply>>),
}

impl Done {
    fn end(self, reply: Option<Reply>) {
        match self {
            Self::Then(then) => then(reply),
            Self::Tell(asker) => drop(asker.send(reply)),
        }
    }
}

struct Call {
    request: Asked,
    done: Done,
    /// Its place in the queue.
    _place: Option<OwnedSemaphorePermit>,
}

impl Call {
    /// The only group of a capture.
    fn captures(&self) -> Option<&GroupEntries> {
        match self.request.about() {
            About::Capture(of) => Some(of),
            About::Device | About::Group(_) => None,
        }
    }

    /// Which requests may not overtake this one: one group's, or all.
    const fn group(&self) -> Option<GroupId> {
        self.request.group()
    }
}

impl Hsm {
    /// Starts to work through the queue. Call it inside a runtime; it stops with the runtime.
    pub(crate) fn start(link: Arc<dyn Link>, vital: &Vital) -> Self {
        let (queue, mut calls) = mpsc::unbounded_channel::<Call>();
        vital.spawn("the queue of the HSM", async move {
            let mut waiting = VecDeque::new();
            // Not known until the HSM says so; until then nothing is joined.
            let mut max_frame_bytes = 0;
            loop {
                if waiting.is_empty() {
                    let Some(first) = calls.recv().await else { return };
                    waiting.push_back(first);
                }
                while let Ok(next) = calls.try_recv() {
                    waiting.push_back(next);
                }
                let Some(call) = waiting.pop_front() else { continue };
                // A caller that gave up waiting would only make the others wait.
                if matches!(&call.done, Done::Tell(asker) if asker.is_closed()) {
                    continue;
                }
                if call.captures().is_some() {
                    capture(&*link, call, &mut waiting, max_frame_bytes).await;
                    continue;
                }
                let Call { request, done, _place } = call;
                let reply = ask(&*link, request).await;
                if let Some(Reply::Device(device)) = &reply {
                    max_frame_bytes = device.limits.max_frame_bytes as usize;
                }
                done.end(reply);
            }
        });
        let places = |n| Arc::new(Semaphore::new(n));
        Self { queue, places: places(QUEUE), places_of_others: places(QUEUE_OF_OTHERS) }
    }

    /// Queues a request of a replica. `done` is called once, unless the agent stops first.
    pub(crate) fn queue(&self, request: Asked, done: impl FnOnce(Option<Reply>) + Send + 'static) {
        self.push(&self.places, request, Done::Then(Box::new(done)));
    }

    /// Queues a request of any other caller and waits for its reply; `None` if it was lost. If dropped before its turn,
    /// it is not sent.
    pub(crate) async fn call(&self, request: Asked) -> Option<Reply> {
        let (asker, reply) = oneshot::channel();
        self.push(&self.places_of_others, request, Done::Tell(asker));
        reply.await.ok().flatten()
    }

    /// The same, with the typed answer.
    pub(crate) async fn ask<A: Ask>(&self, ask: A) -> Result<A::Answer, Unanswered> {
        read::<A>(self.call(Asked::new(ask)).await)
    }

    fn push(&self, places: &Arc<Semaphore>, request: Asked, done: Done) {
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            tracing::warn!("too many requests wait for the HSM; one was not sent");
            return done.end(None);
        };
        // Fails only when the runtime is being shut down, and the caller with it.
        let _ = self.queue.send(Call { request, done, _place: Some(place) });
    }
}

/// Sends a capture, together with waiting ones of other groups that fit, and gives each its own outcome.
async fn capture(link: &dyn Link, first: Call, waiting: &mut VecDeque<Call>, max_frame_bytes: usize) {
    let mut calls = join(first, waiting, max_frame_bytes);
    if calls.len() == 1 {
        if let Some(Call { request, done, _place }) = calls.pop() {
            done.end(ask(link, request).await);
        }
        return;
    }
    let groups = calls.iter().filter_map(|call| call.captures().cloned()).collect();
    match ask(link, Request::Capture(groups).into()).await {
        Some(Reply::Captures(outcomes)) => give(calls, outcomes),
        other => calls.into_iter().for_each(|call| call.done.end(other.clone())),
    }
}

fn give(calls: Vec<Call>, outcomes: Vec<CaptureOutcome>) {
    let whole = outcomes.len() == calls.len();
    let mut outcomes = outcomes.into_iter().filter(|_| whole);
    for call in calls {
        call.done.end(outcomes.next().map(|outcome| Reply::Captures(vec![outcome])));
    }
}

/// `first`, and the captures in `waiting` that have nothing of their own group queued before them.
fn join(first: Call, waiting: &mut VecDeque<Call>, max_frame_bytes: usize) -> Vec<Call> {
    let mut room = max_frame_bytes.saturating_sub(first.request.bytes().len());
    let mut passed: BTreeSet<GroupId> = first.group().into_iter().collect();
    let (mut joined, mut left) = (vec![first], VecDeque::new());
    while let Some(next) = waiting.pop_front() {
        let Some(group) = next.group() else {
            // Nothing overtakes a request about the whole HSM.
            left.push_back(next);
            break;
        };
        let more = next.request.bytes().len();
        let fits = more <= room && joined.len() < MAX_GROUPS;
        if passed.insert(group) && next.captures().is_some() && fits {
            room -= more;
            joined.push(next);
        } else {
            left.push_back(next);
        }
    }
    left.append(waiting);
    *waiting = left;
    joined
}

async fn ask(link: &dyn Link, request: Asked) -> Option<Reply> {
    // Secret: a reply may hold keys.
    let reply = Zeroizing::new(link.call(request.into_bytes()).await.ok()?);
    let decoded = minicbor::decode(&reply);
    decoded
        .inspect_err(|_| {
            tracing::error!("the HSM's reply makes no sense; check that its version fits the agent's")
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Lost;
    use async_trait::async_trait;
    use futures::FutureExt;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use strongroom_proto::hsm::Refusal;
    use strongroom_replica::ask;
    use tokio::task::unconstrained;

    fn of(ask: impl Ask) -> Call {
        Call { request: Asked::new(ask), done: Done::Then(Box::new(|_| {})), _place: None }
    }

    fn capture_of(group: u8) -> Call {
        of(ask::Capture(GroupId([group; 16]), vec![]))
    }

    fn step_down(group: u8) -> Call {
        of(ask::StepDown(GroupId([group; 16])))
    }

    /// The groups that go together, and how many calls are left.
    fn joined(waiting: Vec<Call>, max_frame_bytes: usize) -> (Vec<u8>, usize) {
        let mut waiting = waiting.into();
        let calls = join(capture_of(1), &mut waiting, max_frame_bytes);
        let groups = calls.iter().filter_map(|call| call.group()).map(|group| group.0[0]).collect();
        (groups, waiting.len())
    }

    #[test]
    fn waiting_captures_of_several_groups_go_together() {
        let waiting = vec![capture_of(2), step_down(4), capture_of(3)];
        assert_eq!(joined(waiting, 4096), (vec![1, 2, 3], 1));
    }

    #[test]
    fn a_capture_does_not_overtake_its_own_group_or_what_is_about_the_whole_hsm() {
        assert_eq!(joined(vec![step_down(2), capture_of(2)], 4096), (vec![1], 2));
        assert_eq!(joined(vec![of(ask::Status), capture_of(2)], 4096), (vec![1], 2));
        assert_eq!(
            joined(vec![capture_of(1)], 4096),
            (vec![1], 1),
            "one group goes only once in one request"
        );
    }

    #[test]
    fn no_more_go_together_than_fit_in_a_frame_or_than_an_hsm_has_groups() {
        let one = capture_of(1).request.bytes().len();
        assert_eq!(joined(vec![capture_of(2), capture_of(3)], 2 * one), (vec![1, 2], 1));
        assert_eq!(joined(vec![capture_of(2)], 0), (vec![1], 1), "before the limit is known");
        let (groups, left) = joined((2..40).map(capture_of).collect(), 1 << 20);
        assert_eq!((groups.len(), left), (MAX_GROUPS, 39 - MAX_GROUPS));
    }
    /// An HSM that refuses everything, once it is let through.
    struct Slow {
        asked: AtomicUsize,
        let_answer: Semaphore,
    }

    #[async_trait]
    impl Link for Slow {
        async fn call(&self, _: Vec<u8>) -> Result<Vec<u8>, Lost> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.let_answer.acquire().await.expect("never closed").forget();
            Ok(minicbor::to_vec(Reply::Refused(Refusal::NoRealm)).expect("encodes"))
        }
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_an_endless_caller_takes_no_place_of_a_replica() {
        let slow = Arc::new(Slow { asked: AtomicUsize::new(0), let_answer: Semaphore::new(0) });
        let hsm = Hsm::start(Arc::clone(&slow) as Arc<dyn Link>, &Vital::new().0);
        let mut others: Vec<_> =
            (0..500).map(|_| Box::pin(unconstrained(hsm.call(Asked::new(ask::Status))))).collect();
        others.retain_mut(|call| call.as_mut().now_or_never() != Some(None));
        assert_eq!(others.len(), QUEUE_OF_OTHERS, "the rest are lost at once");
        tokio::task::yield_now().await;
        let (ended, mut ends) = mpsc::unbounded_channel();
        for _ in 0..QUEUE + 9 {
            let ended = ended.clone();
            hsm.queue(Asked::new(ask::Status), move |reply| ended.send(reply.is_some()).expect("heard"));
        }
        let mut lost = 0;
        while let Ok(answered) = ends.try_recv() {
            assert!(!answered);
            lost += 1;
        }
        assert_eq!(lost, 9, "those that found no place");
        slow.let_answer.add_permits(Semaphore::MAX_PERMITS);
        for other in others {
            assert!(other.await.is_some());
        }
        for _ in 0..QUEUE {
            assert_eq!(ends.recv().await, Some(true));
        }
        assert_eq!(slow.asked.load(Ordering::Relaxed), QUEUE + QUEUE_OF_OTHERS);
        hsm.queue(Asked::new(ask::Status), move |reply| ended.send(reply.is_some()).expect("heard"));
        assert_eq!(ends.recv().await, Some(true), "there are places again");
    }
}
