use super::*;

const GROUP: GroupId = GroupId([2; 16]);
const LAST: u64 = 20;

/// The hash of an entry on the branch `branch` of the log; 0 is the log.
fn hash(index: u64, branch: u8) -> EntryHash {
    let mut hash = [branch; 32];
    hash[1..9].copy_from_slice(&index.to_be_bytes());
    if index == 0 { EntryHash::ZERO } else { EntryHash(hash) }
}

/// A segment of two entries on a branch.
fn link(first: u64, branch: u8) -> Link {
    let prev = hash(first - 1, branch);
    Link {
        name: SegmentName::new(GROUP, Index(first), &prev),
        prev,
        last: (Index(first + 1), hash(first + 1, branch)),
    }
}

/// The segment, with a last entry that is not the log's.
fn altered(first: u64) -> Link {
    Link { last: (Index(first + 1), hash(first + 1, 7)), ..link(first, 0) }
}

/// What is found of the log up to its entry 20 if the segments that begin with `lacks` are gone, those that begin with
/// `bad` are damaged, with a length that shows or not, and `more` exist.
fn found(lacks: &[u64], bad: &[(u64, Option<u64>)], more: &[Link]) -> Found {
    let mut found = Found::default();
    for first in (1..LAST).step_by(2).filter(|first| !lacks.contains(first)) {
        let link = link(first, 0);
        if let Some((_, entries)) = bad.iter().find(|(bad, _)| *bad == first) {
            let problem = Problem::Misnamed { object: link.name };
            found.insert_bad(link.name, Bad { problem, entries: *entries });
        } else {
            found.insert(link);
        }
    }
    more.iter().for_each(|link| found.insert(*link));
    found
}

const ASKED: Captured = Captured { own: None, others: Index::ZERO };

fn asked() -> Captured {
    Captured { own: Some((Index(LAST), hash(LAST, 0))), ..ASKED }
}

/// The problems when the stored tree reaches this entry, 0 for none.
fn told(found: Found, anchor: u64, captured: Captured) -> Vec<Problem> {
    let anchor = Some((Index(anchor), hash(anchor, 0))).filter(|_| anchor > 0);
    found.chain(GROUP, anchor, captured).problems
}

fn problems(found: Found) -> Vec<Problem> {
    told(found, 16, asked())
}

fn damaged(first: u64) -> Problem {
    Problem::Misnamed { object: link(first, 0).name }
}

fn hole(first: u64, last: u64) -> Problem {
    Problem::Hole { object: link(first, 0).name.into(), last: Index(last) }
}

fn missing(first: u64, last: u64) -> Problem {
    Problem::Missing { object: link(first, 0).name.into(), last: Index(last) }
}

/// A segment of whose name only the first half is known.
fn nameless(first: u64) -> Lost {
    Lost { group: GROUP, first: Index(first), prev: None }
}

fn astray(first: u64) -> Problem {
    Problem::Astray { object: link(first, 0).name, end: Index(first + 1) }
}

#[test]
fn a_hole_behind_the_stored_tree_is_told_by_whichever_hsm_has_captured_more() {
    let told = |own, others| {
        let captured = Captured { own: Some((Index(own), hash(own, 0))), others: Index(others) };
        told(found(&[17], &[], &[]), 16, captured)
    };
    assert_eq!(told(16, 16), [], "what follows may be a deposed leader's");
    for (own, others) in [(20, 0), (16, 20), (20, 16)] {
        assert_eq!(told(own, others), [missing(17, 18)], "{own} {others}");
    }
}

#[test]
fn a_log_that_begins_somewhere_and_is_whole_from_there_is_well() {
    for anchor in [2, 10, 16, 20] {
        for captured in [asked(), ASKED] {
            assert_eq!(told(found(&[], &[], &[]), anchor, captured), []);
        }
    }
    assert_eq!(problems(found(&[1, 3, 5], &[], &[])), []);
    assert_eq!(problems(found(&[1, 3, 5, 7, 9, 11, 13], &[], &[])), []);
    assert_eq!(told(found(&[], &[], &[]), 0, asked()), []);
    assert_eq!(told(Found::default(), 0, ASKED), []);
}

