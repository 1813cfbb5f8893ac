//! The realms that the cases of `client/cases` run against, and the control by which a runner has them misbehave.
//!
//! The realms are whole: a software HSM each, behind an agent. What goes wrong goes wrong in front of their front doors, to the
//! requests of the users of one case, so cases do not disturb each other. `client/cases/README.md` is the interface.

mod answer;
mod control;
mod fault;
mod outcome;
mod script;
mod solo;

use crate::Error;
use control::Control;
use script::REALMS;
use solo::Solo;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Realms and their control, listening.
pub struct Stage {
    listener: TcpListener,
    at: SocketAddr,
    control: Arc<Control>,
}

impl Stage {
    /// Starts everything. Port 0 picks a free one.
    ///
    /// # Errors
    /// The address is taken, or a realm cannot be made.
    pub async fn start(listen: SocketAddr) -> Result<Self, Error> {
        let listener = TcpListener::bind(listen).await.map_err(|error| format!("{listen}: {error}"))?;
        let at = listener.local_addr()?;
        let mut realms = futures::future::try_join_all((0..REALMS).map(|_| Solo::start())).await?;
        // So that their numbers are their share indices, less one.
        realms.sort_by_key(Solo::id);
        let control = Arc::new(Control::new(format!("http://{at}/"), realms)?);
        Ok(Self { listener, at, control })
    }

    /// Where the control is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.at)
    }

    /// Serves until it is dropped.
    ///
    /// # Errors
    /// It cannot listen any longer.
    pub async fn serve(self) -> Result<(), Error> {
        let router = axum::Router::new().fallback(control::answer).with_state(self.control);
        axum::serve(self.listener, router).await?;
        pending().await
    }
}
