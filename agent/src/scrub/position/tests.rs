use super::*;

fn prefix(first: u8, len: u16) -> Prefix {
    Prefix::of(&RecordId([first; 32]), len).expect("at most 256 bits")
}

/// Goes through a round as time passes; returns the parts of the tree with their times, and how often the log came.
fn round(
    owned: &mut impl FnMut(u64) -> Vec<Prefix>,
    position: &mut Position,
    step: u64,
) -> (Vec<(u64, Prefix)>, u32) {
    let (mut parts, mut logs, mut now) = (Vec::new(), 0, position.began);
    loop {
        let prefixes = owned(now);
        let way = Way { prefixes: &prefixes, part_bits: 5, bytes: 0, period_s: 32_000 };
        position.skip_tree(&way, now);
        match position.due(&way, now) {
            Due::Nothing => now += step,
            Due::NextRound => return (parts, logs),
            Due::Check(place) => {
                match place {
                    Place::Log => logs += 1,
                    Place::Tree(part) => parts.push((now, part)),
                }
                position.pass(&way, place, now);
            }
        }
    }
}

#[test]
fn a_round_goes_through_all_that_is_owned_evenly_and_once() {
    for owned in [vec![Prefix::WHOLE], vec![prefix(0x00, 1), prefix(0xc0, 3)], vec![prefix(0xff, 256)]] {
        let mut position = Position::begin(None, 1_000);
        let (parts, logs) = round(&mut |_| owned.clone(), &mut position, 10);
        assert_eq!(logs, 32);
        for prefix in &owned {
            let (first, size) = span(prefix);
            let mut at = first;
            for (_, part) in parts.iter().filter(|(_, part)| part.overlaps(prefix)) {
                assert_eq!(span(part).0, at, "no gap and no overlap");
                at += span(part).1;
            }
            assert_eq!(at, first + size);
        }
        let gaps: Vec<u64> = parts.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(gaps.iter().all(|gap| *gap <= 4_010), "{gaps:?}");
        assert!(position.ended > 30_000 && position.ended <= 33_000, "{}", position.ended);
    }
}

#[test]
fn what_is_owned_throughout_a_round_is_checked_whatever_is_split_and_merged() {
    let halves = Prefix::WHOLE.children().expect("two");
    let mut position = Position::begin(None, 0);
    let mut owned = |now: u64| match now / 5_000 % 3 {
        0 => vec![Prefix::WHOLE],
        1 => vec![halves.0, halves.1],
        _ => vec![halves.1],
    };
    let (parts, _) = round(&mut owned, &mut position, 10);
    let (first, size) = span(&halves.1);
    let mut at = first;
    for (_, part) in &parts {
        let (from, many) = span(part);
        assert!(from <= at || from + many <= first, "a gap before {part}");
        at = at.max(from + many);
    }
    assert_eq!(at, first + size);
}

#[test]
fn what_was_missed_is_made_up_for() {
    let mut position = Position::begin(None, 0);
    let (parts, logs) = round(&mut |_| vec![Prefix::WHOLE], &mut position, 20_000);
    assert_eq!(parts.len(), 32);
    assert!(logs >= 2);
}

#[test]
fn a_clock_that_goes_forward_and_back_stops_nothing() {
    let way = Way { prefixes: &[Prefix::WHOLE], part_bits: 5, bytes: 0, period_s: 32_000 };
    let (now, later) = (1_000_000, 9_000_000);
    for (logs, cursor, tree_done) in [(0, 0, false), (1, 1 << 63, false), (32, 1 << 63, false), (32, 0, true)]
    {
        let began_later =
            Position { began: later, ended: later, logs, cursor, tree_done, ..Position::default() };
        if cursor > 0 || tree_done {
            let unsettled = Position { logs: 32, ..began_later.clone() };
            assert_eq!(unsettled.due(&way, now), Due::Nothing, "it would wait for that time");
        }
        let mut settled = began_later.clone();
        settled.settle(&way, now);
        assert!(settled.began <= now && settled.ended <= now, "{settled:?}");
        assert_ne!(settled.due(&way, now), Due::Nothing, "{settled:?}");
        let (cursor, is_whole) = (settled.cursor, settled.is_whole());
        assert_eq!((cursor, is_whole), (began_later.cursor, began_later.is_whole()), "nothing is skipped");
    }
}

#[test]
fn a_log_that_was_checked_ahead_of_time_waits_for_no_more_than_its_usual_time() {
    let way = Way { prefixes: &[Prefix::WHOLE], part_bits: 5, bytes: 0, period_s: 32_000 };
    let mut position = Position::begin(None, 1_000_000);
    position.pass(&way, Place::Log, 1_031_999);
    assert_eq!(position.logs, 32);
    let unsettled = position.clone();
    position.settle(&way, 1_031_999);
    assert_eq!(position, unsettled, "a clock that is right changes nothing");
    position.settle(&way, 1_000_100);
    position.tree_done = true;
    assert_eq!(position.due(&way, 1_000_999), Due::Nothing);
    assert_eq!(position.due(&way, 1_001_000), Due::Check(Place::Log));
}

