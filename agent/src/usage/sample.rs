//! How many different users there were: exactly while they are few, and from then on estimated, in bounded memory.
//!
//! Adaptive sampling (M. Wegman; P. Flajolet, "On adaptive sampling", Computing 43, 1990). Users are numbers that look
//! random. While there are no more than [`MAX_USERS`], each is kept. Then only those with a zero in front, about half; then
//! only those with two, and so on: each that is kept stands for 2 to the power of how many zeros are asked for. The same
//! users give the same sample, in whatever order they came and however samples were merged.

/// The most users that are kept. The standard error of an estimate is 1.2 over the square root of this: 1.9 %.
pub const MAX_USERS: usize = 4096;
/// The fewest that are kept once some were let go: about half of [`MAX_USERS`] are, give or take some dozens.
const FEWEST: usize = MAX_USERS / 4;

/// Some of the users that there were, and how many each stands for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sample {
    /// How many leading zeros a number needs.
    level: u32,
    /// Ascending, each once.
    users: Vec<u64>,
}

impl Sample {
    /// A sample as it was written; `None` if these make none.
    #[must_use]
    pub fn of(level: u32, users: Vec<u64>) -> Option<Self> {
        let ascend = users.is_sorted_by(|one, next| one < next);
        let zeros = users.last().is_none_or(|most| most.leading_zeros() >= level);
        // Or a few bytes could make nothing of what all other samples hold.
        let enough = level == 0 || users.len() >= FEWEST;
        (ascend && zeros && enough && users.len() <= MAX_USERS).then_some(Self { level, users })
    }

    /// There was this user, perhaps again.
    pub fn insert(&mut self, user: u64) {
        if user.leading_zeros() < self.level {
            return;
        }
        if let Err(at) = self.users.binary_search(&user) {
            self.users.insert(at, user);
            self.shrink();
        }
    }

    /// There were those users, too, perhaps again.
    pub fn merge(&mut self, other: &Self) {
        self.users.extend_from_slice(&other.users);
        self.users.sort_unstable();
        self.users.dedup();
        self.level = self.level.max(other.level);
        self.keep();
        self.shrink();
    }

    /// How many different users there were.
    #[must_use]
    pub fn estimate(&self) -> u64 {
        let each = 1_u64.checked_shl(self.level).unwrap_or(u64::MAX);
        u64::try_from(self.users.len()).unwrap_or(u64::MAX).saturating_mul(each)
    }

    /// Whether that is exact.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.level == 0
    }

    /// How many leading zeros a number needs to be among [`Self::users`].
    #[must_use]
    pub const fn level(&self) -> u32 {
        self.level
    }

    /// Those that are kept, ascending.
    #[must_use]
    pub fn users(&self) -> &[u64] {
        &self.users
    }

    fn shrink(&mut self) {
        // It ends: no two different numbers have 64 zeros in front.
        while self.users.len() > MAX_USERS {
            self.level = self.level.saturating_add(1);
            self.keep();
        }
    }

    fn keep(&mut self) {
        let level = self.level;
        self.users.retain(|user| user.leading_zeros() >= level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn users(seed: u64, count: usize) -> Vec<u64> {
        let mut rng = StdRng::seed_from_u64(seed);
        (0..count).map(|_| rng.random()).collect()
    }

    fn sample(users: &[u64]) -> Sample {
        let mut sample = Sample::default();
        users.iter().for_each(|user| sample.insert(*user));
        sample
    }

    fn merged<'a>(parts: impl Iterator<Item = &'a Sample>) -> Sample {
        let mut merged = Sample::default();
        parts.for_each(|part| merged.merge(part));
        merged
    }

    #[test]
    fn few_users_are_counted_exactly_however_often_they_come() {
        let users = users(1, MAX_USERS);
        let mut sample = sample(&users);
        users.iter().for_each(|user| sample.insert(*user));
        assert!(sample.is_exact());
        assert_eq!(sample.estimate(), MAX_USERS as u64);
        assert_eq!(Sample::default().estimate(), 0);
    }

    #[test]
    fn many_users_are_estimated_within_a_few_hundredths_in_bounded_memory() {
        for (seed, count) in [(2, 10_000), (3, 50_000), (4, 300_000)] {
            let sample = sample(&users(seed, count));
            assert!(!sample.is_exact() && (FEWEST..=MAX_USERS).contains(&sample.users.len()));
            // Four standard errors.
            let (said, true_count) = (sample.estimate() as f64, count as f64);
            assert!((said / true_count - 1.0).abs() < 0.076, "seed {seed}: {said} of {count}");
        }
    }

    #[test]
    fn samples_merge_to_what_one_that_saw_everything_would_be_in_any_order() {
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(seed);
            let all = users(seed, rng.random_range(0..20_000));
            let parts = rng.random_range(1..6_usize);
            let mut seen = vec![Sample::default(); parts];
            for user in &all {
                // Some are seen in two places.
                for _ in 0..rng.random_range(1..3) {
                    seen[rng.random_range(0..parts)].insert(*user);
                }
            }
            let one = sample(&all);
            assert_eq!(merged(seen.iter()), one, "seed {seed}");
            assert_eq!(merged(seen.iter().rev()), one, "seed {seed}");
            assert_eq!(merged(seen.iter().chain(&seen)), one, "seed {seed}: twice is once");
            assert_eq!(Sample::of(one.level(), one.users().to_vec()), Some(one));
        }
    }

    #[test]
    fn what_no_users_could_have_made_is_no_sample() {
        let many = sample(&users(5, 20_000));
        let (level, mut kept) = (many.level(), many.users().to_vec());
        assert_eq!(Sample::of(level + 64, kept.clone()), None, "numbers that should have been let go");
        kept.swap(0, 1);
        assert_eq!(Sample::of(level, kept.clone()), None, "not in order");
        kept[1] = kept[0];
        assert_eq!(Sample::of(level, kept), None, "one of them twice");
        assert_eq!(Sample::of(40, vec![1, 2, 3]), None, "too few for their level");
        assert_eq!(Sample::of(0, (0..=MAX_USERS as u64).collect()), None, "too many");
        assert!(Sample::of(0, vec![]).is_some());
    }
}