#[test]
fn each_hole_is_named_by_what_is_missing_first() {
    for lacks in (3..17).step_by(2) {
        assert_eq!(problems(found(&[lacks], &[], &[])), [hole(lacks, lacks + 1)], "{lacks}");
    }
    assert_eq!(problems(found(&[5, 7], &[], &[])), [hole(5, 8)]);
    assert_eq!(problems(found(&[1, 5, 9, 11], &[], &[])), [hole(5, 6), hole(9, 12)]);
}

#[test]
fn several_holes_above_the_stored_tree_are_told_each() {
    let lacks = || found(&[5, 9, 11, 19], &[], &[]);
    let each = [missing(5, 6), missing(9, 12), missing(19, 20)];
    assert_eq!(told(lacks(), 2, asked()), each);
    assert_eq!(told(lacks(), 0, asked()), each);
    // One on each side of the stored tree, and next to the first and the last.
    assert_eq!(told(found(&[5, 19], &[], &[]), 16, asked()), [hole(5, 6), missing(19, 20)]);
    assert_eq!(told(found(&[1, 7], &[], &[]), 0, asked()), [missing(1, 2), missing(7, 8)]);
    // The other HSMs know how far it goes, but not what is there.
    let others = Captured { own: Some((Index(8), hash(8, 0))), others: Index(LAST) };
    assert_eq!(told(lacks(), 2, others), each);
}

#[test]
fn without_an_hsm_each_place_where_the_log_may_be_broken_is_told_and_the_end_is_not_known() {
    let beyond = |object: u64, end: u64, last: u64| Problem::Beyond {
        object: link(object, 0).name,
        end: Index(end),
        last: link(last, 0).name.to_string(),
    };
    let told = |found| told(found, 4, ASKED);
    assert_eq!(told(found(&[7, 13, 19], &[], &[])), [beyond(9, 6, 5), beyond(15, 12, 11)]);
    // A damaged one fills its own place and no other.
    let bad = [(7, Some(2)), (19, None)];
    assert_eq!(told(found(&[], &bad, &[])), [damaged(7), damaged(19)]);
    let all = [damaged(7), beyond(11, 8, 7), beyond(19, 16, 15), damaged(19)];
    assert_eq!(told(found(&[9, 17], &bad, &[])), all);
    assert_eq!(told(found(&[9], &[], &[altered(9)])), [beyond(11, 10, 9)]);
}

#[test]
fn without_any_segment_up_to_the_stored_tree_its_entry_is_named_and_what_is_wrong_behind_it() {
    let lacks: Vec<u64> = (1..17).step_by(2).collect();
    assert_eq!(problems(found(&lacks, &[], &[])), [Problem::NoAnchor(Index(16))]);
    let both = problems(found(&lacks, &[(19, None)], &[]));
    assert_eq!(both, [Problem::NoAnchor(Index(16)), damaged(19)]);
}

#[test]
fn every_damaged_segment_is_named_once_wherever_they_are() {
    let firsts = || (1..LAST).step_by(2);
    for anchor in [0, 2, 8, 16, 20] {
        for captured in [asked(), ASKED] {
            for entries in [None, Some(2)] {
                for (one, other) in firsts().flat_map(|one| firsts().map(move |other| (one, other))) {
                    let bad = [(one, entries), (other, entries)];
                    let mut expected = vec![damaged(one.min(other)), damaged(one.max(other))];
                    expected.dedup();
                    let told = told(found(&[], &bad, &[]), anchor, captured);
                    assert_eq!(told, expected, "{one} and {other}, the tree at {anchor}");
                }
            }
        }
    }
}

#[test]
fn a_damaged_one_and_a_missing_one_are_told_both_also_as_neighbours() {
    for anchor in [4, 16] {
        let gap = |first, last| if anchor == 16 { hole(first, last) } else { missing(first, last) };
        // A missing one before a damaged one is named by the one before it.
        assert_eq!(told(found(&[7], &[(9, None)], &[]), anchor, asked()), [gap(7, 8), damaged(9)]);
        // A missing one after it is reported as long as the damaged one's length shows.
        let behind = match gap(11, 12) {
            Problem::Hole { last, .. } => Problem::Hole { object: nameless(11), last },
            _ => Problem::Missing { object: nameless(11), last: Index(12) },
        };
        let told = |entries| told(found(&[11], &[(9, entries)], &[]), anchor, asked());
        assert_eq!(told(Some(2)), [damaged(9), behind]);
        assert_eq!(told(None), [damaged(9)]);
    }
    // First and last.
    assert_eq!(problems(found(&[19], &[(1, Some(2))], &[])), [damaged(1), missing(19, 20)]);
    let first = Problem::Hole { object: nameless(3), last: Index(4) };
    assert_eq!(problems(found(&[3], &[(1, Some(2))], &[])), [damaged(1), first]);
    assert_eq!(problems(found(&[17], &[(19, None)], &[])), [missing(17, 18), damaged(19)]);
}

