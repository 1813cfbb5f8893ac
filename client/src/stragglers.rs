//! What goes on at single realms after an operation has answered without them.
//!
//! Invariant: whatever an operation asks of a realm waits until nothing is under way there that an earlier operation left. So a
//! registration that arrives late cannot replace one that was made after it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{Either, select};
use parking_lot::Mutex;
use strongroom_proto::ids::RealmId;
use tokio::sync::watch;

use crate::runtime::{Instant, spawn, timeout_at};

/// Something that is under way, and that no call owns.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) type Pending<T> = futures::future::BoxFuture<'static, T>;
/// Something that is under way, and that no call owns.
#[cfg(target_arch = "wasm32")]
pub(crate) type Pending<T> = futures::future::LocalBoxFuture<'static, T>;

/// Something that is under way for somebody. If it is not waited for to the end, it can be handed on.
pub(crate) struct Awaited<M, T>(pub(crate) M, pub(crate) Pending<T>);

impl<M: Copy + Unpin, T> Future for Awaited<M, T> {
    type Output = (M, T);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<(M, T)> {
        let whose = self.0;
        self.1.as_mut().poll(context).map(|come| (whose, come))
    }
}

/// What is under way at each realm. Dropped, it abandons all of it.
pub(crate) struct Stragglers {
    /// Closed once it is over.
    under_way: Mutex<HashMap<RealmId, Vec<watch::Receiver<()>>>>,
    wanted: watch::Sender<()>,
}

impl Default for Stragglers {
    fn default() -> Self {
        Self { under_way: Mutex::default(), wanted: watch::channel(()).0 }
    }
}

impl Stragglers {
    /// Goes on with these for at most so long.
    pub(crate) fn leave<T: 'static>(
        &self,
        late: impl IntoIterator<Item = (RealmId, Pending<T>)>,
        limit: Duration,
    ) {
        let until = Instant::now() + limit;
        let mut all = self.under_way.lock();
        for (realm, pending) in late {
            let (going, over) = watch::channel(());
            let under_way = all.entry(realm).or_default();
            under_way.retain(|other| other.has_changed().is_ok());
            under_way.push(over);
            let mut wanted = self.wanted.subscribe();
            spawn(async move {
                let unwanted = Box::pin(async move { while wanted.changed().await.is_ok() {} });
                let finished = Box::pin(timeout_at(until, pending));
                // What is left of it is dropped before anybody is told that it is over.
                match select(finished, unwanted).await {
                    Either::Left((_, unwanted)) => drop(unwanted),
                    Either::Right(((), finished)) => drop(finished),
                }
                drop(going);
            });
        }
    }

    /// The place behind everything that is under way now.
    pub(crate) fn turn(&self) -> Turn {
        Turn(self.under_way.lock().clone())
    }
}

/// The place of one operation.
#[derive(Clone, Default)]
pub(crate) struct Turn(HashMap<RealmId, Vec<watch::Receiver<()>>>);

impl Turn {
    /// Completes when an operation may ask this realm.
    pub(crate) async fn come(&self, realm: RealmId) {
        for over in self.0.get(&realm).into_iter().flatten() {
            let mut over = over.clone();
            while over.changed().await.is_ok() {}
        }
    }

    /// Completes when nothing is under way.
    pub(crate) async fn all_come(&self) {
        for realm in self.0.keys() {
            self.come(*realm).await;
        }
    }
}
