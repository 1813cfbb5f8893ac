//! What the words of all realms amount to when some realms have said nothing.
//!
//! The rule: a verdict counts only if it is the same whatever the silent realms would have said. So a host that lies
//! and a network that is down cannot decide together. A realm is silent if it could not be reached, refused the
//! request, or broke the protocol; the reason makes no difference.
//!
//! Pure: no I/O, no clock. The tests compare it with every completion of the silence.

use crate::bug::{Bug, Bugs};

/// What one realm says about the registration that a recovery looks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word<G> {
    /// It holds this one, or answers for it in this way.
    Holds(G),
    /// It holds a different one from the one in question; which one does not matter.
    HoldsOther,
    /// It holds none.
    NotRegistered,
    /// It held one whose guesses are used up.
    NoGuesses,
    /// Nothing reliable.
    Silent,
}

/// What the words of all realms amount to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict<G> {
    /// Enough realms hold the same.
    Holds(G),
    /// Too few realms hold anything; most of the others say that nothing is registered.
    NotRegistered,
    /// Too few realms hold anything; at least half of the others say that the guesses are used up.
    NoGuesses,
    /// Enough realms hold something, too few of them the same.
    Apart,
    /// The silent realms could change the verdict.
    Unavailable,
}

/// The verdict on the words of all realms of a configuration, `threshold` of which are needed: more than half.
pub(crate) fn verdict<G: Copy + PartialEq>(words: &[Word<G>], threshold: usize, bugs: Bugs) -> Verdict<G> {
    let count = |which: &dyn Fn(&Word<G>) -> bool| words.iter().filter(|word| which(word)).count();
    let alike = |group: G| count(&|word| *word == Word::Holds(group));
    let mut best = usize::from(words.contains(&Word::HoldsOther));
    for word in words {
        let Word::Holds(group) = *word else { continue };
        if alike(group) >= threshold {
            return Verdict::Holds(group);
        }
        best = best.max(alike(group));
    }

    let mut unregistered = count(&|word| *word == Word::NotRegistered);
    let locked = count(&|word| *word == Word::NoGuesses);
    let mut silent = count(&|word| *word == Word::Silent);
    if bugs.has(Bug::SilenceDenies) {
        unregistered += std::mem::take(&mut silent);
    }
    if bugs.has(Bug::OneLockedRealmDecides) && locked > 0 {
        return Verdict::NoGuesses;
    }
    // With this many that hold nothing, the others are fewer than the threshold.
    let decisive = words.len().saturating_sub(threshold) + 1;
    let denials = unregistered + locked;
    if denials >= decisive {
        // Each silent realm could add to either side.
        if locked >= unregistered + silent {
            Verdict::NoGuesses
        } else if unregistered > locked + silent {
            Verdict::NotRegistered
        } else {
            Verdict::Unavailable
        }
    } else if silent == 0 || denials + silent < decisive && best + silent < threshold {
        Verdict::Apart
    } else {
        Verdict::Unavailable
    }
}

/// Whether `pending` further realms, which count as silent so far, could still lead to a verdict.
///
/// What several of them can achieve, they achieve best with one voice. For the verdict that all guesses are used up,
/// this waits only if a realm says so: if all realms are needed and one is down, clients in the field do not wait for
/// the others.
pub(crate) fn is_open(words: &[Word<usize>], pending: usize, threshold: usize, bugs: Bugs) -> bool {
    let silent = words.iter().enumerate().filter(|(_, word)| **word == Word::Silent);
    let places: Vec<usize> = silent.map(|(place, _)| place).take(pending).collect();
    let said = words.iter().filter(|word| matches!(word, Word::Holds(_) | Word::NoGuesses)).copied();
    let new = [Word::NotRegistered, Word::Holds(usize::MAX)];
    said.chain(new).any(|word| {
        let mut completed = words.to_vec();
        for place in &places {
            completed[*place] = word;
        }
        verdict(&completed, threshold, bugs) != Verdict::Unavailable
    })
}

/// How many more wrong PINs leave enough realms with guesses: the `threshold`-th largest of what the realms that
/// evaluated the PIN have left. At least this many if further realms are silent; `None` if those decide whether the
/// secret is gone.
pub(crate) fn guesses_remaining(
    mut left: Vec<u16>,
    silent: usize,
    threshold: usize,
    bugs: Bugs,
) -> Option<u16> {
    if bugs.has(Bug::LeastGuessesDecide) {
        return left.into_iter().min();
    }
    left.sort_unstable_by(|a, b| b.cmp(a));
    match left.get(threshold.saturating_sub(1)) {
        Some(guesses) if *guesses > 0 => Some(*guesses),
        _ => {
            let usable = left.iter().filter(|guesses| **guesses > 0).count();
            (usable + silent < threshold).then_some(0)
        }
    }
}

