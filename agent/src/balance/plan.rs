//! Which prefixes go where, so that no group has much more to do than another.
//!
//! Decides from what each group owns and how heavy that is, and from nothing else. Does nothing itself.

use crate::admin::LOAD_PARTS;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use strongroom_proto::entry::{MAX_OPEN, MAX_PARTITIONS};
use strongroom_proto::ids::GroupId;
use strongroom_proto::prefix::Prefix;

/// How much heavier than the lightest group the heaviest may be, in hundredths of what each would have if all had the
/// same, where nothing else is said.
pub const WITHIN_PERCENT: u32 = 25;

/// The longest prefix that is made by splitting: one 65,536th of all records.
const MAX_BITS: u16 = 16;
/// The most prefixes that a plan leaves with one group. What is being moved needs places too.
const MOST_PREFIXES: usize = MAX_PARTITIONS - MAX_OPEN / 2;
/// Fewer requests than this, of all groups together in a minute, say nothing about which of them is busy.
const MANY: u64 = 600;
/// The most times that something is cut or given away in a wave, and the most waves.
const MOST_CHANGES: usize = 512;
const WAVES: usize = 8;
/// How many of the heaviest and of the lightest groups are tried.
const MOST_TRIED: usize = 8;

/// How heavy something is. Only the proportion counts.
pub type Weight = u64;

/// What clients asked about a prefix: by sixteenths of it, ascending.
pub type Requests = [u64; LOAD_PARTS];

/// What one group has to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// The group.
    pub group: GroupId,
    /// What it owns, and how many requests that had, in the same time for all groups.
    pub owned: Vec<(Prefix, Requests)>,
    /// Whether all of it is well, so that prefixes may come to it and leave it.
    pub is_well: bool,
    /// How many of its HSMs must work. A prefix goes to no group with fewer than the one that it leaves.
    pub majority: usize,
}

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A group's prefix becomes two.
    Split {
        /// The group.
        group: GroupId,
        /// The prefix.
        prefix: Prefix,
    },
    /// A prefix goes to another group.
    Move {
        /// The prefix.
        prefix: Prefix,
        /// Who owns it.
        from: GroupId,
        /// Who is to own it.
        to: GroupId,
    },
    /// Two halves that a group owns become one prefix.
    Merge {
        /// The group.
        group: GroupId,
        /// What they are the halves of.
        prefix: Prefix,
    },
}

/// Steps in the order in which they can be taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What each group has to do before and after, in the order in which they were given.
    pub groups: Vec<(GroupId, Weight, Weight)>,
}

/// How heavy a prefix is: half of it is its share of the key space, for records are spread evenly, and half its share of
/// the requests that were counted. Where those are few, only the first.
fn weight(prefix: &Prefix, requests: u64, all_requests: u64) -> Weight {
    let whole = 1_u128 << 40;
    let space = whole.checked_shr(u32::from(prefix.len())).unwrap_or(0);
    let shared = u128::from(requests.min(all_requests)).saturating_mul(whole);
    let both = match shared.checked_div(u128::from(all_requests)) {
        Some(of_requests) if all_requests >= MANY => space.midpoint(of_requests),
        _ => space,
    };
    // Nothing weighs nothing: there would be no end to what may be moved.
    Weight::try_from(both).unwrap_or(Weight::MAX).max(1)
}

/// The whole of what has one owner now and one owner in the end.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Piece {
    from: usize,
    to: usize,
    requests: Requests,
    weight: Weight,
}

impl Piece {
    /// The same with other records.
    fn of(self, prefix: &Prefix, requests: Requests, all: u64) -> Self {
        Self { requests, weight: weight(prefix, total(&requests), all), ..self }
    }
}

fn total(requests: &Requests) -> u64 {
    requests.iter().fold(0, |sum, part| sum.saturating_add(*part))
}

/// Those of both halves, each in sixteenths of its own, which are as good a guess as there is.
fn halved(requests: &Requests) -> [Requests; 2] {
    let (left, right) = requests.split_at(LOAD_PARTS / 2);
    [left, right].map(|half| {
        let mut parts = half.iter().flat_map(|part| [part.div_ceil(2), part / 2]);
        std::array::from_fn(|_| parts.next().unwrap_or(0))
    })
}

