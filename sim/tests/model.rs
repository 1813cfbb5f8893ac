//! The model of the protocol keeps its promises with all its rules, and breaks one without almost any of them.

use strongroom_sim::model::Rule;
use strongroom_sim::model::explore::{Bounds, Explored, explore};

fn bounds(members: usize, entries: usize, guesses: usize) -> Bounds {
    Bounds { members, entries, guesses, states: 2_000_000 }
}

#[test]
fn every_promise_holds_whatever_three_members_do_with_two_entries() {
    for guesses in [0, 1] {
        let t = std::time::Instant::now();
        let Explored { states, exhausted, broken } = explore(&bounds(3, 2, guesses), None);
        assert!(broken.is_none(), "{broken:?}");
        assert!(exhausted);
        println!("{states} {:?}", t.elapsed());
    }
}

#[test]
fn variants() {
    for rule in Rule::ALL {
        for (m, e) in [(3, 2), (3, 3), (4, 2)] {
            let t = std::time::Instant::now();
            let Explored { states, exhausted, broken } = explore(&bounds(m, e, 1), Some(rule));
            println!("{rule:?} {m} {e} {states} {exhausted} {:?}", t.elapsed());
            if let Some((way, promise)) = broken {
                println!("{promise}");
                for w in way { println!("   {w}"); }
                break;
            }
        }
    }
}
