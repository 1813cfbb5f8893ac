//! Which records somebody claims something about: an index by prefix.
//!
//! To find the claims about a record costs a look for each length that any prefix has, however many claims there are;
//! to add or to take back a claim costs a look.

use std::collections::BTreeMap;
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;

/// Claims, each by somebody with a number.
pub(super) struct Claims<T> {
    of: BTreeMap<Prefix, Vec<(usize, T)>>,
    /// How many prefixes have each length.
    lengths: BTreeMap<u16, usize>,
}

impl<T> Default for Claims<T> {
    fn default() -> Self {
        Self { of: BTreeMap::new(), lengths: BTreeMap::new() }
    }
}

impl<T: Copy + Ord> Claims<T> {
    /// Adds a claim, once.
    pub(super) fn add(&mut self, prefix: Prefix, by: usize, what: T) {
        let claims = self.of.entry(prefix).or_insert_with(|| {
            *self.lengths.entry(prefix.len()).or_default() += 1;
            Vec::with_capacity(1)
        });
        if let Err(place) = claims.binary_search(&(by, what)) {
            claims.insert(place, (by, what));
        }
    }

    /// Takes a claim back.
    pub(super) fn remove(&mut self, prefix: &Prefix, by: usize, what: T) {
        let Some(claims) = self.of.get_mut(prefix) else { return };
        if let Ok(place) = claims.binary_search(&(by, what)) {
            claims.remove(place);
        }
        if !claims.is_empty() {
            return;
        }
        self.of.remove(prefix);
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }

    /// The claims about a record, with who makes them: those about the fewest records first, then by number.
    pub(super) fn about(&self, record: &RecordId) -> impl Iterator<Item = (usize, T)> {
        let prefixes = self.lengths.keys().rev().filter_map(|len| Prefix::of(record, *len));
        prefixes.filter_map(|prefix| self.of.get(&prefix)).flatten().copied()
    }

    /// How many prefixes are looked for when a record is.
    #[cfg(test)]
    pub(super) fn looks(&self) -> usize {
        self.lengths.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// xorshift64*: enough to draw cases, and the same on each machine.
    struct Draw(u64);

    impl Draw {
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
        }

        fn record(&mut self) -> RecordId {
            // Few, so that prefixes contain each other and records.
            let mut id = [0; 32];
            id[0] = u8::try_from(self.below(16) << 4).expect("a byte");
            id[31] = u8::try_from(self.below(2)).expect("a byte");
            RecordId(id)
        }

        fn prefix(&mut self) -> Prefix {
            let len = [0, 1, 2, 3, 4, 5, 255, 256][usize::try_from(self.below(8)).expect("small")];
            Prefix::of(&self.record(), len).expect("short enough")
        }
    }

    /// What a look at every claim finds.
    fn scanned(all: &BTreeSet<(Prefix, usize, u8)>, record: &RecordId) -> Vec<(usize, u8)> {
        let mut found: Vec<_> = all.iter().filter(|(prefix, ..)| prefix.contains(record)).collect();
        found.sort_by_key(|(prefix, by, what)| (u16::MAX - prefix.len(), *by, *what));
        found.into_iter().map(|(_, by, what)| (*by, *what)).collect()
    }

    #[test]
    fn what_is_found_about_a_record_is_what_a_look_at_every_claim_finds() {
        for seed in 1..=50 {
            let (mut draw, mut claims, mut all) = (Draw(seed), Claims::default(), BTreeSet::new());
            for _ in 0..200 {
                let prefix = draw.prefix();
                let (by, what) = (draw.below(4) as usize, draw.below(3) as u8);
                if draw.below(3) > 0 {
                    claims.add(prefix, by, what);
                    all.insert((prefix, by, what));
                } else {
                    claims.remove(&prefix, by, what);
                    all.remove(&(prefix, by, what));
                }
                let record = draw.record();
                let found: Vec<_> = claims.about(&record).collect();
                assert_eq!(found, scanned(&all, &record), "seed {seed}");
            }
            for (prefix, by, what) in all {
                claims.remove(&prefix, by, what);
            }
            assert!(claims.of.is_empty() && claims.lengths.is_empty(), "seed {seed}: something stays");
        }
    }

    #[test]
    fn a_record_is_looked_for_as_often_among_a_thousand_groups_as_among_two() {
        let mut claims = Claims::default();
        for group in 0..1024_u16 {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&(group << 6).to_be_bytes());
            let prefix = Prefix::of(&RecordId(id), 10).expect("short enough");
            (0..3).for_each(|by| claims.add(prefix, usize::from(group) * 3 + by, group));
        }
        assert_eq!(claims.looks(), 1);
        assert_eq!(
            claims.about(&RecordId([0xff; 32])).map(|(_, group)| group).collect::<Vec<_>>(),
            [1023; 3]
        );
    }
}
