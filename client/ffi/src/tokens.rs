//! Tokens, which the caller's language supplies when it is asked.
//!
//! While a call is open, each request for a token goes through it. What the SDK finishes after the last call has ended
//! gets the token that was last given for the realm: nobody is there to be asked.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_client::{AuthTokens, NoToken, RealmId, Zeroizing, async_trait};
use tokio::sync::oneshot;

use crate::mailbox::Mailbox;
use crate::reply::{Number, Reply};

type Token = Option<Zeroizing<String>>;

/// Requests that were not answered yet, and what was given before.
pub(crate) struct Tokens {
    mailbox: Arc<Mailbox>,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    open: BTreeMap<Number, (RealmId, oneshot::Sender<Token>)>,
    /// Secret: the last token for each realm.
    given: BTreeMap<RealmId, Zeroizing<String>>,
}

impl Tokens {
    pub(crate) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox, asked: Mutex::default() }
    }

    /// Answers a request. One that is unknown, or answered before, is passed over.
    pub(crate) fn give(&self, number: Number, token: Token) {
        let mut asked = self.asked.lock();
        let Some((realm, waiting)) = asked.open.remove(&number) else { return };
        match &token {
            Some(token) => asked.given.insert(realm, token.clone()),
            None => asked.given.remove(&realm),
        };
        // Whoever asked may have given up.
        let _ = waiting.send(token);
    }

    /// Answers what is open with what was given before: no call is left that could ask.
    pub(crate) fn settle(&self) {
        let mut asked = self.asked.lock();
        for (realm, waiting) in std::mem::take(&mut asked.open).into_values() {
            let _ = waiting.send(asked.given.get(&realm).cloned());
        }
    }
}

/// What the SDK asks.
pub(crate) struct Source(pub(crate) Arc<Tokens>);

#[async_trait]
impl AuthTokens for Source {
    async fn token(&self, realm: &RealmId) -> Result<Zeroizing<String>, NoToken> {
        let number = self.0.mailbox.number();
        let (send, receive) = oneshot::channel();
        // Before it can be answered.
        self.0.asked.lock().open.insert(number, (*realm, send));
        if !self.0.mailbox.ask(Reply::token_needed(number, realm)) {
            self.0.settle();
        }
        receive.await.ok().flatten().ok_or(NoToken)
    }
}