/// Whether [`guesses_remaining`] is the same whatever the silent realms have left.
pub(crate) fn are_certain(left: &[u16], silent: usize, threshold: usize, bugs: Bugs) -> bool {
    let known = guesses_remaining(left.to_vec(), silent, threshold, bugs);
    let most = [left, &vec![u16::MAX; silent]].concat();
    known.is_some() && known == guesses_remaining(most, 0, threshold, bugs)
}

#[cfg(test)]
mod tests {
    use super::*;

    type W = Word<u8>;
    /// What a realm that is silent might say: nothing the others have not said, and one thing of its own.
    const SAYABLE: [W; 5] =
        [Word::NotRegistered, Word::NoGuesses, Word::Holds(0), Word::Holds(1), Word::Holds(2)];

    /// Calls `check` with every sequence of `len` items from `from`.
    fn every<T: Copy>(from: &[T], len: usize, check: &mut impl FnMut(&[T])) {
        fn go<T: Copy>(from: &[T], len: usize, so_far: &mut Vec<T>, check: &mut impl FnMut(&[T])) {
            if so_far.len() == len {
                return check(so_far);
            }
            for next in from {
                so_far.push(*next);
                go(from, len, so_far, check);
                so_far.pop();
            }
        }
        go(from, len, &mut Vec::new(), check);
    }

    /// The verdict if no realm is silent, from its meaning.
    fn of_all(words: &[W], threshold: usize) -> Verdict<u8> {
        let count = |which: W| words.iter().filter(|word| **word == which).count();
        if let Some(group) = (0..=2).find(|group| count(Word::Holds(*group)) >= threshold) {
            return Verdict::Holds(group);
        }
        let (unregistered, locked) = (count(Word::NotRegistered), count(Word::NoGuesses));
        let others = words.len() - unregistered - locked;
        match (others < threshold, locked >= unregistered) {
            (false, _) => Verdict::Apart,
            (true, true) => Verdict::NoGuesses,
            (true, false) => Verdict::NotRegistered,
        }
    }

    /// Every verdict that a completion of the silence leads to.
    fn completions(words: &[W], threshold: usize) -> Vec<Verdict<u8>> {
        let silent = words.iter().filter(|word| **word == Word::Silent).count();
        let mut verdicts = Vec::new();
        every(&SAYABLE, silent, &mut |said| {
            let mut said = said.iter();
            let fill = |word: &W| if *word == Word::Silent { *said.next().unwrap() } else { *word };
            let completed: Vec<W> = words.iter().map(fill).collect();
            let verdict = of_all(&completed, threshold);
            if !verdicts.contains(&verdict) {
                verdicts.push(verdict);
            }
        });
        verdicts
    }

    /// Calls `check` with everything that up to five realms can say about two registrations, and every threshold.
    fn everything(mut check: impl FnMut(&[W], usize)) {
        let sayable = [Word::NotRegistered, Word::NoGuesses, Word::Holds(0), Word::Holds(1), Word::Silent];
        for realms in 1..=5 {
            for threshold in realms / 2 + 1..=realms {
                every(&sayable, realms, &mut |words| check(words, threshold));
            }
        }
    }

    fn first_difference(bugs: Bugs) -> Option<(Vec<W>, usize)> {
        let mut found = None;
        everything(|words, threshold| {
            let possible = completions(words, threshold);
            let expected = if let [only] = possible[..] { only } else { Verdict::Unavailable };
            if found.is_none() && verdict(words, threshold, bugs) != expected {
                found = Some((words.to_vec(), threshold));
            }
        });
        found
    }

    #[test]
    fn a_verdict_is_what_every_completion_of_the_silence_leads_to_or_else_unavailable() {
        assert_eq!(first_difference(Bugs::default()), None);
    }

    #[test]
    fn a_verdict_that_silence_takes_part_in_is_noticed() {
        for bug in [Bug::SilenceDenies, Bug::OneLockedRealmDecides] {
            assert!(first_difference(Bugs { planted: Some(bug) }).is_some(), "{bug:?}");
        }
    }

