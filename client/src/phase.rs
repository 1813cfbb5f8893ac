//! One phase of an operation: a question to several realms at once, a threshold of which must answer.

use std::sync::Arc;

use futures::stream::FuturesUnordered;
use strongroom_proto::client::{SecretsRequest, SecretsResponse};
use strongroom_proto::ids::RealmId;
use tokio::sync::watch;

use crate::configuration::Member;
use crate::error::{Cause, Failed, RealmError};
use crate::linger::Linger;
use crate::link::Link;
use crate::stragglers::{Awaited, Pending, Turn};

/// The outcome of a question.
pub(crate) struct Answers<'a, T, R = SecretsResponse> {
    /// In order of share index.
    pub(crate) answers: Vec<(Member<'a>, T)>,
    /// What the other realms did, in the order in which this was learnt.
    pub(crate) causes: Vec<RealmError>,
    /// Those that were not waited for to the end.
    pub(crate) late: Vec<(RealmId, Pending<Result<R, Cause>>)>,
}

/// How long to go on waiting.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until all have answered or failed.
    ForAll,
    /// About a second since this was first enough.
    Linger,
    /// Not at all.
    End,
}

impl<T, R> Answers<'_, T, R> {
    /// Adds the causes of those that were asked and have neither answered nor failed.
    fn set_late_aside(&mut self, asked: &[RealmId]) {
        for id in asked {
            let answered = self.answers.iter().any(|(member, _)| member.realm.id() == *id);
            if !answered && self.causes.iter().all(|error| error.realm != *id) {
                self.causes.push(RealmError { realm: *id, cause: Linger::late() });
            }
        }
    }

    /// Fails if there are fewer than `threshold` answers, with the least of the causes.
    pub(crate) fn reaching(self, threshold: usize) -> Result<Self, Failed> {
        if self.answers.len() < threshold { Err(Failed::least(self.causes)) } else { Ok(self) }
    }
}

impl Link {
    /// Asks every member its question. Ends when `threshold` realms have answered, or with the error that puts that out of reach,
    /// abandoning what is under way.
    pub(crate) async fn phase<'a, T>(
        self: &Arc<Self>,
        turn: &Turn,
        questions: Vec<(Member<'a>, SecretsRequest)>,
        threshold: usize,
        read: impl Fn(Member<'a>, SecretsResponse) -> Result<T, Cause>,
    ) -> Result<Answers<'a, T>, Failed> {
        let tolerated = questions.len().saturating_sub(threshold);
        self.gather(turn, questions, until(threshold), tolerated, read).await.reaching(threshold)
    }

    /// Asks every member its question. Ends when `threshold` realms have answered, or when all have answered or failed, with long
    /// pauses between attempts.
    pub(crate) async fn ask_enough<'a, T>(
        self: &Arc<Self>,
        turn: &Turn,
        questions: Vec<(Member<'a>, SecretsRequest)>,
        threshold: usize,
        read: impl Fn(Member<'a>, SecretsResponse) -> Result<T, Cause>,
    ) -> Answers<'a, T> {
        let tolerated = questions.len();
        self.gather(turn, questions, until(threshold), tolerated, read).await
    }

    /// Asks every member its question. Waits for all until the answers are `enough`, with long pauses between attempts,
    /// and then about a second for the rest.
    pub(crate) async fn ask_all<'a, T>(
        self: &Arc<Self>,
        turn: &Turn,
        questions: Vec<(Member<'a>, SecretsRequest)>,
        enough: impl Fn(&[(Member<'a>, T)]) -> bool,
        read: impl Fn(Member<'a>, SecretsResponse) -> Result<T, Cause>,
    ) -> Answers<'a, T> {
        let tolerated = questions.len();
        let wait = |answers: &[_]| if enough(answers) { Wait::Linger } else { Wait::ForAll };
        self.gather(turn, questions, wait, tolerated, read).await
    }

    async fn gather<'a, T>(
        self: &Arc<Self>,
        turn: &Turn,
        questions: Vec<(Member<'a>, SecretsRequest)>,
        wait: impl Fn(&[(Member<'a>, T)]) -> Wait,
        tolerated: usize,
        read: impl Fn(Member<'a>, SecretsResponse) -> Result<T, Cause>,
    ) -> Answers<'a, T> {
        let members: Vec<_> = questions.iter().map(|(member, _)| *member).collect();
        let begin = |member: Member<'a>, enough_seen| {
            let (link, turn, realm) = (Arc::clone(self), turn.clone(), member.realm.clone());
            let of_it = questions.iter().find(|(other, _)| other.position() == member.position());
            let request = of_it.map(|(_, request)| request.clone());
            let asked = async move {
                turn.come(realm.id()).await;
                link.ask(&realm, &request.expect("each member has a question"), enough_seen).await
            };
            Box::pin(asked) as Pending<_>
        };
        gather(members, begin, wait, tolerated, read).await
    }
}

/// Ends when so many have answered.
fn until<A>(threshold: usize) -> impl Fn(&[A]) -> Wait {
    move |answers| if answers.len() >= threshold { Wait::End } else { Wait::ForAll }
}

/// Begins something at every member, which is told how to know that it is no longer needed, and waits as those that have come well say.
pub(crate) async fn all_of<'a, T>(
    members: Vec<Member<'a>>,
    wait: impl Fn(&[(Member<'a>, T)]) -> Wait,
    begin: impl Fn(Member<'a>, watch::Receiver<bool>) -> Pending<Result<T, Cause>>,
) -> Answers<'a, T, T> {
    let tolerated = members.len();
    gather(members, begin, wait, tolerated, |_, come| Ok(come)).await
}

async fn gather<'a, T, R>(
    members: Vec<Member<'a>>,
    begin: impl Fn(Member<'a>, watch::Receiver<bool>) -> Pending<Result<R, Cause>>,
    wait: impl Fn(&[(Member<'a>, T)]) -> Wait,
    tolerated: usize,
    read: impl Fn(Member<'a>, R) -> Result<T, Cause>,
) -> Answers<'a, T, R> {
    let (has_enough, enough_seen) = watch::channel(false);
    let ids: Vec<_> = members.iter().map(|member| member.realm.id()).collect();
    let asked = members.into_iter().map(|member| Awaited(member, begin(member, enough_seen.clone())));
    let mut asked: FuturesUnordered<_> = asked.collect();
    let mut gathered = Answers { answers: Vec::new(), causes: Vec::new(), late: Vec::new() };
    let (mut linger, mut end) = (Linger::default(), false);
    while gathered.causes.len() <= tolerated {
        let next = if end { Linger::come(&mut asked) } else { linger.next(&mut asked).await };
        let Some((member, response)) = next else { break };
        match response.and_then(|response| read(member, response)) {
            Ok(answer) => gathered.answers.push((member, answer)),
            Err(cause) => gathered.causes.push(RealmError { realm: member.realm.id(), cause }),
        }
        let wait = wait(&gathered.answers);
        end = wait == Wait::End;
        linger.note(wait != Wait::ForAll);
        has_enough.send_replace(wait != Wait::ForAll);
    }
    if linger.had_enough() {
        gathered.set_late_aside(&ids);
    }
    gathered.late = asked.into_iter().map(|Awaited(member, late)| (member.realm.id(), late)).collect();
    gathered.answers.sort_by_key(|(member, _)| member.index);
    gathered
}
