//! The queue in front of the link: requests of all replicas and of the operator, one after another, in the order in
//! which they were queued.

use crate::link::Link;
use std::sync::Arc;
use strongroom_proto::hsm::{Reply, Request};
use tokio::sync::{mpsc, oneshot};

/// The way to the HSM. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hsm(mpsc::UnboundedSender<Call>);

/// Who gets a reply, or `None` when it was lost.
enum Done {
    Then(Box<dyn FnOnce(Option<Reply>) + Send>),
    Tell(oneshot::Sender<Option<Reply>>),
}

struct Call {
    request: Request,
    done: Done,
}

impl Hsm {
    /// Begins to work the queue. To be called inside a runtime; stops with it.
    pub(crate) fn start(link: Arc<dyn Link>) -> Self {
        let (queue, mut calls) = mpsc::unbounded_channel::<Call>();
        tokio::spawn(async move {
            while let Some(Call { request, done }) = calls.recv().await {
                match done {
                    Done::Then(then) => then(call(&*link, &request).await),
                    // Whoever gave up waiting would only make the others wait.
                    Done::Tell(asker) if asker.is_closed() => {}
                    Done::Tell(asker) => drop(asker.send(call(&*link, &request).await)),
                }
            }
        });
        Self(queue)
    }

    /// Queues a request. `done` is called once, unless the agent stops first. Callers bound how many they have queued.
    pub(crate) fn queue(&self, request: Request, done: impl FnOnce(Option<Reply>) + Send + 'static) {
        // Fails only when the runtime is being shut down, and the caller with it.
        let _ = self.0.send(Call { request, done: Done::Then(Box::new(done)) });
    }

    /// Queues a request and waits for its reply; `None` when it was lost. If dropped before its turn, it is not sent.
    pub(crate) async fn call(&self, request: Request) -> Option<Reply> {
        let (asker, reply) = oneshot::channel();
        let _ = self.0.send(Call { request, done: Done::Tell(asker) });
        reply.await.ok().flatten()
    }
}

async fn call(link: &dyn Link, request: &Request) -> Option<Reply> {
    let bytes = minicbor::to_vec(request).ok()?;
    let reply = link.call(bytes).await.ok()?;
    let decoded = minicbor::decode(&reply);
    decoded
        .inspect_err(|_| {
            tracing::error!("the HSM's reply makes no sense; check that its version fits the agent's")
        })
        .ok()
}
