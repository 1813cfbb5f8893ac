//! Visits states nearest first until a promise breaks, there are no more, or there are too many.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};

/// What can happen, as states and the steps between them.
pub(super) trait Space {
    /// A state.
    type State;
    /// What leads from one to the next.
    type Step: Copy;

    /// Everything that may happen next.
    fn next(&self, state: &Self::State) -> Vec<(Self::Step, Self::State)>;

    /// The same value for states that count as one.
    fn fingerprint(&self, state: &Self::State) -> u64;

    /// The promise that does not hold in this state.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Explored<Step> {
    /// States visited.
    pub states: usize,
    /// How many steps lead to the last of them.
    pub depth: usize,
    /// Whether those are all states.
    pub exhausted: bool,
    /// The shortest way to break a promise, and which.
    pub broken: Option<(Vec<Step>, &'static str)>,
}

/// Visits at most so many states, and tells now and then how many it has seen.
pub(super) fn search<S: Space>(
    space: &S,
    first: S::State,
    most: usize,
    seen_so_far: &mut dyn FnMut(usize),
) -> Explored<S::Step> {
    let mut seen = HashSet::from([space.fingerprint(&first)]);
    // Where each step begins, by the number of the step before it; the first is none.
    let mut steps: Vec<Option<(usize, S::Step)>> = vec![None];
    let mut level = vec![(0, first)];
    let mut depth = 0;
    while !level.is_empty() {
        let mut deeper = Vec::new();
        for (number, state) in level {
            for (step, after) in space.next(&state) {
                if !seen.insert(space.fingerprint(&after)) {
                    continue;
                }
                steps.push(Some((number, step)));
                let states = seen.len();
                if states.is_multiple_of(1 << 14) {
                    seen_so_far(states);
                }
                let broken = space.broken(&after).map(|promise| (way(&steps), promise));
                if broken.is_some() || states >= most {
                    return Explored { states, depth: depth + 1, exhausted: false, broken };
                }
                deeper.push((steps.len() - 1, after));
            }
        }
        depth += usize::from(!deeper.is_empty());
        level = deeper;
    }
    Explored { states: seen.len(), depth, exhausted: true, broken: None }
}

/// The steps that led to the last one.
fn way<Step: Copy>(steps: &[Option<(usize, Step)>]) -> Vec<Step> {
    let mut at = steps.len() - 1;
    let before = std::iter::from_fn(|| {
        let (before, step) = steps[at]?;
        at = before;
        Some(step)
    });
    let mut way: Vec<Step> = before.collect();
    way.reverse();
    way
}

/// All orders of so many things.
pub(super) fn permutations(things: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for _ in 0..things {
        let longer = |order: &Vec<usize>| {
            let rest = (0..things).filter(|thing| !order.contains(thing));
            rest.map(|thing| [order.as_slice(), &[thing]].concat()).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// A fast hash; nobody chooses states in order that two have the same.
pub(super) fn fingerprint(of: &impl Hash) -> u64 {
    let mut mixer = Mixer(0);
    of.hash(&mut mixer);
    mixer.finish()
}

struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        let mixed = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = mixed as u64 ^ (mixed >> 64) as u64;
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.mix(word ^ (chunk.len() as u64) << 60);
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.mix(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }

    fn finish(&self) -> u64 {
        let mut last = Self(self.0);
        last.mix(0x5bd1_e995);
        last.0
    }
}

/// How a space is tested that tells states apart by less than all there is: wherever a walk leads, exploring must have been
/// there. It would not have been if two states counted as one and went on differently.
#[cfg(test)]
pub(super) fn walks_stay_inside<S: Space>(space: &S, first: &S::State, walks: u64)
where
    S::State: Clone,
{
    let mut seen = HashSet::from([space.fingerprint(first)]);
    let mut open = vec![first.clone()];
    while let Some(state) = open.pop() {
        let next = space.next(&state).into_iter().map(|(_, after)| after);
        open.extend(next.filter(|after| seen.insert(space.fingerprint(after))));
    }
    let mut walked = HashSet::new();
    for walk in 0..walks {
        let mut state = first.clone();
        for step in 0_u64.. {
            let mut next = space.next(&state);
            if next.is_empty() || step > 40 {
                break;
            }
            let drawn = fingerprint(&(walk, step)) % next.len() as u64;
            (_, state) = next.swap_remove(drawn as usize);
            let at = space.fingerprint(&state);
            assert!(seen.contains(&at), "walk {walk} leads out at step {step}");
            walked.insert(at);
        }
    }
    assert!(walked.len() > 30, "walks differ: {}", walked.len());
}