#[test]
fn what_no_damaged_segment_can_take_up_is_missing_though_it_has_no_name() {
    let mut found = found(&[11, 13], &[(9, None)], &[]);
    let far = MAX_CAPTURE_ENTRIES as u64 + 30;
    let behind = link(far + 1, 0);
    found.insert(behind);
    let captured = Captured { own: Some(behind.last), ..ASKED };
    let told = found.chain(GROUP, Some((Index(4), hash(4, 0))), captured).problems;
    // The damaged one may reach up to entry 14.
    assert_eq!(told, [damaged(9), missing(21, far)]);
    let alone = Found::default();
    let mut found = Found { links: [(link(1, 0).name, link(1, 0)), (behind.name, behind)].into(), ..alone };
    found.by_end.insert((behind.last.0, behind.last.1.0), behind.name);
    let object = link(3, 0).name;
    found.insert_bad(object, Bad { problem: damaged(3), entries: None });
    let told = found.chain(GROUP, None, captured).problems;
    assert_eq!(told, [damaged(3), Problem::Between { object, last: Index(far) }]);
}

#[test]
fn a_segment_that_was_altered_so_that_it_leads_elsewhere_is_named_and_no_neighbour_is() {
    for first in (1..17).step_by(2) {
        assert_eq!(problems(found(&[first], &[], &[altered(first)])), [astray(first)], "{first}");
    }
    assert_eq!(problems(found(&[7, 9], &[], &[altered(7), altered(9)])), [astray(7), astray(9)]);
    assert_eq!(told(found(&[5, 13], &[], &[altered(5), altered(13)]), 4, asked()), [astray(5), astray(13)]);
    // Before a damaged one, before a missing one, and last of all.
    assert_eq!(problems(found(&[7], &[(9, None)], &[altered(7)])), [astray(7), damaged(9)]);
    let gone = SegmentName::new(GROUP, Index(9), &hash(8, 7));
    let behind = Problem::Hole { object: gone.into(), last: Index(10) };
    assert_eq!(problems(found(&[7, 9], &[], &[altered(7)])), [behind]);
    let forked = Problem::Forked { index: Index(LAST), object: Some(link(19, 0).name) };
    assert_eq!(problems(found(&[19], &[], &[altered(19)])), std::slice::from_ref(&forked));
    assert_eq!(problems(found(&[17, 19], &[], &[altered(19)])), [missing(17, 18), forked]);
}

#[test]
fn what_deposed_leaders_left_is_no_problem_and_hides_none() {
    let left = [link(7, 1), link(8, 1), link(10, 2)];
    assert_eq!(problems(found(&[], &[], &left)), []);
    assert_eq!(problems(found(&[1, 3, 5], &[], &left)), []);
    assert_eq!(problems(found(&[5], &[], &left)), [hole(5, 6)]);
    assert_eq!(told(found(&[13], &[], &left), 4, asked()), [missing(13, 14)]);
    assert_eq!(problems(found(&[], &[], &[link(21, 3)])), [], "after everything that an HSM has captured");
}

#[test]
fn what_is_deleted_while_it_is_looked_at_leaves_no_hole() {
    for anchor in [4, 16] {
        let mut found = found(&[5, 7], &[], &[]);
        found.gone = Some(Index(7));
        assert_eq!(told(found, anchor, asked()), []);
    }
}

#[test]
fn everything_sound_is_counted_on_either_side_of_a_hole() {
    let captured = asked();
    let chain = found(&[5, 13], &[], &[link(7, 1)]).chain(GROUP, Some((Index(8), hash(8, 0))), captured);
    assert_eq!((chain.links.len(), chain.apart.len(), chain.unnecessary), (3, 5, 1));
    assert_eq!((chain.begins_at(), chain.spans()), (Index(7), (Index(1), Index(LAST))));
}
