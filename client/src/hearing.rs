//! What the realms have said in the course of one recovery, and the phases that ask them.
//!
//! No realm is believed alone, and silence decides nothing: see [`crate::verdict`]. A phase goes on for as long as what
//! it waits for can still make a difference.

use std::sync::Arc;

use futures::stream::FuturesUnordered;
use strongroom_proto::client::{SecretsRequest, SecretsResponse};
use tokio::sync::watch;

use crate::bug::Bugs;
use crate::configuration::{Configuration, Member};
use crate::error::{Cause, Failed, RealmError};
use crate::heads::Heads;
use crate::linger::Linger;
use crate::link::Link;
use crate::stragglers::{Awaited, Pending};
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

/// A question to one realm.
pub(crate) struct Question<'a> {
    pub(crate) member: Member<'a>,
    pub(crate) request: SecretsRequest,
    pub(crate) after: After,
}

/// What must have come well before a realm is asked: what it is late with from the phase before.
pub(crate) type After = Option<Pending<Result<(), Cause>>>;

/// One phase.
pub(crate) struct Phase<'a, R, S, C> {
    pub(crate) questions: Vec<Question<'a>>,
    /// Whether one that was late is asked although the phase is over.
    pub(crate) late_too: bool,
    /// What a realm's answer tells, if it is one and its proofs verify.
    pub(crate) read: R,
    /// Whether two answers belong together.
    pub(crate) same: S,
    /// Whether these answers, which agree, are all that is needed while so many realms have said nothing.
    pub(crate) certain: C,
    /// The cause for a realm whose answer does not belong with those of the others.
    pub(crate) apart: Cause,
}

