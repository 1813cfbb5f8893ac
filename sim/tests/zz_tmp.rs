use strongroom_hsm::Bug;
use strongroom_sim::hostile::{RULES, search_for};
#[test]
fn zz() {
    for rule in RULES {
        let mut by = vec![];
        for bug in Bug::ALL {
            if by.len() >= 3 && *rule != "count, then evaluate" { break; }
            if let Some((_, v)) = search_for(Some(rule), 1, 12_000, Some(*bug)).broken { by.push(format!("{bug:?}: {}", v.what)); }
        }
        println!("{rule}: {}", by.len());
        for b in by.iter().take(3) { println!("     {b}"); }
    }
}
