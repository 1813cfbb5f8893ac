//! Which heads this user has seen.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::runtime::Shareable;

/// The memory of an application failed. Says what a person can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MemoryError(pub String);

/// Remembers the last checkpoint of each log that this user has seen, from one start of the application to the next.
///
/// Keep it where only the application writes, and never restore it from an old copy: a memory that forgets believes whatever it is
/// shown next. It has no secrets. One that is lost may begin anew.
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
pub trait HeadMemory: Shareable {
    /// What was saved last for this log, whose name is a line of at most 100 characters.
    ///
    /// # Errors
    ///
    /// [`MemoryError`]: it cannot be read. Then no guess is spent; nothing is there is `None`.
    async fn load(&self, log: &str) -> Result<Option<String>, MemoryError>;

    /// Saves a checkpoint, at most 64 KiB of text, in place of the one before. It is called before the guess that rests on it.
    ///
    /// # Errors
    ///
    /// [`MemoryError`]: it may not be there after a crash. Then no guess is spent.
    async fn save(&self, log: &str, checkpoint: &str) -> Result<(), MemoryError>;
}

/// Remembers until the client is dropped. It sees a log go back within this time; before that, witnesses alone do.
#[derive(Debug, Default)]
pub struct ForgetfulMemory(Mutex<HashMap<String, String>>);

#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
impl HeadMemory for ForgetfulMemory {
    async fn load(&self, log: &str) -> Result<Option<String>, MemoryError> {
        Ok(self.0.lock().get(log).cloned())
    }

    async fn save(&self, log: &str, checkpoint: &str) -> Result<(), MemoryError> {
        self.0.lock().insert(log.to_owned(), checkpoint.to_owned());
        Ok(())
    }
}