/// Realms that agree, and those that were not waited for.
pub(crate) struct Group<'a, T, R> {
    /// At least the threshold of them, in order of share index.
    pub(crate) answers: Vec<(Member<'a>, T)>,
    pub(crate) late: Vec<(Member<'a>, Pending<Result<R, Cause>>)>,
}

impl Hearing {
    pub(crate) fn new(configuration: &Configuration, bugs: Bugs) -> Self {
        let words = vec![Word::Silent; configuration.realms().len()];
        Self { threshold: configuration.recover_threshold(), bugs, words, causes: Vec::new() }
    }

    /// Asks realms, and returns the answers of those that agree, as soon as that is certain.
    ///
    /// # Errors
    /// What the realms' answers come to, as soon as that is certain, or as soon as nothing more can become certain.
    pub(crate) async fn ask<'a, T>(
        &mut self,
        link: &Arc<Link>,
        phase: Phase<
            'a,
            impl Fn(Member<'a>, SecretsResponse) -> Result<T, Cause>,
            impl Fn(&T, &T) -> bool,
            impl Fn(&[&(Member<'a>, T)], usize) -> bool,
        >,
    ) -> Result<Group<'a, T, SecretsResponse>, Failed> {
        let Phase { questions, late_too, read, same, certain, apart } = phase;
        let (enough, enough_seen) = watch::channel(false);
        let asked = questions.into_iter().map(|Question { member, request, after }| {
            let (link, realm, enough_seen) = (Arc::clone(link), member.realm.clone(), enough_seen.clone());
            let asked = async move {
                if let Some(after) = after {
                    after.await?;
                    // Whoever says what is enough is gone once the phase is over.
                    if !late_too && enough_seen.has_changed().is_err() {
                        return Err(Linger::unheard());
                    }
                }
                link.ask(&realm, &request, enough_seen).await
            };
            Awaited(member, Box::pin(asked) as Pending<_>)
        });
        self.hear(asked.collect(), enough, read, (same, certain), apart).await
    }

    /// Of these realms, those whose logs are as the application demands: at least the threshold of them.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn demand_heads<'a>(
        &mut self,
        link: &Arc<Link>,
        heads: &Arc<Heads>,
        members: Vec<(Member<'a>, After)>,
    ) -> Result<Group<'a, (), ()>, Failed> {
        let (enough, enough_seen) = watch::channel(false);
        let looked = members.into_iter().map(|(member, after)| {
            let (link, heads) = (Arc::clone(link), Arc::clone(heads));
            let (realm, enough_seen) = (member.realm.clone(), enough_seen.clone());
            let looked = async move {
                if let Some(after) = after {
                    after.await?;
                }
                match heads.of(&realm.id()) {
                    Some(demanded) => link.demand_head(&realm, &heads, demanded, enough_seen).await,
                    None => Ok(()),
                }
            };
            Awaited(member, Box::pin(looked) as Pending<_>)
        });
        // All that are well agree.
        let (apart, alike) = (Cause::OtherRegistration, |(): &(), (): &()| true);
        let certain = |_: &[&_], _| true;
        self.hear(looked.collect(), enough, |_, ()| Ok(()), (alike, certain), apart).await
    }

    /// Waits for what realms say, as long as that can make a difference.
    async fn hear<'a, T, R>(
        &mut self,
        mut asked: FuturesUnordered<Awaited<Member<'a>, Result<R, Cause>>>,
        enough: watch::Sender<bool>,
        read: impl Fn(Member<'a>, R) -> Result<T, Cause>,
        (same, certain): (impl Fn(&T, &T) -> bool, impl Fn(&[&(Member<'a>, T)], usize) -> bool),
        apart: Cause,
    ) -> Result<Group<'a, T, R>, Failed> {
        let mut pending: Vec<_> = asked.iter().map(|Awaited(member, _)| *member).collect();
        // What a realm said in an earlier phase may no longer be true.
        pending.iter().for_each(|member| self.words[member.position()] = Word::Silent);
        let mut answers: Vec<(Member<'a>, T)> = Vec::new();
        let mut changed = false;
        let mut linger = Linger::default();
        loop {
            let next = if !self.is_over(pending.len(), &answers, &certain) {
                linger.next(&mut asked).await
            } else if linger.had_enough() {
                Linger::come(&mut asked)
            } else {
                None
            };
            let Some((member, response)) = next else { break };
            match response.and_then(|response| read(member, response)) {
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
            pending.into_iter().for_each(|member| self.set_aside(member, Linger::unheard()));
        }
        let answers =
            self.conclude(answers, apart, changed).map_err(|failed| Failed { changed, ..failed })?;
        let late = asked.into_iter().map(|Awaited(member, late)| (member, late)).collect();
        Ok(Group { answers, late })
    }

    fn verdict(&self) -> Verdict<usize> {
        verdict(&self.words, self.threshold, self.bugs)
    }

    fn is_over<'a, T>(
        &self,
        pending: usize,
        answers: &[(Member<'a>, T)],
        certain: &impl Fn(&[&(Member<'a>, T)], usize) -> bool,
    ) -> bool {
        match self.verdict() {
            Verdict::Holds(group) => {
                let agrees = |member: &Member<'_>| self.words[member.position()] == Word::Holds(group);
                let agreed: Vec<_> = answers.iter().filter(|(member, _)| agrees(member)).collect();
                pending == 0 || certain(&agreed, self.silent())
            }
            Verdict::Unavailable => !is_open(&self.words, pending, self.threshold, self.bugs),
            Verdict::NotRegistered | Verdict::NoGuesses | Verdict::Apart => true,
        }
    }

    fn silent(&self) -> usize {
        self.words.iter().filter(|word| **word == Word::Silent).count()
    }

    /// Whether a realm may hold the registration, for all that it has said; so does one that has said nothing.
    pub(crate) fn may_hold(&self, member: &Member<'_>) -> bool {
        self.causes.iter().all(|error| error.realm != member.realm.id() || !error.cause.is_out())
    }

    /// Notes that a realm, about which nothing is known, cannot tell.
    pub(crate) fn note_silence(&mut self, error: RealmError) {
        self.causes.push(error);
    }

    /// Whether a realm has named another registration than the others.
    pub(crate) fn names_another(&self) -> bool {
        self.causes.iter().any(|error| error.cause == Cause::OtherRegistration)
    }

    /// Whether realms tell of a registration, and enough of them tell anything for one to be recovered.
    pub(crate) fn tells_of_something(&self) -> bool {
        let something =
            |word: &Word<usize>| matches!(word, Word::Holds(_) | Word::HoldsOther | Word::NoGuesses);
        self.words.iter().any(something) && self.words.len() - self.silent() >= self.threshold
    }

    /// The realms that have said that they do not hold the registration, and why.
    pub(crate) fn without(self) -> impl Iterator<Item = RealmError> {
        self.causes.into_iter().filter(|error| error.cause.is_word())
    }

    /// How many realms are needed.
    pub(crate) const fn threshold(&self) -> usize {
        self.threshold
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
    pub(crate) fn set_aside(&mut self, member: Member<'_>, cause: Cause) {
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
        let silent = self.silent();
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
