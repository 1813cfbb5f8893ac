//! What the realms have said in the course of one recovery, and the phases that ask them.
//!
//! No realm is believed alone, and silence decides nothing: see [`crate::verdict`]. A phase goes on for as long as what
//! it waits for can still make a difference.

use futures::stream::FuturesUnordered;
use strongroom_proto::client::{SecretsRequest, SecretsResponse};
use tokio::sync::watch;

use crate::bug::Bugs;
use crate::configuration::{Configuration, Member};
use crate::error::{Cause, Failed, RealmError};
use crate::heads::Heads;
use crate::linger::Linger;
use crate::link::Link;
use crate::verdict::{Verdict, Word, guesses_remaining, is_open, verdict};

pub(crate) const NO_GUESSES: Cause = Cause::InvalidPin { guesses_remaining: 0 };

/// What every realm of a configuration said last.
pub(crate) struct Hearing {
    threshold: usize,
    bugs: Bugs,
    /// By position in the configuration.
    words: Vec<Word<usize>>,
    /// Why a realm does not count among those that hold the registration, in the order in which this was learnt.
    causes: Vec<RealmError>,
}

/// The question of one phase.
pub(crate) struct Phase<'a, R, S> {
    pub(crate) questions: Vec<(Member<'a>, SecretsRequest)>,
    /// What a realm's answer tells, if it is one and its proofs verify.
    pub(crate) read: R,
    /// Whether two answers belong together.
    pub(crate) same: S,
    /// The cause for a realm whose answer does not belong with those of the others.
    pub(crate) apart: Cause,
}

impl Hearing {
    pub(crate) fn new(configuration: &Configuration, bugs: Bugs) -> Self {
        let words = vec![Word::Silent; configuration.realms().len()];
        Self { threshold: configuration.recover_threshold(), bugs, words, causes: Vec::new() }
    }

