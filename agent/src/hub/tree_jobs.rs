//! Works on one replica's stored tree: opens, advances and closes it, one job after another, in the order of the
//! actions.

use crate::tree::TreeStore;
use strongroom_replica::Event;
use strongroom_replica::stored::Advance;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What is done with the tree as a whole.
pub(super) enum Job {
    Open,
    Advance(Box<Advance>),
    Close,
}

/// The queue of jobs, and the task that does them. When the queue is dropped, the tree is closed.
pub(super) fn start(
    tree: TreeStore,
    events: mpsc::UnboundedSender<Event>,
) -> (mpsc::UnboundedSender<Job>, JoinHandle<()>) {
    let (jobs, mut queue) = mpsc::unbounded_channel();
    let work = tokio::spawn(async move {
        // A send fails only if the driver is gone, and then nothing waits for the event.
        while let Some(job) = queue.recv().await {
            match job {
                Job::Open => drop(events.send(Event::TreeOpened { result: tree.open().await })),
                Job::Advance(advance) => {
                    drop(events.send(Event::Advanced { result: tree.advance(*advance).await }));
                }
                Job::Close => tree.close().await,
            }
        }
        tree.close().await;
    });
    (jobs, work)
}
