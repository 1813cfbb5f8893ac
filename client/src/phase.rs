//! One phase of an operation: the same question to several realms at once, a threshold of which must answer.

use futures::stream::{FuturesUnordered, StreamExt as _};
use strongroom_proto::client::{SecretsRequest, SecretsResponse};
use tokio::sync::watch;

use crate::configuration::Member;
use crate::error::{Cause, Failed, RealmError};
use crate::link::Link;

/// What became of a question.
pub(crate) struct Answers<'a, T> {
    /// In order of share index.
    pub(crate) answers: Vec<(Member<'a>, T)>,
    /// What the other realms did, in the order it was learnt.
    pub(crate) causes: Vec<RealmError>,
}

impl<T> Answers<'_, T> {
    /// Fails if there are fewer than `threshold` answers, with the least of the causes.
    pub(crate) fn reaching(self, threshold: usize) -> Result<Self, Failed> {
        if self.answers.len() < threshold { Err(Failed::least(self.causes)) } else { Ok(self) }
    }
}

impl Link {
    /// Asks every member its question. Ends with the error after which `threshold` answers are out of reach,
    /// abandoning what is under way, or when every realm has answered or failed.
    pub(crate) async fn phase<'a, T>(
        &self,
        questions: Vec<(Member<'a>, SecretsRequest)>,
        threshold: usize,
        read: impl Fn(Member<'a>, SecretsResponse) -> Result<T, Cause>,
    ) -> Result<Answers<'a, T>, Failed> {
        let tolerated = questions.len().saturating_sub(threshold);
        self.gather(questions, threshold, tolerated, read).await.reaching(threshold)
    }

    /// Asks every member its question and waits for all. The long pauses between attempts are taken until
    /// `threshold` have answered.
    pub(crate) async fn ask_all<'a, T>(
        &self,
        questions: Vec<(Member<'a>, SecretsRequest)>,
        threshold: usize,
        read: impl Fn(Member<'a>, SecretsResponse) -> Result<T, Cause>,
    ) -> Answers<'a, T> {
        let tolerated = questions.len();
        self.gather(questions, threshold, tolerated, read).await
    }

    async fn gather<'a, T>(
        &self,
        questions: Vec<(Member<'a>, SecretsRequest)>,
        threshold: usize,
        tolerated: usize,
        read: impl Fn(Member<'a>, SecretsResponse) -> Result<T, Cause>,
    ) -> Answers<'a, T> {
        let (enough, enough_seen) = watch::channel(false);
        let mut asked: FuturesUnordered<_> = questions
            .iter()
            .map(|(member, request)| {
                let response = self.ask(member.realm, request, enough_seen.clone());
                async move { (*member, response.await) }
            })
            .collect();
        let mut gathered = Answers { answers: Vec::new(), causes: Vec::new() };
        while gathered.causes.len() <= tolerated
            && let Some((member, response)) = asked.next().await
        {
            match response.and_then(|response| read(member, response)) {
                Ok(answer) => gathered.answers.push((member, answer)),
                Err(cause) => gathered.causes.push(RealmError { realm: member.realm.id(), cause }),
            }
            enough.send_replace(gathered.answers.len() >= threshold);
        }
        gathered.answers.sort_by_key(|(member, _)| member.index);
        gathered
    }
}