    /// Asks realms, and returns the answers of those that agree, at least the threshold of them, in order of share
    /// index. By then, all that were asked have answered or failed, or have had about a second to do so after these.
    ///
    /// # Errors
    /// What the realms' answers come to, as soon as that is certain, or as soon as nothing more can become certain.
    pub(crate) async fn ask<'a, T>(
        &mut self,
        link: &Link,
        phase: Phase<'a, impl Fn(Member<'a>, SecretsResponse) -> Result<T, Cause>, impl Fn(&T, &T) -> bool>,
    ) -> Result<Vec<(Member<'a>, T)>, Failed> {
        let Phase { questions, read, same, apart } = phase;
        let (enough, enough_seen) = watch::channel(false);
        let read = &read;
        let asked = questions.iter().map(|(member, request)| {
            let response = link.ask(member.realm, request, enough_seen.clone());
            (*member, async move { response.await.and_then(|response| read(*member, response)) })
        });
        self.hear(asked.collect(), enough, same, apart).await
    }

    /// Of these realms, those whose logs are as the application demands: at least the threshold of them.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn demand_heads<'a>(
        &mut self,
        link: &Link,
        heads: &Heads,
        members: &[Member<'a>],
    ) -> Result<Vec<Member<'a>>, Failed> {
        let (enough, enough_seen) = watch::channel(false);
        let looked = members.iter().map(|member| {
            let enough_seen = enough_seen.clone();
            let looked = async move {
                match heads.of(&member.realm.id()) {
                    Some(demanded) => link.demand_head(member.realm, heads, demanded, enough_seen).await,
                    None => Ok(()),
                }
            };
            (*member, looked)
        });
        // All that are well agree.
        let apart = Cause::OtherRegistration;
        let well = self.hear(looked.collect(), enough, |(): &(), (): &()| true, apart).await?;
        Ok(well.into_iter().map(|(member, ())| member).collect())
    }

    /// Waits for what realms say, as long as that can make a difference.
    async fn hear<'a, T>(
        &mut self,
        asked: Vec<(Member<'a>, impl Future<Output = Result<T, Cause>>)>,
        enough: watch::Sender<bool>,
        same: impl Fn(&T, &T) -> bool,
        apart: Cause,
    ) -> Result<Vec<(Member<'a>, T)>, Failed> {
        let mut pending: Vec<_> = asked.iter().map(|(member, _)| *member).collect();
        let asked = asked.into_iter().map(|(member, said)| async move { (member, said.await) });
        let mut asked: FuturesUnordered<_> = asked.collect();
        // What a realm said in an earlier phase may no longer be true.
        pending.iter().for_each(|member| self.words[member.position()] = Word::Silent);
        let mut answers: Vec<(Member<'a>, T)> = Vec::new();
        let mut changed = false;
        let mut linger = Linger::default();
        while !self.is_over(pending.len())
            && let Some((member, response)) = linger.next(&mut asked).await
        {
            match response {
                Ok(answer) => {
                    let group = answers.iter().position(|(_, other)| same(other, &answer));
                    self.words[member.position()] = Word::Holds(group.unwrap_or(answers.len()));
                    self.causes.retain(|error| error.realm != member.realm.id());
                    answers.push((member, answer));
                }
                Err(cause) => {
                    changed |= cause == Cause::OtherRegistration;
                    self.set_aside(member, cause);
                }
            }
            pending.retain(|other| other.position() != member.position());
            let holds = matches!(self.verdict(), Verdict::Holds(_));
            linger.note(holds);
            enough.send_replace(holds);
        }
        if linger.had_enough() {
            pending.into_iter().for_each(|member| self.set_aside(member, Linger::late()));
        }
        let concluded = self.conclude(answers, apart, changed);
        concluded.map_err(|failed| Failed { changed, ..failed })
    }

    fn verdict(&self) -> Verdict<usize> {
        verdict(&self.words, self.threshold, self.bugs)
    }

    fn is_over(&self, pending: usize) -> bool {
        match self.verdict() {
            // Wait for more than enough to agree, if they can: each can stand in for another in what follows.
            Verdict::Holds(_) => pending == 0,
            Verdict::Unavailable => !is_open(&self.words, pending, self.threshold, self.bugs),
            Verdict::NotRegistered | Verdict::NoGuesses | Verdict::Apart => true,
        }
    }

    fn conclude<'a, T>(
        &mut self,
        mut answers: Vec<(Member<'a>, T)>,
        apart: Cause,
        changed: bool,
    ) -> Result<Vec<(Member<'a>, T)>, Failed> {
        let verdict = self.verdict();
        let belongs = |words: &[Word<usize>], member: &Member<'_>| match verdict {
            Verdict::Holds(group) => words[member.position()] == Word::Holds(group),
            // Silence may still bring them together.
            Verdict::Unavailable => true,
            _ => false,
        };
        for (member, _) in &answers {
            if !belongs(&self.words, member) {
                self.set_aside(*member, apart.clone());
            }
        }
        let causes = || self.causes.clone();
        match verdict {
            Verdict::Holds(_) => {
                answers.retain(|(member, _)| belongs(&self.words, member));
                answers.sort_by_key(|(member, _)| member.index);
                Ok(answers)
            }
            Verdict::NotRegistered => Err(Failed::with(Cause::NotRegistered, causes())),
            Verdict::NoGuesses => Err(Failed::with(NO_GUESSES, causes())),
            // The registration was replaced between two phases.
            Verdict::Apart if changed => Err(Failed::with(Cause::OtherRegistration, causes())),
            Verdict::Apart => Err(Failed::with(apart, causes())),
            Verdict::Unavailable => Err(self.unavailable()),
        }
    }

    /// Notes why a realm does not count among those that hold the registration.
    fn set_aside(&mut self, member: Member<'_>, cause: Cause) {
        self.words[member.position()] = match &cause {
            Cause::NotRegistered => Word::NotRegistered,
            Cause::InvalidPin { guesses_remaining: 0 } => Word::NoGuesses,
            Cause::OtherRegistration => Word::HoldsOther,
            _ => Word::Silent,
        };
        self.causes.retain(|error| error.realm != member.realm.id());
        self.causes.push(RealmError { realm: member.realm.id(), cause });
    }

    /// The PIN is wrong according to the realms that evaluated it, which have these guesses left.
    pub(crate) fn wrong_pin(mut self, left: Vec<(Member<'_>, u16)>) -> Failed {
        let silent = self.words.iter().filter(|word| **word == Word::Silent).count();
        let told = left.iter().map(|(_, guesses)| *guesses).collect();
        let remaining = guesses_remaining(told, silent, self.threshold, self.bugs);
        self.causes.extend(left.into_iter().map(|(member, guesses_remaining)| RealmError {
            realm: member.realm.id(),
            cause: Cause::InvalidPin { guesses_remaining },
        }));
        match remaining {
            Some(guesses_remaining) => self.failed(Cause::InvalidPin { guesses_remaining }),
            None => self.unavailable(),
        }
    }

    /// The answers cannot be used: `cause`.
    pub(crate) fn failed(self, cause: Cause) -> Failed {
        Failed::with(cause, self.causes)
    }

    /// Nothing is decided, because of the silent realms.
    fn unavailable(&self) -> Failed {
        let silence = self.causes.iter().filter(|error| !error.cause.is_word()).cloned().collect();
        Failed::with(Failed::least(silence).cause, self.causes.clone())
    }
}
