//! How a client is put together, and what it does by default.

use std::fmt;
use std::sync::Arc;

use getrandom::SysRng;
use parking_lot::Mutex;
use rand_core::{CryptoRng, UnwrapErr};

use crate::auth::AuthTokens;
use crate::bug::Bugs;
use crate::client::{Client, Progress};
use crate::configuration::Configuration;
use crate::extensions::Extensions;
use crate::heads::{DemandError, HeadDemand, HeadMemory, Heads, check_demands};
#[cfg(feature = "https")]
use crate::https::{Https, HttpsError};
use crate::link::Link;
use crate::retry::RetryPolicy;
use crate::routes::Routes;
use crate::runtime::{Callback, Shareable};
use crate::session::Sessions;
use crate::stragglers::Stragglers;
use crate::stretch::{Stretcher, Threads};
use crate::transport::Transport;

/// Builds a [`Client`]. Returned by [`Client::builder`].
#[must_use]
pub struct ClientBuilder {
    configuration: Configuration,
    previous: Vec<Configuration>,
    tokens: Arc<dyn AuthTokens>,
    retry: RetryPolicy,
    rng: Box<dyn CryptoRng + Send>,
    on_progress: Option<Box<Callback<Progress>>>,
    stretcher: Arc<dyn Stretcher>,
    heads: Option<(Vec<HeadDemand>, Arc<dyn HeadMemory>)>,
}

impl Client {
    /// A client that keeps secrets at the realms of `configuration`, for the user whom `tokens` name.
    ///
    /// By default it draws randomness from the operating system, retries by the default [`RetryPolicy`], and knows no
    /// other configuration.
    pub fn builder(configuration: Configuration, tokens: impl AuthTokens + 'static) -> ClientBuilder {
        ClientBuilder {
            configuration,
            previous: Vec::new(),
            tokens: Arc::new(tokens),
            retry: RetryPolicy::default(),
            rng: Box::new(UnwrapErr(SysRng)),
            on_progress: None,
            stretcher: Arc::new(Threads),
            heads: None,
        }
    }
}

impl ClientBuilder {
    /// Earlier configurations, newest first. If the current one has no registration of the user, the client recovers
    /// from the first of these that has one. It registers only with the current one.
    pub fn previous(mut self, configurations: impl IntoIterator<Item = Configuration>) -> Self {
        self.previous = configurations.into_iter().collect();
        self
    }

    /// Retries by a different policy.
    pub fn retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Draws from a different generator, such as a recorded one in tests. Anyone who can predict it learns the secret.
    pub fn rng(mut self, rng: impl CryptoRng + Send + 'static) -> Self {
        self.rng = Box::new(rng);
        self
    }

    /// Calls `report` at the beginning of every step.
    pub fn on_progress(mut self, report: impl Fn(Progress) + Shareable + 'static) -> Self {
        self.on_progress = Some(Box::new(report));
        self
    }

    /// Has PINs stretched elsewhere. By default that is a thread of tokio's; in a JavaScript host it is the thread that the client
    /// is on, which responds to nothing meanwhile.
    pub fn stretcher(mut self, stretcher: impl Stretcher + 'static) -> Self {
        self.stretcher = Arc::new(stretcher);
        self
    }

    /// Demands to see the head of the log of each of these realms before a recovery spends a guess there. A realm that does not show
    /// it as demanded counts as one that failed ([`Cause::Head`](crate::Cause::Head)). `memory` keeps which heads this user has
    /// seen, so that a log which has gone back since is noticed; [`ForgetfulMemory`](crate::ForgetfulMemory) keeps them as long as
    /// the client. Off by default; registrations and deletions demand nothing.
    ///
    /// # Errors
    ///
    /// [`DemandError`]: one of them is not of a realm in the configurations with the same public key, or two are of one realm. Say
    /// [`ClientBuilder::previous`] first.
    pub fn demand_heads(
        mut self,
        demands: impl IntoIterator<Item = HeadDemand>,
        memory: impl HeadMemory + 'static,
    ) -> Result<Self, DemandError> {
        let demands: Vec<_> = demands.into_iter().collect();
        let configurations: Vec<_> = std::iter::once(&self.configuration).chain(&self.previous).collect();
        check_demands(&demands, &configurations)?;
        self.heads = Some((demands, Arc::new(memory)));
        Ok(self)
    }

    /// Finishes the client, over the default [`Https`].
    ///
    /// # Errors
    ///
    /// As [`Https::new`].
    #[cfg(feature = "https")]
    pub fn build(self) -> Result<Client, HttpsError> {
        Ok(self.build_with(Https::new()?))
    }

    /// Finishes the client, over a transport of your own.
    #[must_use]
    pub fn build_with(self, transport: impl Transport + 'static) -> Client {
        let link = Link {
            tokens: self.tokens,
            transport: Arc::new(transport),
            rng: Mutex::new(self.rng),
            retry: self.retry,
            sessions: Sessions::default(),
            routes: Routes::default(),
            extensions: Extensions::default(),
            bugs: Bugs::default(),
        };
        Client {
            configuration: self.configuration,
            previous: self.previous,
            link: Arc::new(link),
            stragglers: Stragglers::default(),
            heads: self.heads.map(|(demands, memory)| Arc::new(Heads::new(demands, memory))),
            opened: Mutex::default(),
            replacing: futures::lock::Mutex::default(),
            on_progress: self.on_progress,
            stretcher: self.stretcher,
        }
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secret: what is left out may hold tokens, or the state of a generator.
        f.debug_struct("ClientBuilder")
            .field("configuration", &self.configuration)
            .field("previous", &self.previous)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
