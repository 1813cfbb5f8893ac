//! Works on one replica's stored tree: opens, advances and closes it, one job after another, in the order of the
//! actions. Beside them, what the group has let go of is deleted, a little at a time.

use crate::tree::{Swept, TreeStore};
use std::sync::Arc;
use std::time::Duration;
use strongroom_replica::Event;
use strongroom_replica::stored::Advance;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// How many pages and leaves are deleted in one step.
const STEP: usize = 8_192;
/// Between two steps of deleting lies at least this long, and so many times what the last one took: requests go first.
const PAUSE: Duration = Duration::from_secs(1);
const REST: u32 = 4;
/// How often to look whether files have been written anew.
const LOOK: Duration = Duration::from_secs(15);

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
    let advanced = Arc::new(Notify::new());
    let sweeping = tokio::spawn(sweep(tree.clone(), Arc::clone(&advanced)));
    let work = tokio::spawn(async move {
        // A send fails only if the driver is gone, and then nothing waits for the event.
        while let Some(job) = queue.recv().await {
            match job {
                Job::Open => drop(events.send(Event::TreeOpened { result: tree.open().await })),
                Job::Advance(advance) => {
                    let result = tree.advance(*advance).await;
                    if result.is_ok() {
                        advanced.notify_one();
                    }
                    drop(events.send(Event::Advanced { result }));
                }
                Job::Close => tree.close().await,
            }
        }
        sweeping.abort();
        tree.close().await;
    });
    (jobs, work)
}

/// Deletes what the group has let go of, after each snapshot that may show that nothing needs it any longer.
async fn sweep(tree: TreeStore, advanced: Arc<Notify>) {
    loop {
        advanced.notified().await;
        loop {
            let begun = Instant::now();
            match tree.sweep(STEP).await {
                Ok(Swept::Deleted(_)) => sleep(PAUSE.max(begun.elapsed().saturating_mul(REST))).await,
                Ok(Swept::Rewriting) => sleep(LOOK).await,
                Ok(Swept::Nothing) => break,
                Err(failure) => {
                    tracing::debug!(%failure, "what the group has let go of is deleted later");
                    break;
                }
            }
        }
    }
}
