//! Tasks that must not end while an agent runs. If a bug ends one, the process ends with it, and its supervisor starts
//! a new one; without this, a process that no longer serves would live on.

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

/// Starts such tasks. A clone reports to the same place.
#[derive(Clone, Debug)]
pub(crate) struct Vital(mpsc::UnboundedSender<Ended>);

/// A task ended that must not end.
#[derive(Debug, thiserror::Error)]
#[error("a bug ended {task}: {why}; start the agent again, and report this")]
pub struct Ended {
    task: &'static str,
    why: String,
}

impl Vital {
    /// Returned with the channel on which the end of a task is reported.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Ended>) {
        let (ended, told) = mpsc::unbounded_channel();
        (Self(ended), told)
    }

    /// Spawns a task. The handle ends with it.
    pub(crate) fn spawn(
        &self,
        task: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        self.spawn_until(task, work, std::future::pending())
    }

    /// The same, for a task that may end, and then does, when `over` completes.
    pub(crate) fn spawn_until(
        &self,
        task: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
        over: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let until = async move {
            tokio::select! {
                biased;
                () = over => true,
                () = work => false,
            }
        };
        let (work, ended) = (tokio::spawn(until), self.0.clone());
        tokio::spawn(async move {
            let why = match work.await {
                Ok(true) => return,
                Ok(false) => "it returned".to_owned(),
                Err(error) if error.is_panic() => panic_text(error),
                // The runtime is being shut down.
                Err(_) => return,
            };
            // Fails only if nothing is listening any more.
            let _ = ended.send(Ended { task, why });
        })
    }
}

fn panic_text(error: JoinError) -> String {
    let panic = error.into_panic();
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_task_and_its_panic_are_reported() {
        let (vital, mut told) = Vital::new();
        vital.spawn("the first task", async {}).await.expect("it ends");
        let said = told.recv().await.expect("told").to_string();
        assert!(said.starts_with("a bug ended the first task: it returned;"), "{said}");
        vital.spawn("the second task", async { panic!("at {}", "once") }).await.expect("it ends");
        let said = told.recv().await.expect("told").to_string();
        assert!(said.starts_with("a bug ended the second task: at once;"), "{said}");
        vital.spawn_until("the third task", async {}, async {}).await.expect("it ends");
        drop(vital);
        assert!(told.recv().await.is_none(), "it may end");
    }
}
