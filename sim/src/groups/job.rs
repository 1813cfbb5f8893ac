//! What an operator wants done, and which of it can be wanted now.

use super::world::World;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use std::fmt;
use strongroom_proto::change::Change;
use strongroom_proto::ids::{GroupId, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;

/// The longest prefix that is split.
const DEEP: u16 = 6;

/// One thing to do. Groups are numbered as they were founded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Job {
    /// Own a prefix as its halves.
    Split(usize, Prefix),
    /// Own the halves of a prefix as one.
    Merge(usize, Prefix),
    /// Move a prefix to another group, step by step, until it is there and nothing is open.
    Move {
        /// What moves.
        prefix: Prefix,
        /// The group that has it.
        from: usize,
        /// The group that is to have it.
        to: usize,
    },
    /// Have a group make its last entry, and every member leave.
    Retire(usize),
    /// A step that was ordered before.
    Again(usize, Box<Change>),
}

impl Job {
    /// What it is, without whom it is about.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Split(..) => "split",
            Self::Merge(..) => "merge",
            Self::Move { .. } => "move",
            Self::Retire(_) => "retire",
            Self::Again(..) => "again",
        }
    }
}

fn bits(prefix: Prefix) -> String {
    let bit = |at: u16| prefix.bits()[usize::from(at / 8)] >> (7 - at % 8) & 1;
    (0..prefix.len()).map(|at| if bit(at) == 1 { '1' } else { '0' }).collect()
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split(group, prefix) => write!(f, "split {:?} of group {group}", bits(*prefix)),
            Self::Merge(group, prefix) => write!(f, "merge {:?} of group {group}", bits(*prefix)),
            Self::Move { prefix, from, to } => {
                write!(f, "move {:?} from group {from} to group {to}", bits(*prefix))
            }
            Self::Retire(group) => write!(f, "retire group {group}"),
            Self::Again(group, change) => {
                let change = format!("{change:?}");
                let name = change.split('(').next().unwrap_or_default();
                write!(f, "order a step of group {group} again: {name}")
            }
        }
    }
}

/// The groups that have not retired.
pub(super) fn live(world: &World) -> Vec<usize> {
    (0..world.groups.len()).filter(|group| !world.has_retired(*group)).collect()
}

/// What is owned, as far as an HSM has stated, each with its group.
fn owned(world: &World) -> Vec<(usize, Prefix)> {
    let of = |group: usize| {
        let newest = world.owners().newest(&world.groups[group].id()).cloned();
        newest.into_iter().flat_map(|entry| entry.partitions).map(move |p| (group, p.prefix))
    };
    live(world).into_iter().flat_map(of).collect()
}

/// Whether a group owns nothing and has nothing open.
fn is_empty(world: &World, group: usize) -> bool {
    let owners = world.owners();
    let newest = owners.newest(&world.groups[group].id());
    newest.is_some_and(|entry| entry.partitions.is_empty() && entry.open.is_empty() && !entry.last)
}

/// The parent of two prefixes that one group has, or else the move that brings two together.
fn merge(owned: &[(usize, Prefix)], rng: &mut StdRng) -> Option<Job> {
    let pair = |(group, prefix): &(usize, Prefix)| {
        let parent = prefix.parent()?;
        let (left, right) = parent.children()?;
        let other = if left == *prefix { right } else { left };
        owned.iter().find(|(_, p)| *p == other).map(|(with, _)| (*group, *with, other, parent))
    };
    let pairs: Vec<_> = owned.iter().filter_map(pair).collect();
    let one: Vec<_> = pairs.iter().filter(|(group, with, ..)| group == with).collect();
    if let Some((group, .., parent)) = one.choose(rng).filter(|_| rng_ratio(rng)) {
        return Some(Job::Merge(*group, *parent));
    }
    let (group, with, other, parent) = *pairs.choose(rng)?;
    Some(if group == with {
        Job::Merge(group, parent)
    } else {
        Job::Move { prefix: other, from: with, to: group }
    })
}

fn rng_ratio(rng: &mut StdRng) -> bool {
    rng.random_ratio(3, 4)
}

/// Something that an operator may want now, right or wrong.
pub(super) fn any(world: &World, others: &[Option<Job>], rng: &mut StdRng) -> Option<Job> {
    let (live, owned) = (live(world), owned(world));
    let others: Vec<&Job> = others.iter().flatten().collect();
    match rng.random_range(0..100) {
        0..10 => others.choose(rng).map(|job| (*job).clone()),
        10..17 => {
            let (group, change) = world.ordered.choose(rng)?;
            Some(Job::Again(*group, Box::new(change.clone())))
        }
        17..37 => {
            let (group, prefix) = owned.choose(rng)?;
            (prefix.len() < DEEP).then_some(Job::Split(*group, *prefix))
        }
        37..54 => merge(&owned, rng),
        54..66 => {
            let all = 0..world.groups.len();
            let left = all.filter(|group| world.has_retired(*group) && !world.groups[*group].is_over());
            let left: Vec<usize> = left.collect();
            let empty = live.iter().copied().filter(|group| live.len() > 2 && is_empty(world, *group));
            let all: Vec<usize> = left.into_iter().chain(empty).collect();
            all.choose(rng).map(|group| Job::Retire(*group))
        }
        66..69 => {
            let (from, to) = (*live.choose(rng)?, *live.choose(rng)?);
            let prefix = Prefix::of(&RecordId(rng.random()), rng.random_range(0..DEEP))?;
            (from != to).then_some(Job::Move { prefix, from, to })
        }
        _ => {
            let ((from, prefix), to) = (*owned.choose(rng)?, *live.choose(rng)?);
            (from != to).then_some(Job::Move { prefix, from, to })
        }
    }
}

/// Whether a majority has captured a group's last entry, whoever knows that.
fn has_ended(world: &World, group: usize) -> bool {
    let all = &world.groups[group];
    let owners = world.owners();
    owners.last_of(all.id()).any(|last| {
        let hash = last.hash();
        let have = (0..all.on.len()).filter(|member| all.cluster.captured_by(*member) == Some(hash));
        have.count() > all.on.len() / 2
    })
}

/// Something that is to be brought to its end.
pub(super) fn unfinished(world: &World, rng: &mut StdRng) -> Option<Job> {
    let owners = world.owners();
    let number = |id: &GroupId| world.group_of(id).expect("it was founded");
    let open: Vec<_> = owners.open().map(|(group, transfer)| (number(&group), *transfer)).collect();
    drop(owners);
    let job = |(group, transfer): &(usize, Transfer)| {
        let other = number(&transfer.other());
        if world.has_retired(other) && world.last_entry(other).is_none() {
            // Its last entry is not stored yet, which everything that is open with it needs.
            return Job::Retire(other);
        }
        match transfer {
            Transfer::Incoming { prefix, .. } => Job::Move { prefix: *prefix, from: other, to: *group },
            Transfer::Outgoing { prefix, .. } => Job::Move { prefix: *prefix, from: *group, to: other },
        }
    };
    open.choose(rng).map(job).or_else(|| {
        let mut all = 0..world.groups.len();
        let to_end = |group: &usize| world.has_retired(*group) || has_ended(world, *group);
        all.find(|group| to_end(group) && !world.groups[*group].is_over()).map(Job::Retire)
    })
}
