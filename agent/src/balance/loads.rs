//! What each group has to do, from what is seen of the realm.

use super::plan::{Load, Requests};
use crate::overview::{Group, Overview};
use std::collections::BTreeSet;
use strongroom_proto::entry::{MAX_PARTITIONS, MAX_PREFIX_BITS};
use strongroom_proto::prefix::Prefix;

/// Requests are compared as if all were counted for this long.
const SECONDS: u64 = 60;

/// Requests that were counted for a shorter time are not compared: a group with a new leader, or a prefix that has just been
/// cut, would count as busy, or as idle.
const LONG_ENOUGH: u32 = 30;

/// The groups that have not retired. Those are well that serve with all their members and have nothing on its way to or
/// from them: a prefix goes neither to a group that is about to be replaced, nor twice at a time. What agents say is theirs:
/// a group that is said to own what another one is said to own, or what no group can own, is not well either.
#[must_use]
pub fn loads(overview: &Overview) -> Vec<Load> {
    let living: Vec<&Group> = overview.groups.iter().filter(|group| !group.retired).collect();
    let counted = living.iter().all(|group| {
        group.load.as_ref().map_or(group.prefixes.is_empty(), |load| load.seconds >= LONG_ENOUGH)
    });
    let disputed = disputed(&living);
    let moves = |group: &Group| overview.moves.iter().any(|m| m.from == group.group || m.to == group.group);
    let load = |(at, group): (usize, &&Group)| {
        let is_well = group.serves && group.working() == group.members.len() && !moves(group);
        let is_well = is_well && !disputed.contains(&at);
        let prefixes = if disputed.contains(&at) { &[][..] } else { &group.prefixes[..] };
        let owned = prefixes
            .iter()
            .map(|prefix| (*prefix, if counted { requests(group, prefix) } else { Requests::default() }));
        Load { group: group.group, owned: owned.collect(), is_well, majority: group.majority() }
    };
    living.iter().enumerate().map(load).collect()
}

/// The groups that are said to own what they cannot own, or what others are said to own, by number.
fn disputed(groups: &[&Group]) -> BTreeSet<usize> {
    let mut owned: Vec<(Prefix, usize)> = Vec::new();
    let mut disputed = BTreeSet::new();
    for (at, group) in groups.iter().enumerate() {
        if group.prefixes.len() > MAX_PARTITIONS || group.prefixes.iter().any(|p| p.len() > MAX_PREFIX_BITS) {
            disputed.insert(at);
        } else {
            owned.extend(group.prefixes.iter().map(|prefix| (*prefix, at)));
        }
    }
    // In the order of the tree, what overlaps is below the last one that is not below another.
    owned.sort_unstable();
    let mut above: Option<(Prefix, usize)> = None;
    for (prefix, at) in owned {
        match above {
            Some((whole, of)) if whole.overlaps(&prefix) => disputed.extend([of, at]),
            _ => above = Some((prefix, at)),
        }
    }
    disputed
}

fn requests(group: &Group, prefix: &Prefix) -> Requests {
    let Some(load) = &group.load else { return Requests::default() };
    let Some(counted) = load.prefixes.iter().find(|of| of.prefix == *prefix) else {
        return Requests::default();
    };
    let seconds = u64::from(load.seconds.max(1));
    counted.parts.map(|part| u64::from(part).saturating_mul(SECONDS) / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::{self, Member, MemberState, Move, PrefixLoad};
    use strongroom_proto::ids::{GroupId, HsmId, Index};

    fn group(n: u8) -> Group {
        let member =
            |hsm| Member { hsm: HsmId([hsm; 16]), state: MemberState::Witness, captured: None, behind: None };
        let parts = std::array::from_fn(|at| at as u32);
        let counted = PrefixLoad { prefix: Prefix::WHOLE, parts };
        Group {
            group: GroupId([n; 16]),
            members: vec![member(1), member(2), member(3)],
            leader: None,
            serves: true,
            prefixes: vec![Prefix::WHOLE],
            retired: false,
            index: Index(1),
            committed: None,
            snapshot: Index(0),
            waiting: 0,
            load: Some(overview::Load { seconds: 30, prefixes: vec![counted] }),
            tree: None,
        }
    }

    #[test]
    fn a_group_with_something_on_its_way_or_a_member_away_is_not_well_and_a_retired_one_does_not_count() {
        let mut overview = Overview { groups: (0..5).map(group).collect(), ..Overview::default() };
        apart(&mut overview);
        overview.groups[1].serves = false;
        overview.groups[2].members[2].state = MemberState::HsmSilent;
        overview.groups[4].retired = true;
        let from = GroupId([3; 16]);
        overview.moves.push(Move {
            prefix: Prefix::WHOLE,
            from,
            to: GroupId([9; 16]),
            step: overview::Step::Left,
        });
        let well: Vec<bool> = loads(&overview).iter().map(|load| load.is_well).collect();
        assert_eq!(well, [true, false, false, false]);
    }

    #[test]
    fn requests_are_as_many_as_in_a_minute_and_none_where_none_were_counted() {
        let mut overview = Overview { groups: vec![group(0), group(1)], ..Overview::default() };
        overview.groups[1].prefixes.clear();
        let doubled: Requests = std::array::from_fn(|at| 2 * at as u64);
        let seen = |overview: &Overview| loads(overview)[0].owned.clone();
        assert_eq!(seen(&overview), [(Prefix::WHOLE, doubled)]);
        overview.groups[0].load.as_mut().expect("it has one").seconds = LONG_ENOUGH - 1;
        assert_eq!(seen(&overview), [(Prefix::WHOLE, Requests::default())]);
    }

    /// Gives each group a prefix of its own.
    fn apart(overview: &mut Overview) {
        let mut rest = Prefix::WHOLE;
        for group in &mut overview.groups {
            let (own, others) = rest.children().expect("not a record");
            (group.prefixes, rest) = (vec![own], others);
        }
    }

    #[test]
    fn groups_that_are_said_to_own_the_same_or_what_nobody_can_own_are_left_out() {
        let mut overview = Overview { groups: (0..6).map(group).collect(), ..Overview::default() };
        apart(&mut overview);
        // Below what the first has, and the same as the second has.
        overview.groups[4].prefixes = vec![overview.groups[0].prefixes[0].children().expect("halves").1];
        overview.groups[5].prefixes = overview.groups[1].prefixes.clone();
        overview.groups[3].prefixes =
            vec![Prefix::of(&strongroom_proto::ids::RecordId([255; 32]), MAX_PREFIX_BITS + 1).expect("bits")];
        let loads = loads(&overview);
        let well: Vec<bool> = loads.iter().map(|load| load.is_well).collect();
        assert_eq!(well, [false, false, true, false, false, false]);
        assert!(loads.iter().all(|load| load.is_well || load.owned.is_empty()));
    }
}