/// Those of a prefix, from those of its halves.
fn doubled(halves: [&Requests; 2]) -> Requests {
    let pairs = halves.into_iter().flat_map(|half| half.chunks(2));
    let mut parts = pairs.map(|pair| pair.iter().fold(0_u64, |sum, part| sum.saturating_add(*part)));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

type Pieces = BTreeMap<Prefix, Piece>;

/// Plans until the heaviest of the groups that are well is no more than `within_percent` of an even share above the
/// lightest, or nothing more can be done.
#[must_use]
pub fn plan(groups: &[Load], within_percent: u32) -> Plan {
    let all = groups.iter().flat_map(|load| &load.owned).map(|(_, requests)| total(requests));
    let all = all.fold(0, u64::saturating_add);
    let mut after = groups.to_vec();
    let mut steps = Vec::new();
    // What has to be done is done well: not just to the edge of having to do it again.
    let within = if is_even(groups, all, within_percent) { u32::MAX } else { within_percent / 2 };
    // A group has places for a few prefixes at a time. Once some have left, others can be cut.
    for _ in 0..WAVES {
        let wave = wave(&mut after, all, within);
        let is_last = !wave.iter().any(|step| matches!(step, Step::Move { .. }));
        steps.extend(wave);
        if is_last {
            break;
        }
    }
    let shares = groups
        .iter()
        .zip(&after)
        .map(|(before, after)| (before.group, before.weight(all), after.weight(all)));
    Plan { steps, groups: shares.collect() }
}

/// Steps that can be taken one after another, each prefix going straight to where it stays. The groups become what they are
/// after them.
fn wave(groups: &mut [Load], all: u64, within_percent: u32) -> Vec<Step> {
    let mut pieces = Pieces::new();
    for (at, load) in groups.iter().enumerate() {
        let empty = Piece { from: at, to: at, requests: Requests::default(), weight: 0 };
        let piece = |prefix: &Prefix, requests: &Requests| empty.of(prefix, *requests, all);
        pieces.extend(load.owned.iter().map(|(prefix, requests)| (*prefix, piece(prefix, requests))));
    }
    for _ in 0..MOST_CHANGES {
        if !improve(&mut pieces, groups, all, within_percent) {
            break;
        }
    }
    // What was cut for nothing.
    let owned: BTreeSet<Prefix> =
        groups.iter().flat_map(|load| &load.owned).map(|(prefix, _)| *prefix).collect();
    let was_one =
        |whole: &Prefix| std::iter::successors(Some(*whole), Prefix::parent).any(|p| owned.contains(&p));
    join_halves(&mut pieces, all, |whole, one, other| one.to == other.to && was_one(whole));
    let steps = steps(&mut pieces, groups, all);
    for (at, load) in groups.iter_mut().enumerate() {
        let here = pieces.iter().filter(|(_, piece)| piece.to == at);
        load.owned = here.map(|(prefix, piece)| (*prefix, piece.requests)).collect();
    }
    steps
}

/// Whether the heaviest of the groups that are well is near enough to the lightest.
fn is_even(groups: &[Load], all: u64, within_percent: u32) -> bool {
    let sums: Vec<Weight> = groups.iter().filter(|load| load.is_well).map(|load| load.weight(all)).collect();
    let gap = sums.iter().max().unwrap_or(&0).saturating_sub(*sums.iter().min().unwrap_or(&0));
    near(gap, &sums, within_percent)
}

fn near(gap: Weight, sums: &[Weight], within_percent: u32) -> bool {
    let together = sums.iter().fold(0_u128, |all, sum| all.saturating_add(u128::from(*sum)));
    let even = together.checked_div(sums.len() as u128).unwrap_or(0);
    u128::from(gap).saturating_mul(100) <= even.saturating_mul(u128::from(within_percent))
}

/// What each group has in a plan so far.
#[derive(Clone, Copy, Default)]
struct Has {
    weight: Weight,
    /// How many prefixes it has now, cut as they are to be, and how many in the end.
    cut: usize,
    ends: usize,
}

/// Moves one piece from a group that is too heavy to one that is too light, or splits one that is too heavy for that. False if
/// nothing more can be done.
fn improve(pieces: &mut Pieces, groups: &[Load], all: u64, within_percent: u32) -> bool {
    let mut has = vec![Has::default(); groups.len()];
    for piece in pieces.values() {
        if let Some(from) = has.get_mut(piece.from) {
            from.cut = from.cut.saturating_add(1);
        }
        if let Some(to) = has.get_mut(piece.to) {
            to.weight = to.weight.saturating_add(piece.weight);
            to.ends = to.ends.saturating_add(1);
        }
    }
    let mut well: Vec<(Weight, usize, usize)> = (groups.iter().zip(&has).enumerate())
        .filter(|(_, (load, _))| load.is_well)
        .map(|(at, (load, has))| (has.weight, at, load.majority))
        .collect();
    let sums: Vec<Weight> = well.iter().map(|(weight, ..)| *weight).collect();
    well.sort_unstable();
    // The heaviest may have nothing that can be moved or cut, and the lightest no room.
    for (most, heavy, majority) in well.iter().rev().take(MOST_TRIED) {
        for (least, light, other) in well.iter().take(MOST_TRIED) {
            let gap = most.saturating_sub(*least);
            if near(gap, &sums, within_percent) {
                break;
            }
            if other >= majority && shift(pieces, &has, all, (*heavy, *light), gap / 2) {
                return true;
            }
        }
    }
    false
}

/// Gives a piece of about this weight from one group to another, or cuts one that is heavier.
fn shift(pieces: &mut Pieces, has: &[Has], all: u64, (heavy, light): (usize, usize), wanted: Weight) -> bool {
    let here = |piece: &&Piece| piece.to == heavy;
    let fits = pieces.iter().filter(|(_, piece)| here(piece) && piece.weight <= wanted);
    let fits = fits.max_by_key(|(_, piece)| piece.weight).map(|(prefix, piece)| (*prefix, piece.weight));
    let has_room = has.get(light).is_some_and(|has| has.ends < MOST_PREFIXES);
    if let Some((prefix, weight)) = fits
        && has_room
        && weight > wanted / 2
    {
        return give(pieces, prefix, light);
    }
    let splits = |piece: &Piece| {
        has.get(piece.from).is_some_and(|has| has.cut < MOST_PREFIXES)
            && has.get(piece.to).is_some_and(|has| has.ends < MOST_PREFIXES)
    };
    let heavier = pieces.iter().filter(|(prefix, piece)| {
        here(piece) && piece.weight > wanted && prefix.len() < MAX_BITS && splits(piece)
    });
    let heavier = heavier.min_by_key(|(_, piece)| piece.weight).map(|(prefix, piece)| (*prefix, *piece));
    if let Some((prefix, piece)) = heavier.filter(|_| has_room)
        && let Some((left, right)) = prefix.children()
    {
        pieces.remove(&prefix);
        let [of_left, of_right] = halved(&piece.requests);
        pieces.extend([(left, piece.of(&left, of_left, all)), (right, piece.of(&right, of_right, all))]);
        return true;
    }
    fits.is_some_and(|(prefix, _)| has_room && give(pieces, prefix, light))
}

fn give(pieces: &mut Pieces, prefix: Prefix, to: usize) -> bool {
    pieces.get_mut(&prefix).map(|piece| piece.to = to).is_some()
}

/// Makes one of every two halves that belong together, and returns what they became.
fn join_halves(
    pieces: &mut Pieces,
    all: u64,
    belong: impl Fn(&Prefix, &Piece, &Piece) -> bool,
) -> Vec<Prefix> {
    let mut joined = Vec::new();
    loop {
        let halves = pieces.keys().filter_map(|prefix| {
            let whole = prefix.parent()?;
            let (left, right) = whole.children()?;
            let (one, other) = (pieces.get(&left)?, pieces.get(&right)?);
            belong(&whole, one, other).then_some((
                whole,
                left,
                right,
                *one,
                doubled([&one.requests, &other.requests]),
            ))
        });
        let Some((whole, left, right, one, requests)) = halves.max_by_key(|(whole, ..)| whole.len()) else {
            return joined;
        };
        pieces.remove(&left);
        pieces.remove(&right);
        pieces.insert(whole, one.of(&whole, requests, all));
        joined.push(whole);
    }
}

/// The steps to where the pieces are to be: each owner splits what it has, then pieces go, then halves that have met are
/// merged.
fn steps(pieces: &mut Pieces, groups: &[Load], all: u64) -> Vec<Step> {
    let id = |at: usize| groups.get(at).map(|load| load.group);
    let mut steps = Vec::new();
    for load in groups {
        for (owned, _) in &load.owned {
            split(*owned, pieces, load.group, &mut steps);
        }
    }
    for (prefix, piece) in pieces.iter().filter(|(_, piece)| piece.from != piece.to) {
        if let (Some(from), Some(to)) = (id(piece.from), id(piece.to)) {
            steps.push(Step::Move { prefix: *prefix, from, to });
        }
    }
    let is_well = |at: usize| groups.get(at).is_some_and(|load| load.is_well);
    for whole in join_halves(pieces, all, |_, one, other| one.to == other.to && is_well(one.to)) {
        let owner =
            pieces.iter().find(|(prefix, _)| whole.overlaps(prefix)).and_then(|(_, piece)| id(piece.to));
        steps.extend(owner.map(|group| Step::Merge { group, prefix: whole }));
    }
    steps
}

/// The splits that make pieces of what is owned.
fn split(prefix: Prefix, pieces: &Pieces, group: GroupId, steps: &mut Vec<Step>) {
    // The pieces are in the order of the tree: what is below a prefix follows it.
    let is_cut = pieces
        .range(prefix..)
        .find(|(piece, _)| **piece != prefix)
        .is_some_and(|(piece, _)| prefix.overlaps(piece));
    if let Some((left, right)) = prefix.children()
        && is_cut
    {
        steps.push(Step::Split { group, prefix });
        split(left, pieces, group, steps);
        split(right, pieces, group, steps);
    }
}

impl Load {
    fn weight(&self, all: u64) -> Weight {
        let weights = self.owned.iter().map(|(prefix, requests)| weight(prefix, total(requests), all));
        weights.fold(0, Weight::saturating_add)
    }
}

impl Plan {
    /// What a group has to do, in hundredths of what each would have if all had the same, before and after.
    #[must_use]
    pub fn percent(&self) -> Vec<(GroupId, u64, u64)> {
        let all =
            self.groups.iter().fold(0_u128, |all, (_, before, _)| all.saturating_add(u128::from(*before)));
        let count = self.groups.len() as u128;
        let of = |weight: Weight| {
            let hundredths = u128::from(weight).saturating_mul(100).saturating_mul(count);
            hundredths.checked_div(all).and_then(|percent| u64::try_from(percent).ok()).unwrap_or(0)
        };
        self.groups.iter().map(|(group, before, after)| (*group, of(*before), of(*after))).collect()
    }

    /// How many prefixes move.
    #[must_use]
    pub fn moves(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Move { .. })).count()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |prefix: &Prefix| if prefix.len() == 0 { "all".to_owned() } else { prefix.to_string() };
        match self {
            Self::Split { group, prefix } => write!(f, "split  {} of group {group}", name(prefix)),
            Self::Move { prefix, from, to } => write!(f, "move   {} from group {from} to {to}", name(prefix)),
            Self::Merge { group, prefix } => {
                write!(f, "merge  the halves of {} in group {group}", name(prefix))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn group(n: usize) -> GroupId {
        GroupId([n as u8; 16])
    }

    fn load(n: usize, owned: &[Prefix]) -> Load {
        let owned = owned.iter().map(|prefix| (*prefix, Requests::default())).collect();
        Load { group: group(n), owned, is_well: true, majority: 2 }
    }

    fn halves(prefix: Prefix) -> [Prefix; 2] {
        prefix.children().map(|(left, right)| [left, right]).expect("not a single record")
    }

    /// Takes the steps as groups would, which refuse what they do not own or have no room for.
    fn carry_out(groups: &[Load], steps: &[Step]) -> BTreeMap<GroupId, Vec<Prefix>> {
        let owned = |load: &Load| load.owned.iter().map(|(prefix, _)| *prefix).collect();
        let mut all: BTreeMap<GroupId, Vec<Prefix>> = groups.iter().map(|l| (l.group, owned(l))).collect();
        let take = |all: &mut BTreeMap<GroupId, Vec<Prefix>>, group: &GroupId, prefix: &Prefix| {
            let owned = all.get_mut(group).expect("a group");
            let at = owned.iter().position(|p| p == prefix).expect("owned");
            owned.remove(at);
        };
        for step in steps {
            let (to, came) = match step {
                Step::Split { group, prefix } => {
                    take(&mut all, group, prefix);
                    (group, halves(*prefix).to_vec())
                }
                Step::Move { prefix, from, to } => {
                    take(&mut all, from, prefix);
                    (to, vec![*prefix])
                }
                Step::Merge { group, prefix } => {
                    halves(*prefix).iter().for_each(|half| take(&mut all, group, half));
                    (group, vec![*prefix])
                }
            };
            let owned = all.get_mut(to).expect("a group");
            owned.extend(came);
            assert!(owned.len() <= MAX_PARTITIONS, "{step} has no room");
        }
        all
    }

    #[test]
    fn a_new_group_takes_half_of_what_the_only_one_has() {
        let groups = [load(1, &[Prefix::WHOLE]), load(2, &[])];
        let [left, right] = halves(Prefix::WHOLE);
        let planned = plan(&groups, WITHIN_PERCENT);
        let owner = carry_out(&groups, &planned.steps);
        assert_eq!(planned.steps.len(), 2, "{:?}", planned.steps);
        assert!(matches!(planned.steps[..], [Step::Split { .. }, Step::Move { .. }]));
        let mut owned: Vec<_> = owner.into_values().collect();
        owned.sort();
        assert_eq!(owned, [vec![left], vec![right]]);
        assert_eq!(planned.percent(), [(group(1), 200, 100), (group(2), 0, 100)]);
        assert_eq!(planned.moves(), 1);
    }

    #[test]
    fn what_is_even_enough_or_not_well_stays_as_it_is() {
        let [left, right] = halves(Prefix::WHOLE);
        assert_eq!(plan(&[load(1, &[left]), load(2, &[right])], WITHIN_PERCENT).steps, []);
        assert_eq!(plan(&[], WITHIN_PERCENT), Plan::default());
        for sick in [0, 1] {
            let mut groups = [load(1, &[Prefix::WHOLE]), load(2, &[])];
            groups[sick].is_well = false;
            assert_eq!(plan(&groups, WITHIN_PERCENT).steps, []);
        }
        let mut alone = load(1, &[left, right]);
        alone.is_well = false;
        assert_eq!(plan(&[alone], 0).steps, [], "nothing is merged in one that is not well");
    }

    #[test]
    fn halves_that_meet_are_merged() {
        let [left, right] = halves(Prefix::WHOLE);
        let groups = [load(1, &[left, right]), load(2, &[])];
        let planned = plan(&groups, 1000);
        assert_eq!(planned.steps, [Step::Merge { group: group(1), prefix: Prefix::WHOLE }]);
    }

    #[test]
    fn requests_count_as_much_as_the_share_of_the_key_space() {
        let [left, right] = halves(Prefix::WHOLE);
        assert_eq!(weight(&Prefix::WHOLE, 7000, 7000), weight(&Prefix::WHOLE, 0, 0));
        assert_eq!(weight(&left, 5000, 10_000), weight(&left, 0, 0));
        assert_eq!(weight(&left, MANY, MANY), 3 * weight(&right, 0, MANY));
        assert_eq!(weight(&left, u64::MAX, MANY), weight(&left, MANY, MANY), "more than all is all");
        assert_eq!(weight(&left, MANY - 1, MANY - 1), weight(&right, 0, MANY - 1), "a few say nothing");
        let deep = Prefix::of(&strongroom_proto::ids::RecordId([9; 32]), 256).expect("as long as an id");
        assert_eq!(weight(&deep, 0, 0), 1);
    }

    #[test]
    fn the_busy_part_of_a_prefix_is_what_is_shared() {
        let mut requests = Requests::default();
        (requests[14], requests[15]) = (500, 500);
        assert_eq!(
            halved(&requests),
            [[0; LOAD_PARTS], std::array::from_fn(|at| if at < 12 { 0 } else { 250 })]
        );
        assert_eq!(doubled([&[0; LOAD_PARTS], &halved(&requests)[1]]), requests);
        let busy =
            Load { group: group(1), owned: vec![(Prefix::WHOLE, requests)], is_well: true, majority: 2 };
        let planned = plan(&[busy, load(2, &[])], WITHIN_PERCENT);
        let moved = planned.steps.iter().filter_map(|step| match step {
            Step::Move { prefix, .. } => Some(prefix.to_string()),
            _ => None,
        });
        // The left half had no request: it is as much as it is of the key space.
        assert_eq!(moved.collect::<Vec<_>>(), ["0001", "10", "110", "1111"]);
        let [(_, 200, one), (_, 0, other)] = planned.percent()[..] else { panic!("{:?}", planned.percent()) };
        assert!(one.abs_diff(other) <= u64::from(WITHIN_PERCENT) / 2, "{one} and {other}");
    }

    #[test]
    fn a_prefix_goes_to_no_group_that_survives_less() {
        let groups = [load(1, &[Prefix::WHOLE]), Load { majority: 1, ..load(2, &[]) }];
        assert_eq!(plan(&groups, WITHIN_PERCENT).steps, []);
        let groups = [load(1, &[Prefix::WHOLE]), Load { majority: 3, ..load(2, &[]) }];
        assert_eq!(plan(&groups, WITHIN_PERCENT).moves(), 1);
    }

    #[test]
    fn one_record_that_all_ask_for_does_not_keep_the_others_from_being_shared() {
        let mut busy = Requests::default();
        busy[0] = 100_000;
        let [left, right] = halves(Prefix::WHOLE);
        let deep = (0..15).fold(left, |prefix, _| halves(prefix)[0]);
        let mut rest = Vec::new();
        let mut whole = left;
        while whole != deep {
            let [own, other] = halves(whole);
            rest.push(other);
            whole = own;
        }
        let hot = Load { group: group(1), owned: vec![(deep, busy)], is_well: true, majority: 2 };
        let groups = [hot, load(2, &[right]), load(3, &rest[..8]), load(4, &[])];
        let planned = plan(&groups, WITHIN_PERCENT);
        assert!(planned.moves() > 0, "{planned:?}");
        carry_out(&groups, &planned.steps);
    }

    #[test]
    fn a_plan_of_many_groups_ends() {
        let mut all = vec![Prefix::WHOLE];
        while all.len() < 1024 {
            all = all.into_iter().flat_map(halves).collect();
        }
        let mut groups: Vec<Load> = all.chunks(8).map(|owned| load(0, owned)).collect();
        for (n, load) in groups.iter_mut().enumerate() {
            load.group =
                GroupId([(n % 251) as u8, (n / 251) as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        let taken = groups[0].owned.split_off(2);
        groups[1].owned.extend(taken);
        let planned = plan(&groups, WITHIN_PERCENT);
        assert!(planned.moves() > 0, "the first has too little");
    }

    #[test]
    fn any_plan_can_be_carried_out_and_leaves_groups_even() {
        let mut uneven = 0;
        for seed in 0..2000 {
            let mut rng = StdRng::seed_from_u64(seed);
            let count = rng.random_range(1..9);
            let mut owners: Vec<(Prefix, usize)> = vec![(Prefix::WHOLE, 0)];
            for _ in 0..rng.random_range(0..12) {
                let (prefix, owner) = owners.swap_remove(rng.random_range(0..owners.len()));
                let owners_next = halves(prefix).map(|half| {
                    let owner = if rng.random_ratio(1, 2) { rng.random_range(0..count) } else { owner };
                    (half, owner)
                });
                owners.extend(owners_next);
            }
            let mut groups: Vec<Load> = (0..count).map(|n| load(n, &[])).collect();
            for (prefix, owner) in &owners {
                let busy = rng.random_ratio(1, 2);
                let requests = std::array::from_fn(|_| if busy { rng.random_range(0..1000) } else { 0 });
                groups[*owner].owned.push((*prefix, requests));
            }
            groups.iter_mut().for_each(|load| load.is_well = !rng.random_ratio(1, 8));
            let planned = plan(&groups, WITHIN_PERCENT);
            let owner = carry_out(&groups, &planned.steps);
            let whole = |owned: &Vec<Prefix>| owned.iter().map(|p| weight(p, 0, 0)).sum::<u64>();
            assert_eq!(owner.values().map(whole).sum::<u64>(), weight(&Prefix::WHOLE, 0, 0), "seed {seed}");
            for load in groups.iter().filter(|load| !load.is_well) {
                let before: Vec<Prefix> = load.owned.iter().map(|(prefix, _)| *prefix).collect();
                assert_eq!(owner[&load.group], before, "seed {seed}: it is not well");
            }
            let sums = planned.groups.iter().zip(&groups).filter(|(_, load)| load.is_well);
            let sums: Vec<u64> = sums.map(|((.., after), _)| *after).collect();
            let even = sums.iter().sum::<u64>() / sums.len().max(1) as u64;
            let gap = sums.iter().max().unwrap_or(&0) - sums.iter().min().unwrap_or(&0);
            uneven += u32::from(gap * 100 > even * u64::from(WITHIN_PERCENT));
        }
        assert_eq!(uneven, 0, "of 2,000 stay uneven");
    }
}
