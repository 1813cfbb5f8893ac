//! A client, made of options in JSON, with the runtime that its operations run on.

use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use strongroom_client::{Client as Sdk, Configuration, Https, RetryPolicy};
use tokio::runtime::{Builder, Runtime};

use crate::mailbox::Mailbox;
use crate::reply::{Number, Reply};
use crate::tokens::{Source, Tokens};

/// What a client is made of. What is left out has the SDK's default.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    /// The text of a configuration.
    configuration: String,
    /// Earlier ones, newest first.
    #[serde(default)]
    previous: Vec<String>,
    /// As `Configuration::from_json_allowing_http`.
    #[serde(default)]
    allow_http: bool,
    /// Certificate authorities to trust beside those of the device, as PEM.
    root_certificates: Option<String>,
    /// As `RetryPolicy::patience`, in milliseconds.
    patience_ms: Option<u64>,
}

tokio::task_local! {
    /// The call that a task works for.
    pub(crate) static CALL: Number;
}

/// A client.
#[derive(Debug)]
pub struct Client(pub(crate) Arc<Parts>);

/// What a client and its calls share.
pub(crate) struct Parts {
    pub(crate) sdk: Arc<Sdk>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) tokens: Arc<Tokens>,
    /// Taken when this is dropped. A runtime for each client: one that all share would be dead in a process that was
    /// forked after its first use.
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.sdk.fmt(f)
    }
}

impl Client {
    /// Makes one. The reply says why that cannot be.
    pub(crate) fn new(options: &[u8]) -> Result<Self, Reply> {
        Self::made_of(options).map_err(|why| Reply::refused(&why))
    }

    fn made_of(options: &[u8]) -> Result<Self, String> {
        let options: Options = serde_json::from_slice(options)
            .map_err(|error| format!("the options are not as expected: {error}"))?;
        let read = |text: &String| {
            let read = match options.allow_http {
                true => Configuration::from_json_allowing_http(text),
                false => Configuration::from_json(text),
            };
            read.map_err(|error| error.to_string())
        };
        let configuration = read(&options.configuration)?;
        let previous = options.previous.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let https = match &options.root_certificates {
            Some(pem) => Https::with_root_certificates(pem.as_bytes()),
            None => Https::new(),
        };
        let https = https.map_err(|error| error.to_string())?;
        let mut policy = RetryPolicy::default();
        policy.patience = options.patience_ms.map_or(policy.patience, Duration::from_millis);
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("strongroom").enable_all().build();
        let runtime = runtime.map_err(|error| format!("no thread can be started: {error}"))?;
        let mailbox = Arc::new(Mailbox::default());
        let tokens = Arc::new(Tokens::new(Arc::clone(&mailbox)));
        let progress = Arc::clone(&mailbox);
        let sdk = Sdk::builder(configuration, Source(Arc::clone(&tokens)))
            .previous(previous)
            .retry_policy(policy)
            .on_progress(move |step| {
                // What the SDK does for no call in particular is nobody's progress.
                let _ = CALL.try_with(|call| progress.put(*call, Reply::progress(step)));
            })
            .build_with(https);
        Ok(Self(Arc::new(Parts { sdk: Arc::new(sdk), mailbox, tokens, runtime: Some(runtime) })))
    }
}

impl Parts {
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(work);
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // Whoever frees a client does not wait for what it left under way.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
