//! The space of record ids: which of it nobody owns, and where a prefix is in it.

use strongroom_proto::prefix::Prefix;

/// How many gaps are named.
const GAPS: usize = 16;

/// The prefixes that none of these covers, as few as say it, and the first of them at most.
pub(super) fn gaps(owned: impl IntoIterator<Item = Prefix>) -> Vec<Prefix> {
    let mut owned: Vec<Prefix> = owned.into_iter().collect();
    owned.sort_unstable();
    let mut gaps = Vec::new();
    walk(Prefix::WHOLE, &owned, &mut gaps);
    gaps
}

/// `inside` are those below the prefix, in order: a prefix comes before those that it contains.
fn walk(prefix: Prefix, inside: &[Prefix], gaps: &mut Vec<Prefix>) {
    if gaps.len() >= GAPS || inside.first() == Some(&prefix) {
        return;
    }
    let Some((left, right)) = prefix.children().filter(|_| !inside.is_empty()) else {
        gaps.push(prefix);
        return;
    };
    let (lefts, rights) = inside.split_at(inside.partition_point(|other| *other < right));
    walk(left, lefts, gaps);
    walk(right, rights, gaps);
}

/// Where a prefix begins in a space of this many units, and how many it takes up.
pub(super) fn extent(prefix: &Prefix, units: f64) -> (f64, f64) {
    let mut first = [0; 8];
    first.copy_from_slice(&prefix.bits()[..8]);
    // More bits than a page has pixels.
    let at = (u64::from_be_bytes(first) >> 32) as f64 / 4_294_967_296.0;
    (at * units, units * 0.5_f64.powi(i32::from(prefix.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(bits: &str) -> Prefix {
        let side = |prefix: Prefix, bit: char| {
            let (left, right) = prefix.children().expect("short");
            if bit == '0' { left } else { right }
        };
        bits.chars().fold(Prefix::WHOLE, side)
    }

    #[test]
    fn what_nobody_owns_is_named_in_as_few_prefixes_as_say_it() {
        assert_eq!(gaps([]), [Prefix::WHOLE]);
        assert_eq!(gaps([Prefix::WHOLE]), []);
        assert_eq!(gaps([prefix("1"), prefix("0")]), []);
        assert_eq!(gaps([prefix("00"), prefix("11")]), [prefix("01"), prefix("10")]);
        assert_eq!(gaps([prefix("010")]), [prefix("00"), prefix("011"), prefix("1")]);
        assert_eq!(gaps([prefix("0"), prefix("01"), prefix("0110"), prefix("1")]), [], "they overlap");
        let deepest =
            Prefix::of(&strongroom_proto::ids::RecordId([7; 32]), Prefix::MAX_LEN).expect("all bits");
        assert_eq!(gaps([deepest]).len(), GAPS);
    }

    #[test]
    fn a_prefix_has_a_place_among_all_records() {
        assert_eq!(extent(&Prefix::WHOLE, 100.0), (0.0, 100.0));
        assert_eq!(extent(&prefix("1"), 100.0), (50.0, 50.0));
        assert_eq!(extent(&prefix("011"), 800.0), (300.0, 100.0));
    }
}
