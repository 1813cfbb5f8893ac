//! What each group has to do, from what is seen of the realm.

use super::plan::{Load, Requests};
use crate::overview::{Group, Overview};
use strongroom_proto::prefix::Prefix;

/// Requests are compared as if all were counted for this long.
const SECONDS: u64 = 60;

/// The groups that have not retired. Those are well that serve with all their members and have nothing on its way to or
/// from them: a prefix goes neither to a group that is about to be replaced, nor twice at a time.
#[must_use]
pub fn loads(overview: &Overview) -> Vec<Load> {
    let living = overview.groups.iter().filter(|group| !group.retired);
    let moves = |group: &Group| overview.moves.iter().any(|m| m.from == group.group || m.to == group.group);
    let load = |group: &Group| Load {
        group: group.group,
        owned: group.prefixes.iter().map(|prefix| (*prefix, requests(group, prefix))).collect(),
        is_well: group.serves && group.working() == group.members.len() && !moves(group),
    };
    living.map(load).collect()
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
        overview.groups[1].load = None;
        let loads = loads(&overview);
        let doubled: Requests = std::array::from_fn(|at| 2 * at as u64);
        assert_eq!(loads[0].owned, [(Prefix::WHOLE, doubled)]);
        assert_eq!(loads[1].owned, [(Prefix::WHOLE, Requests::default())]);
    }
}
