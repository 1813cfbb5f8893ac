//! How much memory processes have at most, for as long as it is watched.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strongroom_agent::memory::resident;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How often to look.
const EVERY: Duration = Duration::from_millis(100);

/// Looks until it is dropped.
pub(super) struct Watched {
    most: Arc<Mutex<BTreeMap<String, u64>>>,
    watching: JoinHandle<()>,
}

impl Watched {
    /// These processes, by name.
    pub(super) fn begin(processes: Vec<(String, u32)>) -> Self {
        let most = Arc::default();
        let seen: Arc<Mutex<BTreeMap<String, u64>>> = Arc::clone(&most);
        let watching = tokio::spawn(async move {
            loop {
                for (name, process) in &processes {
                    let Some(now) = resident(Some(*process)) else { continue };
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    let most = seen.entry(name.clone()).or_default();
                    *most = now.own_bytes.max(*most);
                }
                sleep(EVERY).await;
            }
        });
        Self { most, watching }
    }

    /// The most of its own memory that each had since this was called last, in MiB. One that the system does not report is
    /// missing.
    pub(super) fn take_mib(&self) -> BTreeMap<String, f64> {
        let most = std::mem::take(&mut *self.most.lock().unwrap_or_else(PoisonError::into_inner));
        most.into_iter().map(|(name, bytes)| (name, bytes as f64 / f64::from(1 << 20))).collect()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
