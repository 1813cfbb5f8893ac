//! What is counted of each tenant: operations, and users.

use super::operation::Operation;
use super::sample::Sample;
use std::collections::BTreeMap;

/// The most tenants that one agent counts apart in a day, and the longest name of one, in bytes. What there is beyond is
/// counted in one sum. With [`super::MAX_USERS`], a day takes 17 MiB at most.
pub const MAX_TENANTS: usize = 512;
/// See [`MAX_TENANTS`].
pub const MAX_TENANT_BYTES: usize = 256;
/// The most tenants that a sum over many sheets keeps apart.
const MAX_SUMMED: usize = 8 * MAX_TENANTS;
/// How many numbers [`Counts`] are.
pub(super) const NUMBERS: usize = 2 * Operation::ALL.len();
/// More than an agent answers of one kind in a day: twelve million each second.
const MAX_COUNT: u64 = 1 << 40;

/// One request, as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Used<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// What was asked for.
    pub operation: Operation,
    /// Whether the client was sent what an HSM answered.
    pub answered: bool,
    /// Who asked: [`super::user_number`].
    pub user: u64,
}

/// How often each operation was asked for: answered by an HSM, and not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts([u64; NUMBERS]);

impl Counts {
    /// Counts as they were written: for each operation those answered, then those not. `None` if no day is like that.
    #[must_use]
    pub fn of(numbers: &[u64]) -> Option<Self> {
        let numbers: [u64; NUMBERS] = numbers.try_into().ok()?;
        numbers.iter().all(|number| *number <= MAX_COUNT).then_some(Self(numbers))
    }

    /// Counts one more.
    pub fn count(&mut self, operation: Operation, answered: bool) {
        let number = &mut self.0[place(operation, answered)];
        *number = number.saturating_add(1);
    }

    /// How often it was asked for, and answered or not.
    #[must_use]
    pub const fn get(&self, operation: Operation, answered: bool) -> u64 {
        self.0[place(operation, answered)]
    }

    /// How many there were of all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, number| sum.saturating_add(*number))
    }

    /// As they are written.
    #[must_use]
    pub const fn numbers(&self) -> &[u64; NUMBERS] {
        &self.0
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, number)| *sum = sum.saturating_add(number));
    }
}

const fn place(operation: Operation, answered: bool) -> usize {
    2 * operation as usize + if answered { 0 } else { 1 }
}

/// What was counted of one tenant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Operations.
    pub counts: Counts,
    /// Users to whom one was answered.
    pub users: Sample,
}

/// What was counted of all tenants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tallies {
    tenants: BTreeMap<String, Tally>,
    others: Counts,
}

impl Tallies {
    /// What was counted of each tenant, and of those for which there was no room.
    #[must_use]
    pub const fn new(tenants: BTreeMap<String, Tally>, others: Counts) -> Self {
        Self { tenants, others }
    }

    /// Each tenant, by name.
    #[must_use]
    pub const fn tenants(&self) -> &BTreeMap<String, Tally> {
        &self.tenants
    }

    /// The operations of tenants for which there was no room.
    #[must_use]
    pub const fn others(&self) -> &Counts {
        &self.others
    }

    /// Counts one request.
    pub fn count(&mut self, used: &Used<'_>) {
        let Used { tenant, operation, answered, user } = *used;
        let Some(tally) = self.room(tenant, MAX_TENANTS) else {
            return self.others.count(operation, answered);
        };
        tally.counts.count(operation, answered);
        if answered && operation.is_use() {
            tally.users.insert(user);
        }
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.others.add(&other.others);
        for (tenant, counted) in &other.tenants {
            match self.room(tenant, MAX_SUMMED) {
                Some(tally) => {
                    tally.counts.add(&counted.counts);
                    tally.users.merge(&counted.users);
                }
                None => self.others.add(&counted.counts),
            }
        }
    }

    /// How many operations there were of all tenants.
    #[must_use]
    pub fn total(&self) -> u64 {
        let counts = self.tenants.values().map(|tally| tally.counts.total());
        counts.fold(self.others.total(), u64::saturating_add)
    }

    fn room(&mut self, tenant: &str, most: usize) -> Option<&mut Tally> {
        if !self.tenants.contains_key(tenant) {
            if self.tenants.len() >= most || tenant.len() > MAX_TENANT_BYTES {
                return None;
            }
            self.tenants.insert(tenant.to_owned(), Tally::default());
        }
        self.tenants.get_mut(tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::MAX_USERS;
    use super::*;

    fn used(tenant: &str, operation: Operation, answered: bool, user: u64) -> Used<'_> {
        Used { tenant, operation, answered, user }
    }

    #[test]
    fn a_user_counts_once_it_was_answered_more_than_a_handshake() {
        let mut tallies = Tallies::default();
        tallies.count(&used("acme", Operation::Handshake, true, 1));
        tallies.count(&used("acme", Operation::Recover1, false, 2));
        assert_eq!(tallies.tenants()["acme"].users.estimate(), 0);
        tallies.count(&used("acme", Operation::Recover1, true, 2));
        tallies.count(&used("acme", Operation::Recover2, true, 2));
        let tally = &tallies.tenants()["acme"];
        assert_eq!((tally.users.estimate(), tally.counts.total()), (1, 4));
        let recover1 = [true, false].map(|answered| tally.counts.get(Operation::Recover1, answered));
        assert_eq!((recover1, tally.counts.get(Operation::Recover2, true)), ([1, 1], 1));
        assert_eq!(Counts::of(tally.counts.numbers()), Some(tally.counts));
    }

    #[test]
    fn however_many_tenants_and_users_there_are_a_day_takes_bounded_memory_and_loses_no_operation() {
        let mut tallies = Tallies::default();
        for tenant in 0..3 * MAX_TENANTS {
            tallies.count(&used(&format!("tenant{tenant}"), Operation::Recover2, true, 1));
        }
        let long = "x".repeat(MAX_TENANT_BYTES + 1);
        tallies.count(&used(&long, Operation::Delete, true, 1));
        for user in 0..5 * MAX_USERS as u64 {
            // Spread over all numbers.
            let user = user.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            tallies.count(&used("tenant1", Operation::Recover2, true, user));
        }
        assert_eq!(tallies.tenants().len(), MAX_TENANTS);
        assert!(tallies.tenants().values().all(|tally| tally.users.users().len() <= MAX_USERS));
        assert_eq!(tallies.total(), (3 * MAX_TENANTS + 1 + 5 * MAX_USERS) as u64);
        assert_eq!(tallies.others().total(), (2 * MAX_TENANTS + 1) as u64);
        // A tenant that had room keeps it.
        tallies.count(&used("tenant0", Operation::Delete, true, 1));
        assert_eq!(tallies.tenants()["tenant0"].counts.total(), 2);
    }

    #[test]
    fn counts_that_no_day_has_are_refused() {
        assert_eq!(Counts::of(&[0; NUMBERS - 1]), None);
        assert_eq!(Counts::of(&[0; NUMBERS + 1]), None);
        assert_eq!(Counts::of(&[MAX_COUNT + 1; NUMBERS]), None);
        assert!(Counts::of(&[MAX_COUNT; NUMBERS]).is_some());
    }
}
