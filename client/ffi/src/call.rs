//! One operation of a client, from its request in JSON to its outcome.

use serde::Deserialize;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_client::{Client as Sdk, Pin, UserSecret};
use tokio::sync::Notify;

use crate::client::{CALL, Client, Parts};
use crate::mailbox::Mailbox;
use crate::reply::{Number, Reply};

/// A request. PIN and secret come beside it.
#[derive(Deserialize)]
#[serde(tag = "operation", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Request {
    /// `Client::register`. User info is hexadecimal.
    Register { num_guesses: NonZeroU8, user_info: String },
    /// `Client::recover`.
    Recover { user_info: String },
    /// `Client::change_pin`. The new PIN comes where a secret does.
    ChangePin { user_info: String },
    /// `Client::repair`.
    Repair { user_info: String },
    /// `Client::status`.
    Status,
    /// `Client::attempts`.
    Attempts,
    /// `Client::delete`.
    Delete,
    /// `Client::close`.
    Close,
}

/// A request that was checked.
enum Work {
    Register { pin: Pin, secret: UserSecret, user_info: Vec<u8>, num_guesses: NonZeroU8 },
    Recover { pin: Pin, user_info: Vec<u8> },
    ChangePin { old: Pin, new: Pin, user_info: Vec<u8> },
    Repair { pin: Pin, user_info: Vec<u8> },
    Status,
    Attempts,
    Delete,
    Close,
}

/// An operation under way. To drop it is to cancel it.
#[derive(Debug)]
pub struct Call {
    parts: Arc<Parts>,
    number: Number,
    cancelled: Arc<Notify>,
}

impl Call {
    /// Begins an operation.
    pub(crate) fn begin(client: &Client, request: &[u8], pin: Pin, secret: &[u8]) -> Self {
        let parts = Arc::clone(&client.0);
        let call = Self { number: parts.mailbox.open(), cancelled: Arc::new(Notify::new()), parts };
        let end = End { mailbox: Arc::clone(&call.parts.mailbox), call: call.number, reply: None };
        match Work::checked(request, pin, secret) {
            Err(why) => end.with(Reply::refused(&why)),
            Ok(work) => {
                let (sdk, cancelled, number) =
                    (Arc::clone(&call.parts.sdk), Arc::clone(&call.cancelled), call.number);
                call.parts.spawn(async move {
                    let reply = tokio::select! {
                        reply = CALL.scope(number, work.done(&sdk)) => reply,
                        () = cancelled.notified() => Reply::cancelled(),
                    };
                    end.with(reply);
                });
            }
        }
        call
    }

    /// What comes next, if it comes within `timeout`.
    pub(crate) fn next(&self, timeout: Duration) -> Option<Reply> {
        self.parts.mailbox.next(self.number, Instant::now() + timeout)
    }

    /// Answers a request for a token.
    pub(crate) fn give_token(&self, number: Number, token: Option<strongroom_client::Zeroizing<String>>) {
        self.parts.tokens.give(number, token);
    }

    /// Gives the operation up. What it had sent may still happen.
    pub(crate) fn cancel(&self) {
        self.cancelled.notify_one();
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.cancel();
        if self.parts.mailbox.close(self.number) {
            self.parts.tokens.settle();
        }
    }
}

/// Ends a call, whatever happens: a caller that waits must not wait forever.
struct End {
    mailbox: Arc<Mailbox>,
    call: Number,
    reply: Option<Reply>,
}

impl End {
    fn with(mut self, reply: Reply) {
        self.reply = Some(reply);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let reply = self.reply.take().unwrap_or_else(|| {
            Reply::refused("the operation ended without an outcome, and may have happened: report this with what you did")
        });
        self.mailbox.put_last(self.call, reply);
    }
}

impl Work {
    fn checked(request: &[u8], pin: Pin, secret: &[u8]) -> Result<Self, String> {
        let request = serde_json::from_slice(request)
            .map_err(|error| format!("this is no operation, or not with these arguments: {error}"))?;
        let user_info =
            |text: &str| hex::decode(text).map_err(|_| "the user info is not hexadecimal".to_owned());
        Ok(match request {
            Request::Register { num_guesses, user_info: text } => {
                let secret = UserSecret::new(secret).map_err(|error| error.to_string())?;
                Self::Register { pin, secret, user_info: user_info(&text)?, num_guesses }
            }
            Request::Recover { user_info: text } => Self::Recover { pin, user_info: user_info(&text)? },
            Request::ChangePin { user_info: text } => {
                let new = Pin::new(secret.to_vec());
                Self::ChangePin { old: pin, new, user_info: user_info(&text)? }
            }
            Request::Repair { user_info: text } => Self::Repair { pin, user_info: user_info(&text)? },
            Request::Status => Self::Status,
            Request::Attempts => Self::Attempts,
            Request::Delete => Self::Delete,
            Request::Close => Self::Close,
        })
    }

    async fn done(self, sdk: &Sdk) -> Reply {
        let done = |outcome| match outcome {
            Ok(()) => Reply::done(),
            Err(error) => Reply::error(&error),
        };
        match self {
            Self::Register { pin, secret, user_info, num_guesses } => {
                done(sdk.register(&pin, &secret, &user_info, num_guesses).await)
            }
            Self::Recover { pin, user_info } => match sdk.recover(&pin, &user_info).await {
                Ok(secret) => Reply::secret(secret),
                Err(error) => Reply::error(&error),
            },
            Self::ChangePin { old, new, user_info } => done(sdk.change_pin(&old, &new, &user_info).await),
            Self::Repair { pin, user_info } => match sdk.repair(&pin, &user_info).await {
                Ok(repair) => Reply::repair(&repair),
                Err(error) => Reply::error(&error),
            },
            Self::Status => Reply::status(&sdk.status().await),
            Self::Attempts => Reply::attempts(&sdk.attempts().await),
            Self::Delete => done(sdk.delete().await),
            Self::Close => {
                sdk.close().await;
                Reply::done()
            }
        }
    }
}
