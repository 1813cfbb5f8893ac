//! One phase of an operation: the same question to several realms at once, a threshold of which must answer.

use futures::stream::FuturesUnordered;
use strongroom_proto::client::{SecretsRequest, SecretsResponse};
use tokio::sync::watch;

use crate::configuration::Member;
use crate::error::{Cause, Failed, RealmError};
use crate::linger::Linger;
use crate::link::Link;

/// The outcome of a question.
pub(crate) struct Answers<'a, T> {
    /// In order of share index.
    pub(crate) answers: Vec<(Member<'a>, T)>,
    /// What the other realms did, in the order in which this was learnt.
    pub(crate) causes: Vec<RealmError>,
}

impl<T> Answers<'_, T> {
    /// Adds the causes of those that were asked and have neither answered nor failed.
    fn set_late_aside(&mut self, questions: &[(Member<'_>, SecretsRequest)]) {
        for id in questions.iter().map(|(member, _)| member.realm.id()) {
            let answered = self.answers.iter().any(|(member, _)| member.realm.id() == id);
            if !answered && self.causes.iter().all(|error| error.realm != id) {
                self.causes.push(RealmError { realm: id, cause: Linger::late() });
            }
        }
    }

    /// Fails if there are fewer than `threshold` answers, with the least of the causes.
    pub(crate) fn reaching(self, threshold: usize) -> Result<Self, Failed> {
        if self.answers.len() < threshold { Err(Failed::least(self.causes)) } else { Ok(self) }
    }
}

impl Link {
    /// Asks every member its question. Ends with the error that puts `threshold` answers out of reach, abandoning what
    /// is under way; or when every realm has answered or failed, or has had about a second to do so after `threshold`
    /// others.
    pub(crate) async fn phase<'a, T>(
        &self,
        questions: Vec<(Member<'a>, SecretsRequest)>,
        threshold: usize,
        read: impl Fn(Member<'a>, SecretsResponse) -> Result<T, Cause>,
    ) -> Result<Answers<'a, T>, Failed> {
        let tolerated = questions.len().saturating_sub(threshold);
        let enough = |answers: &[_]| answers.len() >= threshold;
        self.gather(questions, enough, tolerated, read).await.reaching(threshold)
    }

    /// Asks every member its question. Waits for all until the answers are `enough`, with long pauses between attempts,
    /// and then about a second for the rest.
    pub(crate) async fn ask_all<'a, T>(
        &self,
        questions: Vec<(Member<'a>, SecretsRequest)>,
        enough: impl Fn(&[(Member<'a>, T)]) -> bool,
        read: impl Fn(Member<'a>, SecretsResponse) -> Result<T, Cause>,
    ) -> Answers<'a, T> {
        let tolerated = questions.len();
        self.gather(questions, enough, tolerated, read).await
    }

    async fn gather<'a, T>(
        &self,
        questions: Vec<(Member<'a>, SecretsRequest)>,
        enough: impl Fn(&[(Member<'a>, T)]) -> bool,
        tolerated: usize,
        read: impl Fn(Member<'a>, SecretsResponse) -> Result<T, Cause>,
    ) -> Answers<'a, T> {
        let (has_enough, enough_seen) = watch::channel(false);
        let mut asked: FuturesUnordered<_> = questions
            .iter()
            .map(|(member, request)| {
                let response = self.ask(member.realm, request, enough_seen.clone());
                async move { (*member, response.await) }
            })
            .collect();
        let mut gathered = Answers { answers: Vec::new(), causes: Vec::new() };
        let mut linger = Linger::default();
        while gathered.causes.len() <= tolerated
            && let Some((member, response)) = linger.next(&mut asked).await
        {
            match response.and_then(|response| read(member, response)) {
                Ok(answer) => gathered.answers.push((member, answer)),
                Err(cause) => gathered.causes.push(RealmError { realm: member.realm.id(), cause }),
            }
            let enough = enough(&gathered.answers);
            linger.note(enough);
            has_enough.send_replace(enough);
        }
        if linger.had_enough() {
            gathered.set_late_aside(&questions);
        }
        gathered.answers.sort_by_key(|(member, _)| member.index);
        gathered
    }
}
