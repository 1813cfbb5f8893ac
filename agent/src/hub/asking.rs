//! What this agent asks a replica of its own, and the ways by which that comes to it.

use crate::peers::Sent;
use crate::traces::Trail;
use strongroom_replica::{Answer, Order, Ordered};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// A client's request, with who waits for its answer.
pub(super) struct Client {
    pub(super) sent: Sent,
    pub(super) trail: Trail,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// What this agent asks a replica.
pub(super) enum FromHere {
    Client(Client),
    Order(Box<Order>, oneshot::Sender<Ordered>),
}

/// The way to a replica for what runs beside it, and ends with it.
#[derive(Clone)]
pub(super) struct Orders(mpsc::WeakSender<FromHere>);

impl Orders {
    pub(super) fn new(clients: &mpsc::Sender<FromHere>) -> Self {
        Self(clients.downgrade())
    }

    /// Gives an order to the replica, if it still runs.
    pub(super) async fn order(&self, order: Order) -> Option<Ordered> {
        // Not held while the order is carried out: the replica ends when nobody is left who could ask it.
        let ordered = self.0.upgrade().map(|clients| give(&clients, order))?;
        Some(ordered.await)
    }
}

/// Gives an order to a replica, at once; what is returned ends with what became of it.
pub(super) fn give(clients: &mpsc::Sender<FromHere>, order: Order) -> impl Future<Output = Ordered> + use<> {
    let (end, ended) = oneshot::channel();
    let given = clients.try_send(FromHere::Order(Box::new(order), end));
    async move {
        match given {
            Ok(()) => ended.await.unwrap_or(Ordered::Unknown),
            Err(TrySendError::Full(_)) => Ordered::Busy,
            Err(TrySendError::Closed(_)) => Ordered::NotLeader(None),
        }
    }
}
