//! Lists that were kept, joined: all requests since the registration, or how many of them no list names.

use strongroom_proto::client::{Attempt, AttemptsResponse, MAX_ATTEMPTS, RegistrationVersion, next_head};
use strongroom_proto::ids::{Digest, EntryHash, GroupId, Index};
use strongroom_tlog::History;
use strongroom_tlog::history::Broken;

const HERE: GroupId = GroupId([2; 16]);
const THERE: GroupId = GroupId([4; 16]);

fn attempt(number: u64) -> Attempt {
    Attempt {
        index: Index(10 * number),
        time: 1_700_000_000 + number,
        what: if number == 1 { 1 } else { 2 },
        guesses_left: 5,
    }
}

/// The list after so many requests of a record that moved to another group after the `moved`th.
fn list(count: u64, moved: u64) -> AttemptsResponse {
    let version = RegistrationVersion([3; 16]);
    let group = |number| if number > moved { THERE } else { HERE };
    let head = (1..=count).fold(Digest([0; 32]), |head, number| {
        next_head(&head, &version.0, number, &group(number), &attempt(number))
    });
    let here = group(count);
    let newest: Vec<_> = (1..=count).filter(|number| group(*number) == here).map(attempt).collect();
    let newest = newest[newest.len().saturating_sub(MAX_ATTEMPTS)..].to_vec();
    let (index, hash) = (Index(1000 + count), EntryHash([count as u8; 32]));
    AttemptsResponse { group: here, index, hash, version, count, head, newest, signature: [0; 64].into() }
}

fn numbers(history: &History) -> Vec<u64> {
    history.named().map(|(number, _)| number).collect()
}

#[test]
fn lists_that_were_kept_often_enough_name_every_request_since_the_registration() {
    let earlier = [list(14, 99), list(29, 99), list(3, 99)];
    let history = History::join(&list(44, 99), &earlier).unwrap();
    assert_eq!((history.count(), history.unnamed()), (44, 0));
    let named: Vec<_> = history.named().map(|(number, named)| (number, *named)).collect();
    assert_eq!(named, (1..=44).map(|number| (number, attempt(number))).collect::<Vec<_>>());
}

#[test]
fn a_record_that_moved_is_named_by_what_was_kept_before() {
    let history = History::join(&list(12, 8), &[list(8, 8)]).unwrap();
    assert_eq!(history.unnamed(), 0);
    assert_eq!(numbers(&history), (1..=12).collect::<Vec<_>>());
    let history = History::join(&list(12, 8), []).unwrap();
    assert_eq!((history.unnamed(), numbers(&history)), (8, vec![9, 10, 11, 12]));
}

#[test]
fn what_no_list_names_is_counted() {
    let history = History::join(&list(40, 99), &[list(20, 99)]).unwrap();
    let named: Vec<_> = (6..=20).chain(26..=40).collect();
    assert_eq!((history.unnamed(), numbers(&history)), (10, named));
    let none = History::join(&list(0, 99), []).unwrap();
    assert_eq!((none.count(), none.unnamed(), numbers(&none)), (0, 0, vec![]));
}

#[test]
fn lists_of_another_registration_are_left_out() {
    let mut other = list(14, 99);
    other.version = RegistrationVersion([9; 16]);
    assert_eq!(History::join(&list(20, 99), &[other]).unwrap().unnamed(), 5);
}

#[test]
fn lists_that_do_not_fit_together_are_broken() {
    let now = list(20, 99);
    let alter = |change: fn(&mut AttemptsResponse)| {
        let mut earlier = list(14, 99);
        change(&mut earlier);
        History::join(&now, &[earlier])
    };
    assert_eq!(alter(|_| {}).unwrap().unnamed(), 0);
    // A request that the newest list names otherwise, and one that only the chain shows.
    assert_eq!(alter(|list| list.newest[8].what = 4), Err(Broken));
    assert_eq!(alter(|list| list.newest[0].what = 4), Err(Broken));
    assert_eq!(alter(|list| list.head.0[0] ^= 1), Err(Broken));
    assert_eq!(alter(|list| list.group = THERE), Err(Broken));
    assert_eq!(alter(|list| list.count = 13), Err(Broken));
    assert_eq!(alter(|list| list.count = 3), Err(Broken), "more named than counted");
    // As many, with another head; and more than the newest.
    let mut same = now.clone();
    same.head.0[5] ^= 1;
    assert_eq!(History::join(&now, &[same]), Err(Broken));
    assert_eq!(History::join(&list(14, 99), &[now]), Err(Broken));
}

#[test]
fn between_two_gaps_the_chain_is_followed_from_the_heads_that_are_known() {
    // 6 to 20 stand between gaps: whether 20's head is theirs cannot be told, but 35's is what 21 to 35 make of 20's.
    let mut early = list(20, 99);
    early.head.0[0] ^= 1;
    assert_eq!(History::join(&list(60, 99), &[early.clone()]).unwrap().unnamed(), 30);
    assert_eq!(History::join(&list(60, 99), &[early, list(35, 99)]), Err(Broken));
}
