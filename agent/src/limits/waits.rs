//! How long users wait between guesses, if the operator wants them to.
//!
//! Nothing tells an agent whether a guess was wrong: the answers are of one length, and whoever sends a `Recover2` can
//! send something that is as long as a `Recover3` after it. So each guess makes the next wait longer, also a right one,
//! and a user who asks for none is forgiven one after the other.

use governor::clock::Reference;
use governor::nanos::Nanos;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;

/// How often a full table is searched for users who are forgiven everything.
const SWEEP: Duration = Duration::from_secs(1);

/// Until when each user of one tenant waits, for a bounded number of users.
pub(super) struct Waits<T> {
    first: Nanos,
    longest: Nanos,
    most: usize,
    table: Mutex<Table<T>>,
}

struct Table<T> {
    users: HashMap<u64, Guesses<T>>,
    swept: T,
}

#[derive(Clone, Copy)]
struct Guesses<T> {
    /// How many are not forgiven; one more doubles the wait.
    count: u32,
    /// When the next is accepted.
    next: T,
}

impl<T: Reference> Waits<T> {
    /// A wait of `first` after the first guess, and of twice as long after each further one, up to `longest`. A `first`
    /// of zero is no wait at all. At most `most` users are remembered.
    pub(super) fn new(first: Duration, longest: Duration, most: usize, now: T) -> Self {
        let table = Mutex::new(Table { users: HashMap::new(), swept: now });
        Self { first: first.into(), longest: longest.into(), most, table }
    }

    /// Whether `user` may guess now. If so, that counts as a guess.
    ///
    /// Users for whom the table has no room do not wait: what binds a guesser is the HSM's count.
    pub(super) fn guess(&self, user: u64, now: T) -> bool {
        if self.first.as_u64() == 0 {
            return true;
        }
        let mut table = self.table.lock();
        let known = table.users.get(&user).copied();
        if known.is_some_and(|guesses| now < guesses.next) {
            return false;
        }
        if known.is_none() && table.users.len() >= self.most && !self.sweep(&mut table, now) {
            return true;
        }
        let before = known.map_or(0, |guesses| self.not_forgiven(&guesses, now));
        let wait = self.wait(before);
        // Beyond the longest wait, one more would only take longer to forgive.
        let count = if wait < self.longest { before.saturating_add(1) } else { before.max(1) };
        table.users.insert(user, Guesses { count, next: now + wait });
        true
    }

    /// What one waits after a guess that follows so many.
    fn wait(&self, before: u32) -> Nanos {
        let doubled = 1_u64.checked_shl(before).and_then(|times| self.first.as_u64().checked_mul(times));
        doubled.map_or(self.longest, |nanos| Nanos::new(nanos).min(self.longest))
    }

    /// One is forgiven for each `longest` that has passed since the wait was over.
    fn not_forgiven(&self, guesses: &Guesses<T>, now: T) -> u32 {
        let quiet = now.duration_since(guesses.next).as_u64() / self.longest.as_u64().max(1);
        guesses.count.saturating_sub(u32::try_from(quiet).unwrap_or(u32::MAX))
    }

    /// Forgets who is forgiven everything. Not on every call, because that looks at all of them. Says whether there is room.
    fn sweep(&self, table: &mut Table<T>, now: T) -> bool {
        if now.duration_since(table.swept) >= Nanos::from(SWEEP) {
            table.users.retain(|_, guesses| now < guesses.next || self.not_forgiven(guesses, now) > 0);
            table.swept = now;
        }
        table.users.len() < self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Waits of 2 s to `longest`, for three users.
    fn waits(longest: u64) -> Waits<Nanos> {
        Waits::new(Duration::from_secs(2), Duration::from_secs(longest), 3, Nanos::new(0))
    }

    fn at(seconds: u64) -> Nanos {
        Nanos::new(seconds * SECOND)
    }

    /// When `user` is let in, of all seconds in `from..to`.
    fn let_in(waits: &Waits<Nanos>, user: u64, from: u64, to: u64) -> Vec<u64> {
        (from..to).filter(|second| waits.guess(user, at(*second))).collect()
    }

    #[test]
    fn each_guess_doubles_the_wait_up_to_the_longest() {
        let waits = waits(60);
        assert_eq!(let_in(&waits, 1, 0, 300), [0, 2, 6, 14, 30, 62, 122, 182, 242]);
        assert_eq!(let_in(&waits, 2, 300, 303), [300, 302], "another user is not concerned");
    }

    #[test]
    fn one_guess_is_forgiven_for_each_longest_wait_without_one() {
        let waits = waits(60);
        assert_eq!(let_in(&waits, 1, 0, 30), [0, 2, 6, 14]);
        // Over at 30 s, with four: two are forgiven at 150 s, and the next two waits are of 8 and 16 s.
        assert_eq!(let_in(&waits, 1, 150, 180), [150, 158, 174]);
        // In the long run nobody gets more than one in each longest wait, however they are spread.
        for pause in [1, 59, 60, 61, 600] {
            let waits = Waits::new(Duration::from_secs(2), Duration::from_secs(60), 1, at(0));
            let mut guesses = 0;
            for second in (0..60_000).filter(|second| second % pause == 0) {
                guesses += u64::from(waits.guess(1, at(second)));
            }
            assert!(guesses <= 60_000 / 60 + 6, "{guesses} with pauses of {pause} s");
        }
    }

    #[test]
    fn who_finds_no_room_does_not_wait_and_there_is_room_when_others_are_forgiven() {
        let waits = waits(60);
        for user in 0..3 {
            assert!(waits.guess(user, at(0)));
        }
        assert_eq!(let_in(&waits, 9, 0, 4), [0, 1, 2, 3], "no room");
        assert_eq!(let_in(&waits, 1, 1, 3), [2], "who is remembered waits on");
        assert_eq!(let_in(&waits, 9, 62, 66), [62, 64], "0 and 2 are forgiven");
        assert_eq!(waits.table.lock().users.len(), 2);
    }

    #[test]
    fn waits_of_any_size_do_not_overflow_and_none_is_none() {
        let waits = Waits::new(Duration::from_secs(u64::from(u32::MAX)), Duration::from_secs(1), 1, at(0));
        assert_eq!(let_in(&waits, 1, 0, 5), [0, 1, 2, 3, 4], "the first is not longer than the longest");
        let none = Waits::new(Duration::ZERO, Duration::from_secs(60), 1, at(0));
        assert!((0..1000).all(|_| none.guess(1, at(0))));
        assert!(none.table.lock().users.is_empty());
        let long = Waits::new(Duration::from_secs(1), Duration::from_secs(1 << 20), 1, at(0));
        let mut now = at(0);
        for _ in 0..100 {
            assert!(long.guess(1, now));
            now = long.table.lock().users[&1].next;
        }
        assert_eq!(long.table.lock().users[&1].count, 20);
    }
}