#[test]
fn a_round_ends_though_what_was_to_come_of_it_has_left() {
    let (first, second) = Prefix::WHOLE.children().expect("two");
    let mut owned = |now: u64| if now < 20_000 { vec![first, second] } else { vec![first] };
    let mut position = Position::begin(None, 0);
    let (parts, logs) = round(&mut owned, &mut position, 10);
    assert_eq!(logs, 32);
    assert!(parts.iter().any(|(_, part)| part.overlaps(&second)), "it had come to what left");
    assert!(position.ended > 0 && position.ended <= 33_000, "{}", position.ended);
}

#[test]
fn large_trees_have_more_parts() {
    let way = |bytes| Way { prefixes: &[Prefix::WHOLE], part_bits: 5, bytes, period_s: 1 };
    let id = RecordId([0; 32]);
    assert_eq!(way(1 << 20).part_of(&id).map(|part| part.len()), Some(5));
    assert_eq!(way(80 << 30).part_of(&id).map(|part| part.len()), Some(14));
}

#[test]
fn what_is_kept_is_read_again_and_nothing_else_is() {
    let mut position = Position { round: 7, began: 5, ended: 4, cursor: 9, logs: 3, ..Position::default() };
    let finding = |kind| Finding { kind, what: "it is gone".into() };
    position.put(Place::Log, vec![finding("missing"), finding("forged")]);
    position.put(Place::Tree(prefix(0xc0, 3)), vec![finding("tree")]);
    let bytes = position.to_bytes();
    assert_eq!(Position::from_bytes(&bytes, 10), Some(position.clone()));
    let early = Position::from_bytes(&bytes, 1).expect("well formed");
    assert_eq!((early.began, early.ended), (1, 0), "times to come are not believed");
    for end in 0..bytes.len() {
        assert_eq!(Position::from_bytes(&bytes[..end], 10), None, "{end}");
    }
    assert_eq!(Position::from_bytes(&[&bytes[..], &[0]].concat(), 10), None);
    position.findings.insert(Place::Log, vec![Finding { kind: "sold", what: String::new() }]);
    assert_eq!(Position::from_bytes(&position.to_bytes(), 10), None, "a kind that there is not");
}

#[test]
fn no_more_is_kept_than_fits() {
    let mut position = Position::default();
    // The longest that one can be.
    let finding = |kind| Finding { kind, what: "\u{10ffff}".repeat(MAX_CHARS) };
    for at in 0..=255 {
        position.put(Place::Tree(prefix(at, 8)), vec![finding("tree"); 100]);
    }
    assert_eq!((position.findings.len(), position.more), (MAX_PLACES, Some(More::Waits)));
    position.put(Place::Log, vec![finding("missing"); 100]);
    assert_eq!(position.findings.len(), MAX_PLACES + 1, "there is always room for the log");
    let bytes = position.to_bytes();
    assert_eq!(Position::from_bytes(&bytes, 0), Some(position));
}

#[test]
fn a_tree_is_not_well_before_that_is_sought_for_which_there_was_no_room() {
    let way = Way { prefixes: &[Prefix::WHOLE], part_bits: 8, bytes: 0, period_s: 32_000 };
    let finding = || vec![Finding { kind: "tree", what: "it is gone".into() }];
    let mut position = Position::begin(None, 0);
    let parts: Vec<Prefix> = (0..=255).map(|at| prefix(at, 8)).collect();
    parts.iter().for_each(|part| position.put(Place::Tree(*part), finding()));
    position.cursor = 1 << 63;
    // All are mended but the last. Those that are not kept are never looked at again.
    let mended = &parts[..255];
    mended.iter().for_each(|part| position.put(Place::Tree(*part), Vec::new()));
    assert!(position.findings.is_empty() && !position.tree_is_well());
    position = Position::begin(Some(&position), 0);
    position.seek_more();
    let mut sought = Vec::new();
    while let Some(part) = position.due_part(&way, 0) {
        assert!(!position.tree_is_well(), "not sought yet");
        sought.push(part);
        let found = if part == parts[255] { finding() } else { Vec::new() };
        position.put(Place::Tree(part), found);
        position.pass(&way, Place::Tree(part), 0);
        position.seek_more();
    }
    assert_eq!(sought, parts, "from the beginning on, without a pause");
    assert_eq!(position.findings.keys().collect::<Vec<_>>(), [&Place::Tree(parts[255])]);
    position.put(Place::Tree(parts[255]), Vec::new());
    position.seek_more();
    assert!(position.tree_is_well(), "all was sought");
}
