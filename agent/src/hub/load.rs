//! How many requests clients have sent lately about the records of a group, and where among those records: whoever splits
//! a prefix chooses by that where.
//!
//! Counted by the agent that leads the group. Nothing is kept about a record or a user, only a number for each sixteenth of
//! each prefix; the memory is bounded by how many prefixes a group owns.

use std::collections::BTreeMap;
use std::time::Duration;
use strongroom_proto::ids::{RecordId, Term};
use strongroom_proto::prefix::{Prefix, bit};
use tokio::time::Instant;

/// In how many parts of a prefix requests are counted, and by how many bits of a record id.
pub(crate) const PARTS: usize = 1 << PART_BITS;
const PART_BITS: u16 = 4;
/// What counts as lately: so many slots, of which the newest is not over.
const SLOTS: u64 = 12;
const SLOT: Duration = Duration::from_secs(5);

/// What was counted while one leadership lasts, and what it owns stays the same: a prefix that has just been cut would
/// else look idle.
#[derive(Default)]
pub(super) struct Load {
    since: Option<(Term, Instant)>,
    owned: Vec<Prefix>,
    prefixes: BTreeMap<Prefix, Window>,
}

/// What a leader has counted: in so many seconds, by prefix, in equal parts of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) seconds: u32,
    pub(crate) prefixes: Vec<(Prefix, [u32; PARTS])>,
}

#[derive(Default)]
struct Window {
    slots: [[u32; PARTS]; SLOTS as usize],
    /// The number of the newest slot, counted since the leadership began.
    newest: u64,
}

impl Window {
    /// Forgets what is too old by now.
    fn move_on(&mut self, slot: u64) {
        for passed in (self.newest + 1..=slot).take(self.slots.len()) {
            *self.slot(passed) = [0; PARTS];
        }
        self.newest = self.newest.max(slot);
    }

    fn slot(&mut self, slot: u64) -> &mut [u32; PARTS] {
        let at = usize::try_from(slot % SLOTS).unwrap_or(0);
        &mut self.slots[at]
    }

    fn sum(&self) -> [u32; PARTS] {
        let mut sum = [0_u32; PARTS];
        for slot in &self.slots {
            sum.iter_mut().zip(slot).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
        }
        sum
    }
}

/// In which part of a prefix a record is.
fn part(prefix: &Prefix, record: &RecordId) -> usize {
    let end = (prefix.len() + PART_BITS).min(Prefix::MAX_LEN);
    let bits = (prefix.len()..end).fold(0, |part, depth| part << 1 | usize::from(bit(record, depth)));
    bits << (prefix.len() + PART_BITS - end)
}

impl Load {
    /// Since when this leadership counts for these prefixes.
    fn since(&mut self, term: Term, owned: &[Prefix], now: Instant) -> Instant {
        match self.since {
            Some((of, since)) if of == term && self.owned == owned => since,
            _ => {
                self.prefixes.clear();
                self.owned = owned.to_vec();
                self.since = Some((term, now));
                now
            }
        }
    }

    /// Counts a request about a record of a group that owns these prefixes.
    pub(super) fn count(&mut self, term: Term, owned: &[Prefix], record: &RecordId, now: Instant) {
        let slot = now.duration_since(self.since(term, owned, now)).as_secs() / SLOT.as_secs();
        let Some(prefix) = owned.iter().find(|prefix| prefix.contains(record)) else { return };
        let window = self.prefixes.entry(*prefix).or_default();
        window.move_on(slot);
        let count = &mut window.slot(slot)[part(prefix, record)];
        *count = count.saturating_add(1);
    }

    /// What was counted of these prefixes.
    pub(super) fn counted(&mut self, term: Term, owned: &[Prefix], now: Instant) -> Counted {
        let passed = now.duration_since(self.since(term, owned, now)).as_secs();
        let slot = passed / SLOT.as_secs();
        let covered = passed.min((SLOTS - 1) * SLOT.as_secs() + passed % SLOT.as_secs());
        let counted = |prefix: &Prefix| {
            let window = self.prefixes.get_mut(prefix);
            let sum = window.map(|window| {
                window.move_on(slot);
                window.sum()
            });
            (*prefix, sum.unwrap_or_default())
        };
        let prefixes = owned.iter().map(counted).collect();
        Counted { seconds: u32::try_from(covered).unwrap_or(u32::MAX).max(1), prefixes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Term = Term([1; 16]);

    fn at(first: u8) -> RecordId {
        let mut id = [0; RecordId::LEN];
        id[0] = first;
        RecordId(id)
    }

    fn total(load: &mut Load, owned: &[Prefix], now: Instant) -> u32 {
        load.counted(TERM, owned, now).prefixes.iter().flat_map(|(_, parts)| parts).sum()
    }

    #[test]
    fn requests_are_counted_where_they_are_and_forgotten_after_a_minute() {
        let (mut load, start) = (Load::default(), Instant::now());
        let (left, right) = Prefix::WHOLE.children().expect("it has halves");
        let owned = [left, right];
        for (first, times) in [(0, 1), (0x7f, 2), (0x80, 3), (0xff, 4)] {
            (0..times).for_each(|_| load.count(TERM, &owned, &at(first), start));
        }
        let counted = load.counted(TERM, &owned, start + Duration::from_secs(10));
        assert_eq!(counted.seconds, 10);
        let [(of_left, lefts), (of_right, rights)] = &counted.prefixes[..] else { panic!("two prefixes") };
        assert_eq!((*of_left, lefts[0], lefts[PARTS - 1]), (left, 1, 2));
        assert_eq!((*of_right, rights[0], rights[PARTS - 1]), (right, 3, 4));
        let (late, later) = (start + Duration::from_secs(59), start + Duration::from_secs(60));
        assert_eq!((total(&mut load, &owned, late), total(&mut load, &owned, later)), (10, 0));
        load.count(TERM, &owned, &at(0), later + Duration::from_secs(3600));
        let counted = load.counted(TERM, &owned, later + Duration::from_secs(3600));
        assert_eq!((counted.seconds, counted.prefixes[0].1[0]), (55, 1));
    }

    #[test]
    fn a_new_leadership_counts_anew_and_so_does_one_that_owns_something_else() {
        let (mut load, start) = (Load::default(), Instant::now());
        let (left, right) = Prefix::WHOLE.children().expect("it has halves");
        load.count(TERM, &[Prefix::WHOLE], &at(0), start);
        assert_eq!(total(&mut load, &[left, right], start), 0);
        load.count(TERM, &[left, right], &at(0), start);
        assert_eq!((load.prefixes.len(), total(&mut load, &[left, right], start)), (1, 1));
        load.count(TERM, &[left, right], &at(0x80), start);
        assert_eq!(total(&mut load, &[left, right], start), 2);
        load.count(TERM, &[left], &at(0xff), start);
        assert_eq!((load.prefixes.len(), total(&mut load, &[left], start)), (0, 0), "of another group");
        let later = start + Duration::from_secs(30);
        let counted = load.counted(Term([2; 16]), &[left], later);
        assert_eq!((counted.seconds, counted.prefixes[0].1), (1, [0; PARTS]));
    }

    #[test]
    fn a_prefix_of_all_bits_is_one_part() {
        let whole = Prefix::of(&at(7), Prefix::MAX_LEN).expect("short enough");
        assert_eq!(part(&whole, &at(7)), 0);
        let all = RecordId([0xff; RecordId::LEN]);
        let almost = Prefix::of(&all, Prefix::MAX_LEN - 1).expect("short enough");
        assert_eq!(part(&almost, &all), 8);
    }
}