    #[test]
    fn a_registration_other_than_the_one_in_question_counts_as_one_that_no_other_realm_mentions() {
        everything(|words, threshold| {
            let others = words.iter().filter(|word| **word == Word::Holds(1)).count();
            if others != 1 {
                return;
            }
            let unnamed: Vec<W> =
                words.iter().map(|w| if *w == Word::Holds(1) { Word::HoldsOther } else { *w }).collect();
            let (named, unnamed) =
                (verdict(words, threshold, Bugs::default()), verdict(&unnamed, threshold, Bugs::default()));
            // A configuration of one realm that holds another registration does not have the one in question.
            let expected = if named == Verdict::Holds(1) { Verdict::Apart } else { named };
            assert_eq!(unnamed, expected, "{words:?}, {threshold}");
        });
    }

    #[test]
    fn one_that_lies_and_one_that_is_down_decide_nothing_and_two_that_agree_do() {
        let three = |words: [W; 3]| verdict(&words, 2, Bugs::default());
        use Word::{Holds, NoGuesses, NotRegistered, Silent};
        assert_eq!(three([NotRegistered, Holds(0), Silent]), Verdict::Unavailable);
        assert_eq!(three([NoGuesses, Holds(0), Silent]), Verdict::Unavailable);
        assert_eq!(three([Holds(1), Holds(0), Silent]), Verdict::Unavailable);
        assert_eq!(three([NoGuesses, NotRegistered, Silent]), Verdict::Unavailable);
        assert_eq!(three([NotRegistered, NotRegistered, Silent]), Verdict::NotRegistered);
        assert_eq!(three([NoGuesses, NoGuesses, Silent]), Verdict::NoGuesses);
        assert_eq!(three([NotRegistered, NotRegistered, NoGuesses]), Verdict::NotRegistered);
        assert_eq!(three([Holds(0), Silent, Holds(0)]), Verdict::Holds(0));
    }

    #[test]
    fn waiting_ends_only_when_no_answer_could_lead_to_a_verdict() {
        everything(|words, threshold| {
            let silent: Vec<usize> = (0..words.len()).filter(|i| words[*i] == Word::Silent).collect();
            for pending in 1..=silent.len() {
                let mut leads = false;
                every(&SAYABLE, pending, &mut |said| {
                    let mut heard = words.to_vec();
                    silent.iter().zip(said).for_each(|(place, word)| heard[*place] = *word);
                    let reached = verdict(&heard, threshold, Bugs::default());
                    leads |= match reached {
                        Verdict::Holds(_) | Verdict::NotRegistered => true,
                        Verdict::NoGuesses => words.contains(&Word::NoGuesses),
                        Verdict::Apart | Verdict::Unavailable => false,
                    };
                });
                let words: Vec<Word<usize>> = words.iter().map(widened).collect();
                let open = is_open(&words, pending, threshold, Bugs::default());
                assert!(open || !leads, "{words:?}, {threshold}, {pending}");
                // With all realms heard there is always a verdict.
                assert!(open || pending < silent.len());
            }
        });
    }

    fn widened(word: &W) -> Word<usize> {
        match *word {
            Word::Holds(group) => Word::Holds(group.into()),
            Word::HoldsOther => Word::HoldsOther,
            Word::NotRegistered => Word::NotRegistered,
            Word::NoGuesses => Word::NoGuesses,
            Word::Silent => Word::Silent,
        }
    }

    /// Whether the secret is reported gone exactly if it is gone with every completion, and whether the guesses
    /// reported are there with every completion.
    fn guesses_hold(bugs: Bugs) -> bool {
        let mut hold = true;
        for realms in 1..=5_usize {
            for threshold in realms / 2 + 1..=realms {
                for answered in threshold..=realms {
                    every(&[0, 1, 2_u16], answered, &mut |left| {
                        let silent = realms - answered;
                        let told = guesses_remaining(left.to_vec(), silent, threshold, bugs);
                        let mut possible = Vec::new();
                        every(&[0, 1, 2_u16], silent, &mut |said| {
                            let mut all = [left, said].concat();
                            all.sort_unstable();
                            possible.push(all[realms - threshold]);
                        });
                        let gone = possible.iter().all(|left| *left == 0);
                        let least = possible.into_iter().min().unwrap();
                        hold &= match told {
                            Some(0) => gone,
                            Some(guesses) => guesses == least,
                            None => least == 0 && !gone,
                        };
                    });
                }
            }
        }
        hold
    }

    #[test]
    fn the_secret_is_gone_only_if_it_is_whatever_the_silent_realms_have_left() {
        assert!(guesses_hold(Bugs::default()));
        assert!(!guesses_hold(Bugs { planted: Some(Bug::LeastGuessesDecide) }));
    }
}
